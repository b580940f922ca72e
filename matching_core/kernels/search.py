"""The best offer for a bid and the best of another owner group (MARKET.md §6a), exactly.

For each of the bid's models the shelves are looked at by price (index.py), the view of the campaign
says which of their offers pass what it always asks (views.py), and those are judged whose site is
near and whose bound can still matter. The dearer the offers get, the less may the way to them cost:
what counts as near gets narrower on the way (near.py). After some shelves it is asked whether only a
handful of sites suit the bid; then their offers are looked at, and no more shelves (few.py).

What is left out cannot matter: a shelf with all behind it, a board or an offer is passed over only
when its bound, which is never less than any score in it, is less than the rival's score, or than 0,
which no eligible offer has. Equal bounds are looked at, for ties. A better offer makes the old best
the rival if its group differs, and leaves the old rival if not: what was passed over can never be
needed again. An offer of the winner's own group whose bound is less than the winner's score can be
neither of the two.

The rest of an auction is waiting for memory. So offers are judged in portions: what is near on some
boards or shelves is written down and its lines are asked for before the first is judged, and so are
the views of the shelves that come next. A portion is small, because what it finds narrows the next.
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
    prefetch,
    small_table,
    table,
)
from matching_core.kernels.bounds import least_cost, mix_of
from matching_core.kernels.few import FROM_STALL, MANY, list_stalls, survivors_at
from matching_core.kernels.index import look_at_fresh
from matching_core.kernels.near import is_near, narrower, near_of
from matching_core.kernels.rules import ask_for_offer, cost_of, judge, site_peers
from matching_core.kernels.views import PLACE_BITS, make_view, place_listed, site_listed, view_range

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
OPEN, DEALS = 0, 1  # lanes of a model
# Measured on two sizes of book; near these numbers it makes little difference.
AHEAD = 6  # shelves whose lines are asked for
FRESH = 1  # of a survivor: nothing is known of what it passes
GATHER = 10  # offers that are judged together, so that they wait for memory together
_NO_BOUND = -1  # less than any score that an eligible offer has


@inner
def better(
    s: Array, offer: int, score: int, latency: int, than: int, than_score: int, than_latency: int
) -> bool:
    """Tell whether an offer is better than another: score, then latency, then priority number."""
    if score != than_score:
        return score > than_score
    if latency != than_latency:
        return latency < than_latency
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    return bool(offers[offer, c.OFFER_PRIORITY] < offers[than, c.OFFER_PRIORITY])


@inner
def ask_for(s: Array, entry: int, first_view: int) -> None:
    """Let the lines of a shelf come while another is looked at."""
    shelf = table(s, c.DIRECTORY, c.ENTRY_ROW)[entry, c.ENTRY_SHELF]
    prefetch(s, c.VIEWS, 8 * c.VIEW_ROW * (first_view + (shelf >> 32)))
    prefetch(s, c.SHELVES, 8 * c.SHELF_ROW * (shelf & 0xFFFFFFFF))


@inner
def survivors_of(
    s: Array, found: int, near: int, view: int, shelf: int, board: int, ceiling: int, to_beat: int,
    own_group: int, own_score: int,
) -> tuple[int, int]:  # fmt: skip
    """Add the offers of some boards to the `found` first SURVIVORS that are near and may matter.

    Returns how many there are then, and the first board that was not looked at: it stops when there are
    enough to judge. `view`: row of VIEWS, with a bit an offer. What is near is one offer in five, and none can
    foresee which: the loop writes all of them down, each over the one before if that was not near.
    """
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    sites = small_table(s, c.SHELF_SITES, c.SHELF_PLACES)
    rows = small_table(s, c.SHELF_OFFERS, c.SHELF_PLACES)
    survivors = table(s, c.SURVIVORS, c.SURVIVOR_ROW)
    near_sites = bits_table(s, c.NEAR, s[c.SITE_WORDS])
    open_sites = bits_table(s, c.OPEN_SITES, s[c.SITE_WORDS])
    lease_us = rests[0, c.REST_LEASE_US]
    mix, of_mix, of_next = mix_of(rests[0, c.REST_TOKENS_IN], rests[0, c.REST_TOKENS_OUT])
    views = bits_table(s, c.VIEWS, c.VIEW_ROW)
    is_fresh = bits[shelf, c.SHELF_VERSION] & _ONE != _ZERO
    count = found
    while board < c.BOARDS and count < GATHER:
        fresh = bits[shelf, c.SHELF_FRESH + board] if is_fresh else _ZERO
        word = (views[view, board] | fresh) & bits[shelf, c.SHELF_LIVE + board]
        first = c.BOARD * board
        at = c.SHELF_BOARDS + c.BOARD_WORDS * board
        board += 1
        if word == _ZERO:
            continue
        tokens = of_mix * shelves[shelf, at + mix] + of_next * shelves[shelf, at + mix + 1]
        bound = ceiling - least_cost(tokens, lease_us * shelves[shelf, at + 5])
        if bound < to_beat or (
            bound < own_score and shelves[shelf, at + c.BOARD_GROUP] == own_group
        ):
            continue
        while word != _ZERO:
            bit = lowest_bit(word)
            place = first + bit
            word &= word - _ONE
            site = i64(sites[shelf, place])
            offer = i64(rows[shelf, place])
            passes = (near_sites[near, site >> 6] & open_sites[0, site >> 6]) >> np.uint64(
                site & 63
            )
            survivors[count, 0] = offer
            survivors[count, 1] = site
            survivors[count, 2] = bound
            survivors[count, 3] = i64((fresh >> np.uint64(bit)) & _ONE)
            count += i64(passes & _ONE)
    for row in range(found, count):
        ask_for_offer(s, survivors[row, 0], survivors[row, 1])
    return count, board


@inner
def survivors_listed(s: Array, found: int, near: int, view: int, shelf: int, bound: int) -> int:
    """Add what a view lists and is near to the `found` first SURVIVORS; returns how many there are.

    `bound`: the best score that an offer of the shelf may have. Which offers those are, and whether they
    may be sold, is not known yet: minus shelf and place stand for the row.
    """
    listed = small_table(s, c.VIEWS, c.VIEW_NARROW)
    survivors = table(s, c.SURVIVORS, c.SURVIVOR_ROW)
    near_sites = bits_table(s, c.NEAR, s[c.SITE_WORDS])
    open_sites = bits_table(s, c.OPEN_SITES, s[c.SITE_WORDS])
    count = found
    for at in range(c.VIEW_LIST):
        item = i64(listed[view, at])
        if item == 0:
            break
        site = site_listed(item)
        passes = (near_sites[near, site >> 6] & open_sites[0, site >> 6]) >> np.uint64(site & 63)
        survivors[count, 0] = -((shelf << PLACE_BITS) | place_listed(item))
        survivors[count, 1] = site
        survivors[count, 2] = bound
        survivors[count, 3] = 0
        count += i64(passes & _ONE)
    for row in range(found, count):
        place = place_listed(-survivors[row, 0])
        prefetch(s, c.SHELF_OFFERS, 4 * (c.SHELF_PLACES * shelf + place))
        prefetch(s, c.SHELVES, 8 * c.SHELF_ROW * shelf)
    return count


@inner
def survivors_fresh(s: Array, found: int, near: int, shelf: int, bound: int) -> int:
    """Add what is fresh on a shelf and near to the `found` first SURVIVORS; returns how many there are."""
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    sites = small_table(s, c.SHELF_SITES, c.SHELF_PLACES)
    survivors = table(s, c.SURVIVORS, c.SURVIVOR_ROW)
    count = found
    for board in range(c.BOARDS):
        word = bits[shelf, c.SHELF_FRESH + board] & bits[shelf, c.SHELF_LIVE + board]
        while word != _ZERO:
            place = c.BOARD * board + lowest_bit(word)
            word &= word - _ONE
            site = i64(sites[shelf, place])
            if is_near(s, near, site):
                survivors[count, 0] = small_table(s, c.SHELF_OFFERS, c.SHELF_PLACES)[shelf, place]
                survivors[count, 1] = site
                survivors[count, 2] = bound
                survivors[count, 3] = FRESH
                count += 1
    return count


@inner
def settle_listed(s: Array, found: int) -> None:
    """Find the offers that SURVIVORS name by shelf and place; those that may not be sold get no bound."""
    survivors = table(s, c.SURVIVORS, c.SURVIVOR_ROW)
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    rows = small_table(s, c.SHELF_OFFERS, c.SHELF_PLACES)
    for row in range(found):
        spot = -survivors[row, 0]
        if spot <= 0:
            continue
        shelf, place = spot >> PLACE_BITS, place_listed(spot)
        board, bit = place >> 6, np.uint64(place & 63)
        live = bits[shelf, c.SHELF_LIVE + board]
        if bits[shelf, c.SHELF_VERSION] & _ONE:  # what is fresh is there once more
            live &= ~bits[shelf, c.SHELF_FRESH + board]
        if (live >> bit) & _ONE == _ZERO:
            survivors[row, 2] = _NO_BOUND
            continue
        offer = i64(rows[shelf, place])
        survivors[row, 0] = offer
        ask_for_offer(s, offer, survivors[row, 1])


@inner
def search(s: Array, kind: int) -> tuple[int, int, int, int, bool, int, int]:
    """Search for the bid in row 0 among open offers or deals.

    Returns (best offer or 0, its score, latency, cost, whether it starts cold, rival or 0, its
    score). Among deals there is no rival.
    """
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    asks = table(s, c.ASKS, c.ASK_ROW)
    terms = small_table(s, c.ASKS, c.ASK_NARROW)
    models = table(s, c.MODELS, c.MODEL_ROW)
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    bounds = small_table(s, c.DIRECTORY, c.ENTRY_NARROW)
    views = table(s, c.VIEWS, c.VIEW_ROW)
    survivors = table(s, c.SURVIVORS, c.SURVIVOR_ROW)
    sites = table(s, c.SITES, c.SITE_ROW)
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    rtt = small_table(s, c.RTT, s[c.SITE_CAPACITY])
    campaign = rests[0, c.REST_CAMPAIGN]
    site_rules = byte_table(s, c.SITE_RULES, s[c.SITE_CAPACITY])
    origin = rests[0, c.REST_ORIGIN]
    lease_us = rests[0, c.REST_LEASE_US]
    time_value = campaigns[campaign, c.CAMPAIGN_TIME_VALUE]
    peering = campaigns[campaign, c.CAMPAIGN_PEERING] != 0
    mix, of_mix, of_next = mix_of(rests[0, c.REST_TOKENS_IN], rests[0, c.REST_TOKENS_OUT])

    winner, rival = 0, 0
    winner_score, winner_latency, winner_cost, winner_group = 0, 0, 0, 0
    rival_score, rival_latency = 0, 0
    winner_cold = False
    to_beat = 0
    for place in range(campaigns[campaign, c.CAMPAIGN_MODEL_COUNT]):
        model = campaigns[campaign, c.CAMPAIGN_MODELS + place]
        lane = c.LANES_PER_MODEL * model + kind
        count = lanes[lane, c.LANE_COUNT]
        if count == 0 or models[model, c.MODEL_HALTS] != 0:
            continue
        markdown = campaigns[campaign, c.CAMPAIGN_MARKDOWNS + place]
        ceiling = rests[0, c.REST_PRICE] - markdown
        first_view = view_range(s, campaign, place, lane)
        first = lanes[lane, c.LANE_FIRST]
        end = first + count
        for entry in range(first, min(first + AHEAD, end)):
            ask_for(s, entry, first_view)
        near = near_of(s, 0)
        entry, board = first, 0
        while entry < end:
            found = 0
            while entry < end and found < GATHER:
                tokens = of_mix * i64(bounds[entry, mix]) + of_next * i64(bounds[entry, mix + 1])
                bound = ceiling - least_cost(tokens, lease_us * i64(bounds[entry, 5]))
                if bound < to_beat:
                    end = entry
                    break
                near = narrower(near, time_value, bound - to_beat)
                if entry == first + s[c.SHELVES_FIRST] and board == 0:
                    stalls = list_stalls(s, near, campaign, model)
                    if stalls != MANY:
                        by_place = survivors_at(s, found, stalls, campaign, bound)
                        if by_place != MANY:
                            found, end = by_place, entry
                            break
                if entry + AHEAD < end and board == 0:
                    ask_for(s, entry + AHEAD, first_view)
                shelf = directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF
                view = first_view + (directory[entry, c.ENTRY_SHELF] >> 32)
                if directory[entry, c.ENTRY_VERSION] & 1 and board == 0:
                    look_at_fresh(s, shelf)
                version = directory[entry, c.ENTRY_VERSION]
                if views[view, c.VIEW_VERSION] >> 1 != version >> 1:
                    make_view(s, campaign, view, shelf)
                if views[view, c.VIEW_VERSION] & 1:
                    found = survivors_listed(s, found, near, view, shelf, bound)
                    if version & 1:
                        found = survivors_fresh(s, found, near, shelf, bound)
                else:
                    found, board = survivors_of(
                        s,
                        found,
                        near,
                        view,
                        shelf,
                        board,
                        ceiling,
                        to_beat,
                        winner_group,
                        winner_score,
                    )
                    if board < c.BOARDS:
                        break
                    board = 0
                entry += 1
            settle_listed(s, found)
            for number in range(found):
                bound = survivors[number, 2]
                if bound < to_beat:
                    continue
                site = survivors[number, 1]
                rtt_us = i64(rtt[origin, site]) >> 1
                group = sites[site, c.SITE_GROUP]
                away = (time_value * rtt_us) >> 10
                if bound - away < to_beat or (
                    bound - away < winner_score and group == winner_group
                ):
                    continue
                here = survivors[number, 0]
                bound = ceiling - away - cost_of(rests, 0, asks, here)
                if bound < to_beat or (bound < winner_score and group == winner_group):
                    continue
                by_site, known = 0, survivors[number, 3] != FRESH
                if not known:
                    by_site = i64(site_rules[campaign, site])
                elif survivors[number, 3] == FROM_STALL and (
                    (terms[here, c.ASK_DEAL] != 0) != (kind == DEALS)
                ):
                    continue
                rule, score, latency, cost, cold = judge(
                    s, 0, here, markdown, by_site, known,
                    not peering or site_peers(s, site, rests[0, c.REST_ASN]),
                    rtt_us + sites[site, c.SITE_MARGIN],
                )  # fmt: skip
                if rule != 0:
                    continue
                if winner == 0 or better(
                    s, here, score, latency, winner, winner_score, winner_latency
                ):
                    if winner != 0 and winner_group != group:
                        rival, rival_score, rival_latency = winner, winner_score, winner_latency
                    winner, winner_score, winner_latency = here, score, latency
                    winner_cost, winner_cold, winner_group = cost, cold, group
                elif group != winner_group and (
                    rival == 0 or better(s, here, score, latency, rival, rival_score, rival_latency)
                ):
                    rival, rival_score, rival_latency = here, score, latency
                if kind == DEALS:
                    to_beat = winner_score
                elif rival != 0:
                    to_beat = rival_score
    return winner, winner_score, winner_latency, winner_cost, winner_cold, rival, rival_score
