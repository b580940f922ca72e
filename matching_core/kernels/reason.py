"""Why no live offer would do: the furthest rule that any of them came to before it failed (§7).

    what a lane cannot (hopes.py)  ─▶ the most that the reason can be: an offer that fails that ends it
    sites near enough              ─▶ are there few, their offers are all that may come to the price
    the campaign's views           ─▶ offers that fail no rule up to the contract
    the campaign's stages          ─▶ if there are none: the most that the reason can be, once more

Each step gives a bound from above that holds for all offers, so the first offer that comes that far
is the answer, and all others need no look. Only where none comes as far as the bound says are all
looked at; then what is asked of a word grows with what is known, so that each offer that is judged
comes further, or fails a rule that no word shows. Bounds say before the search, too, that a bid is
`hopeless`: then there is none.
"""

import numpy as np

from matching_core import columns as c
from matching_core.jit import (
    Array,
    bits_table,
    byte_table,
    i64,
    inner,
    lowest_bit,
    small_table,
    table,
)
from matching_core.kernels.book import stands
from matching_core.kernels.hopes import LANE_NARROW, LANE_QUICKNESS, SLOWEST, lane_stage, tighten
from matching_core.kernels.near import is_near, near_of
from matching_core.kernels.rules import (
    COLD,
    CONTRACT,
    LATENCY,
    NO_CAPACITY,
    NO_MODEL,
    PRICE,
    attribute_rule,
    judge,
    markdown_of,
    site_peers,
)
from matching_core.kernels.search import ask_for
from matching_core.kernels.stages import (
    KNOWN_OF_ALL,
    KNOWN_OF_FAILING,
    KNOWN_OFFER,
    most_of,
    none_passes,
    was_misleading,
)
from matching_core.kernels.stalls import place_of
from matching_core.kernels.views import (
    admitted,
    ensure_view,
    is_list,
    place_listed,
    site_listed,
    view_range,
)
from matching_core.kernels.words import forbidden, passing

_FEW = 16  # sites whose offers are looked at one by one
_MANY = 1 << 14  # offers looked at in vain: as dear as what `tighten` does
_TIGHT = 1  # bands up to 10 ms: few sites are near, so that it is worth to look for them first
_ZERO = np.uint64(0)
_ONE = np.uint64(1)


@inner
def hopeless(s: Array) -> bool:
    """Tell whether it is plain that nothing is eligible for the bid in row 0, without a search."""
    stage, quickness = best_stage(s)
    if stage < PRICE or none_passes(s):
        return True
    band = table(s, c.RESTS_TABLE, c.REST_ROW)[0, c.REST_BAND]
    return bool(band <= _TIGHT and near_sites(s, quickness) == 0)


@inner
def reason_of(s: Array) -> int:
    """Return the furthest rule that any live offer of the bid in row 0 came to before it failed."""
    if none_passes(s):
        return furthest_standing(s, KNOWN_OF_ALL)
    furthest = furthest_admitted(s)
    if furthest > CONTRACT:
        return furthest
    was_misleading(s, table(s, c.RESTS_TABLE, c.REST_ROW)[0, c.REST_CAMPAIGN], KNOWN_OF_ALL)
    return furthest_standing(s, KNOWN_OF_FAILING)


# ----------------------------------------------------------------------------- lanes and sites
@inner
def kinds_of(s: Array) -> int:
    """Return how many lanes of a model there are to look at: no deal may stand."""
    return 1 if s[c.DEALS_STANDING] == 0 else c.LANES_PER_MODEL


@inner
def live_lane(s: Array, campaign: int, number: int, kinds: int) -> int:
    """Return the lane of number `number` of a campaign's, 0 when nothing in it is live."""
    place = number // kinds
    model = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)[campaign, c.CAMPAIGN_MODELS + place]
    lane = c.LANES_PER_MODEL * model + number - kinds * place
    if table(s, c.MODELS, c.MODEL_ROW)[model, c.MODEL_HALTS] != 0:
        return 0
    return i64(lane if table(s, c.LANES, c.LANE_WORDS)[lane, c.LANE_COUNT] != 0 else 0)


@inner
def lanes_of(s: Array, campaign: int) -> int:
    """Return how many lanes a campaign has, live or not."""
    count = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)[campaign, c.CAMPAIGN_MODEL_COUNT]
    return i64(count * kinds_of(s))


@inner
def best_stage(s: Array) -> tuple[int, int]:
    """Return how far an offer in any lane may come, if it fails nothing up to the contract.

    And SLOWEST less the least time to the first token in these lanes, 0 without any.
    """
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    models = table(s, c.MODELS, c.MODEL_ROW)
    lanes = table(s, c.LANES, c.LANE_WORDS)
    notes = small_table(s, c.LANES, LANE_NARROW)
    campaign = table(s, c.RESTS_TABLE, c.REST_ROW)[0, c.REST_CAMPAIGN]
    stage, quickness = NO_MODEL, 0
    for place in range(campaigns[campaign, c.CAMPAIGN_MODEL_COUNT]):
        model = campaigns[campaign, c.CAMPAIGN_MODELS + place]
        if models[model, c.MODEL_HALTS] != 0:
            continue
        for lane in range(c.LANES_PER_MODEL * model, c.LANES_PER_MODEL * model + kinds_of(s)):
            if lanes[lane, c.LANE_COUNT] != 0:
                stage = max(stage, lane_stage(s, lane))
                quickness = max(quickness, i64(notes[lane, LANE_QUICKNESS]))
    return stage, quickness


@inner
def near_sites(s: Array, quickness: int) -> int:
    """Put the sites into SURVIVORS that may keep the bid's budget and that its campaign admits.

    Returns how many, _FEW + 1 when they are more than few. `quickness`: see `best_stage`.
    """
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    sites = table(s, c.SITES, c.SITE_ROW)
    survivors = table(s, c.SURVIVORS, c.SURVIVOR_ROW)
    rtt = small_table(s, c.RTT, s[c.SITE_CAPACITY])
    near_bits = bits_table(s, c.NEAR, s[c.SITE_WORDS])
    open_sites = bits_table(s, c.OPEN_SITES, s[c.SITE_WORDS])
    admitted_sites = bits_table(s, c.CAMPAIGN_SITES, s[c.SITE_WORDS])
    near = near_of(s, 0)
    campaign, origin = rests[0, c.REST_CAMPAIGN], rests[0, c.REST_ORIGIN]
    peering = campaigns[campaign, c.CAMPAIGN_PEERING] != 0
    budget = rests[0, c.REST_BUDGET] - (SLOWEST - quickness)
    count = 0
    for word in range((s[c.SITE_COUNT] >> 6) + 1):
        left = near_bits[near, word] & open_sites[0, word] & admitted_sites[campaign, word]
        while left != _ZERO:
            site = 64 * word + lowest_bit(left)
            left &= left - _ONE
            if (i64(rtt[origin, site]) >> 1) + sites[site, c.SITE_MARGIN] > budget:
                continue
            if peering and not site_peers(s, site, rests[0, c.REST_ASN]):
                continue
            if count == _FEW:
                return _FEW + 1
            survivors[count, 0] = site
            count += 1
    return count


@inner
def some_fails_price(s: Array, count: int) -> bool:
    """Tell whether an offer at the sites in the first rows of SURVIVORS fails at its price alone."""
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    campaign = table(s, c.RESTS_TABLE, c.REST_ROW)[0, c.REST_CAMPAIGN]
    survivors = table(s, c.SURVIVORS, c.SURVIVOR_ROW)
    models = table(s, c.MODELS, c.MODEL_ROW)
    stall_of = small_table(s, c.STALL_OF, s[c.SITE_CAPACITY])
    stalls = small_table(s, c.STALLS, c.STALL_LINE)
    for place in range(campaigns[campaign, c.CAMPAIGN_MODEL_COUNT]):
        model = campaigns[campaign, c.CAMPAIGN_MODELS + place]
        if models[model, c.MODEL_HALTS] != 0:
            continue
        markdown = campaigns[campaign, c.CAMPAIGN_MARKDOWNS + place]
        for row in range(count):
            site = survivors[row, 0]
            line = i64(stall_of[model, site])
            for number in range(stalls[line, c.STALL_COUNT] if line != 0 else 0):
                at, word = place_of(line, number)
                if attribute_rule(campaigns, campaign, i64(stalls[at, word + 1])) != 0:
                    continue
                if rule_failed(s, CONTRACT, i64(stalls[at, word]), site, markdown) == PRICE:
                    return True
    return False


# ----------------------------------------------------------------------------- offers
@inner
def furthest_admitted(s: Array) -> int:
    """Return the furthest of rules 16 to 20 that offers in the campaign's views fail; less if none is."""
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    campaign = table(s, c.RESTS_TABLE, c.REST_ROW)[0, c.REST_CAMPAIGN]
    kinds = kinds_of(s)
    stage, quickness = best_stage(s)
    if stage == PRICE:
        count = near_sites(s, quickness)
        if count <= _FEW:
            if some_fails_price(s, count):
                return PRICE
            stage = LATENCY
    furthest = NO_MODEL
    for number in range(lanes_of(s, campaign)):
        lane = live_lane(s, campaign, number, kinds)
        if lane == 0 or lane_stage(s, lane) <= furthest:
            continue
        place = number // kinds
        markdown = campaigns[campaign, c.CAMPAIGN_MARKDOWNS + place]
        first_view = view_range(s, campaign, place, lane)
        first = lanes[lane, c.LANE_FIRST]
        end = first + lanes[lane, c.LANE_COUNT]
        looked = 0
        for entry in range(first, end):
            if entry + 1 < end:
                ask_for(s, entry + 1, first_view)
            shelf = directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF
            view = first_view + (directory[entry, c.ENTRY_SHELF] >> 32)
            ensure_view(s, campaign, view, shelf)
            if is_list(s, view) and directory[entry, c.ENTRY_VERSION] & 1 == 0:
                furthest, judged = furthest_listed(s, furthest, stage, view, shelf, markdown)
            else:
                furthest, judged = furthest_on(s, furthest, stage, view, shelf, markdown)
            looked += judged
            if furthest >= stage:
                return furthest
        if looked > _MANY:
            tighten(s, lane)
    return furthest


@inner
def furthest_listed(
    s: Array, furthest: int, stage: int, view: int, shelf: int, markdown: int
) -> tuple[int, int]:
    """Return `furthest`, or how much further than that a live offer in a view that is a list comes.

    And how many were judged: it stops at `stage`, the most that any can. Nothing is fresh on the shelf.
    """
    listed = small_table(s, c.VIEWS, c.VIEW_NARROW)
    rows = small_table(s, c.SHELF_OFFERS, c.SHELF_PLACES)
    live = bits_table(s, c.SHELVES, c.SHELF_ROW)
    near = near_of(s, 0)
    judged = 0
    for at in range(c.VIEW_LIST):
        item = i64(listed[view, at])
        if item == 0 or furthest >= stage:
            break
        place, site = place_listed(item), site_listed(item)
        if furthest >= LATENCY and not is_near(s, near, site):
            continue
        if (live[shelf, c.SHELF_LIVE + (place >> 6)] >> np.uint64(place & 63)) & _ONE == _ZERO:
            continue
        judged += 1
        furthest = max(furthest, rule_failed(s, furthest, i64(rows[shelf, place]), site, markdown))
    return furthest, judged


@inner
def furthest_on(
    s: Array, furthest: int, stage: int, view: int, shelf: int, markdown: int
) -> tuple[int, int]:
    """Return the same for any view: of its offers, and of those that are fresh."""
    rows = small_table(s, c.SHELF_OFFERS, c.SHELF_PLACES)
    sites = small_table(s, c.SHELF_SITES, c.SHELF_PLACES)
    judged = 0
    for board in range(c.BOARDS):
        left = admitted(s, view, shelf, board)
        while left != _ZERO and furthest < stage:
            place = c.BOARD * board + lowest_bit(left)
            left &= left - _ONE
            offer, site = i64(rows[shelf, place]), i64(sites[shelf, place])
            judged += 1
            furthest = max(furthest, rule_failed(s, furthest, offer, site, markdown))
    return furthest, judged


@inner
def furthest_standing(s: Array, known_at: int) -> int:
    """Return the furthest rule that any live offer fails, when none passes all up to the contract.

    `known_at`: what is known of the most that can be (stages.py).
    """
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    words = bits_table(s, c.WORDS, c.SHELF_PLACES)
    rows = small_table(s, c.SHELF_OFFERS, c.SHELF_PLACES)
    sites = small_table(s, c.SHELF_SITES, c.SHELF_PLACES)
    campaign = table(s, c.RESTS_TABLE, c.REST_ROW)[0, c.REST_CAMPAIGN]
    stage = bound_of(s, campaign, most_of(s, known_at))
    if stage_of_known(s, campaign) == stage:
        return stage
    furthest = NO_MODEL
    kinds = kinds_of(s)
    for number in range(lanes_of(s, campaign)):
        lane = live_lane(s, campaign, number, kinds)
        if lane == 0:
            continue
        markdown = campaigns[campaign, c.CAMPAIGN_MARKDOWNS + number // kinds]
        first = lanes[lane, c.LANE_FIRST]
        for entry in range(first, first + lanes[lane, c.LANE_COUNT]):
            shelf = directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF
            for board in range(c.BOARDS):
                if furthest >= NO_CAPACITY and bits[shelf, c.SHELF_LIVE + board] == _ZERO:
                    continue
                left = passing(words, shelf, board, forbidden(s, 0, furthest))
                while left != _ZERO:
                    at = c.BOARD * board + lowest_bit(left)
                    left &= left - _ONE
                    offer = i64(rows[shelf, at])
                    rule = rule_failed(s, furthest, offer, i64(sites[shelf, at]), markdown)
                    if rule <= furthest:
                        continue
                    furthest = rule
                    campaigns[campaign, KNOWN_OFFER] = offer
                    if furthest >= stage:
                        return furthest
                    left &= passing(words, shelf, board, forbidden(s, 0, furthest))
    was_misleading(s, campaign, known_at)
    return furthest


@inner
def bound_of(s: Array, campaign: int, stage: int) -> int:
    """Return the furthest rule up to the contract that the bid in row 0 may come to.

    `stage`: the most that offers come to when slots and its adapter are left out.
    """
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    stage = max(stage, NO_CAPACITY)
    adapter = table(s, c.RESTS_TABLE, c.REST_ROW)[0, c.REST_ADAPTER]
    if adapter == 0:
        return stage
    stage = max(stage, COLD)
    model = table(s, c.ADAPTERS, c.ADAPTER_ROW)[adapter, 0]
    for place in range(campaigns[campaign, c.CAMPAIGN_MODEL_COUNT]):
        if campaigns[campaign, c.CAMPAIGN_MODELS + place] == model:
            return stage
    return COLD


@inner
def stage_of_known(s: Array, campaign: int) -> int:
    """Return how far the offer comes that came furthest when that was last asked, 0 if it is not live."""
    offer = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)[campaign, KNOWN_OFFER]
    if offer == 0 or not stands(s, offer):
        return 0
    terms = small_table(s, c.ASKS, c.ASK_NARROW)
    model = i64(terms[offer, c.ASK_MODEL])
    markdown = markdown_of(s, campaign, model)
    if markdown < 0 or table(s, c.MODELS, c.MODEL_ROW)[model, c.MODEL_HALTS] != 0:
        return 0
    return rule_failed(s, 0, offer, i64(terms[offer, c.ASK_SITE]), markdown)


@inner
def rule_failed(s: Array, furthest: int, offer: int, site: int, markdown: int) -> int:
    """Return the first rule that an offer fails if it is live and comes further than `furthest`, else less."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    sites = table(s, c.SITES, c.SITE_ROW)
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    campaign = rests[0, c.REST_CAMPAIGN]
    if furthest >= LATENCY and not is_near(s, near_of(s, 0), site):
        return 0
    if not is_open(s, site):
        return 0
    by_site = i64(byte_table(s, c.SITE_RULES, s[c.SITE_CAPACITY])[campaign, site])
    if by_site != 0 and by_site <= furthest:
        return 0
    path_us = i64(small_table(s, c.RTT, s[c.SITE_CAPACITY])[rests[0, c.REST_ORIGIN], site])
    if path_us >= 0:
        path_us = (path_us >> 1) + sites[site, c.SITE_MARGIN]
    peers = campaigns[campaign, c.CAMPAIGN_PEERING] == 0 or site_peers(
        s, site, rests[0, c.REST_ASN]
    )
    rule, _, _, _, _ = judge(s, 0, offer, markdown, by_site, False, peers, path_us)
    return rule


@inner
def is_open(s: Array, site: int) -> bool:
    """Tell whether a site is not halted."""
    word = bits_table(s, c.OPEN_SITES, s[c.SITE_WORDS])[0, site >> 6]
    return bool((word >> np.uint64(site & 63)) & _ONE)
