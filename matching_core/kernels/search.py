"""The best offer for a bid and the best of another owner group (MARKET.md §6a), exactly.

For each of the bid's models the shelves are looked at by price (index.py), the view of the campaign
says which of their offers pass what it always asks (views.py), and those are judged whose site is
near and whose bound can still matter.

What is left out cannot matter: a shelf with all behind it, a board or an offer is passed over only
when its bound, which is never less than any score in it, is less than the rival's score, or than 0,
which no eligible offer has. Equal bounds are looked at, for ties. A better offer makes the old best
the rival if its group differs, and leaves the old rival if not: what was passed over can never be
needed again. An offer of the winner's own group whose bound is less than the winner's score can be
neither of the two.

The rest of an auction is waiting for memory: so the lines of the next shelf are asked for while this
one is looked at, and those of all offers of a board that pass before the first is judged.
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
from matching_core.kernels.index import look_at_fresh
from matching_core.kernels.rules import cost_of, judge, site_peers
from matching_core.kernels.views import admitted, ensure_view, view_range

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
OPEN, DEALS = 0, 1  # lanes of a model
AHEAD = 3  # shelves whose lines are asked for


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
def near_of(s: Array, bid: int) -> int:
    """Return the row of NEAR for a bid's origin and band."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    return i64(c.BANDS * rests[bid, c.REST_ORIGIN] + rests[bid, c.REST_BAND])


@inner
def is_near(s: Array, near: int, site: int) -> bool:
    """Tell whether a site is within the band's bound of the origin, and not halted."""
    word = site >> 6
    bits = bits_table(s, c.NEAR, s[c.SITE_WORDS])[near, word]
    bits &= bits_table(s, c.OPEN_SITES, s[c.SITE_WORDS])[0, word]
    return bool((bits >> np.uint64(site & 63)) & _ONE)


@inner
def survivors_of(
    s: Array, view: int, shelf: int, ceiling: int, to_beat: int, own_group: int, own_score: int
) -> int:
    """Put the offers of a shelf into SURVIVORS that are near and may matter; returns how many.

    `view`: row of VIEWS. What is near is one offer in five, and none can foresee which: the loop
    writes all of them down, each over the one before if that was not near.
    """
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    sites = small_table(s, c.SHELF_SITES, c.SHELF_PLACES)
    rows = small_table(s, c.SHELF_OFFERS, c.SHELF_PLACES)
    survivors = table(s, c.SURVIVORS, c.SURVIVOR_ROW)
    near_sites = bits_table(s, c.NEAR, s[c.SITE_WORDS])
    open_sites = bits_table(s, c.OPEN_SITES, s[c.SITE_WORDS])
    near = near_of(s, 0)
    lease_us = rests[0, c.REST_LEASE_US]
    mix, of_mix, of_next = mix_of(rests[0, c.REST_TOKENS_IN], rests[0, c.REST_TOKENS_OUT])
    count = 0
    for board in range(c.BOARDS):
        word = admitted(s, view, shelf, board)
        if word == _ZERO:
            continue
        at = c.SHELF_BOARDS + c.BOARD_WORDS * board
        tokens = of_mix * shelves[shelf, at + mix] + of_next * shelves[shelf, at + mix + 1]
        bound = ceiling - least_cost(tokens, lease_us * shelves[shelf, at + 5])
        if bound < to_beat or (
            bound < own_score and shelves[shelf, at + c.BOARD_GROUP] == own_group
        ):
            continue
        fresh = bits[shelf, c.SHELF_FRESH + board]
        while word != _ZERO:
            bit = lowest_bit(word)
            place = c.BOARD * board + bit
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
    for entry in range(count):
        site = survivors[entry, 1]
        prefetch(s, c.ASKS, 8 * c.ASK_ROW * survivors[entry, 0])
        prefetch(s, c.RTT, 4 * (s[c.SITE_CAPACITY] * rests[0, c.REST_ORIGIN] + site))
        prefetch(s, c.SITES, 8 * c.SITE_ROW * site)
    return count


@inner
def search(s: Array, kind: int) -> tuple[int, int, int, int, bool, int, int]:
    """Search for the bid in row 0 among open offers or deals.

    Returns (best offer or 0, its score, latency, cost, whether it starts cold, rival or 0, its
    score). Among deals there is no rival.
    """
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    asks = table(s, c.ASKS, c.ASK_ROW)
    models = table(s, c.MODELS, c.MODEL_ROW)
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
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
        for entry in range(first, end):
            tokens = of_mix * directory[entry, mix] + of_next * directory[entry, mix + 1]
            bound = ceiling - least_cost(tokens, lease_us * directory[entry, 5])
            if bound < to_beat:
                break
            if entry + AHEAD < end:
                ask_for(s, entry + AHEAD, first_view)
            shelf = directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF
            view = first_view + (directory[entry, c.ENTRY_SHELF] >> 32)
            if shelves[shelf, c.SHELF_VERSION] & 1:
                look_at_fresh(s, shelf)
            ensure_view(s, campaign, view, shelf)
            found = survivors_of(s, view, shelf, ceiling, to_beat, winner_group, winner_score)
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
                by_site, known = 0, survivors[number, 3] == 0
                if not known:
                    by_site = i64(site_rules[campaign, site])
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
