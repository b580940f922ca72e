"""The few offers that the price of a filled bid's constraints depends on, for Explain (MARKET.md §7).

    search (the market's own)      the best open offer, the best of another owner, the best deal
       │                           of those that fail nothing: they are rows 0 to 2
       ▼
    the model's shelves by price   of those that fail rule k alone the same three: rows 3k to 3k + 2

**Exact**, for a bid of one unit: without rule k those compete that fail nothing or k alone. The best of
them is the best of either set. The best of another owner than the winner is, in each set, the set's
best or, where that is the winner's own, its best of another owner than that: so two open offers of each
set are enough, and one deal, which has no rivals. An offer with less score than the rival that the
bid had can be neither winner nor rival without k, for that rival and the winner are there as well; nor one with
less than the rival of k so far. So a shelf with all behind it, and a board, is passed over when its
bound is less than what all rules need (index.py); and an offer is judged only if its site and its word
leave at most one rule that it fails.
"""

import numpy as np

from matching_core import columns as c
from matching_core.jit import (
    Array,
    bits_table,
    i64,
    inner,
    kernel,
    lowest_bit,
    prefetch,
    small_table,
    table,
)
from matching_core.kernels.bounds import least_cost, mix_of
from matching_core.kernels.explain import (
    CAN_DEAL,
    CAN_GROUP,
    CAN_OFFER,
    CAN_RULE,
    CAN_SCORE,
    CANDIDATE_WORDS,
    SEEN_FAILS,
    SEEN_STAMP,
    hopeless,
    look_at_offer,
    look_at_site,
)
from matching_core.kernels.explain_run import RULES, row_better
from matching_core.kernels.reason import hopeless as finds_nothing
from matching_core.kernels.rules import CAPABILITY, COLD, CONTRACT, HARDWARE, PRECISION
from matching_core.kernels.search import DEALS, OPEN, search
from matching_core.kernels.words import forbidden_by

BEST, RIVAL, DEAL = range(3)  # of the rows of a rule
_PER_RULE = 3
ROWS = _PER_RULE * RULES + 1  # that `scan_filled` needs; the last is the offer at hand
_AT_HAND = ROWS - 1
_ZERO = np.uint64(0)
_ONE = np.uint64(1)


@inner
def copy_row(rows: Array, to: int, source: int) -> None:
    """Let one row be as another."""
    for word in range(CANDIDATE_WORDS):
        rows[to, word] = rows[source, word]


@inner
def keep(rows: Array, rule: int) -> None:
    """Put the offer at hand among the rows of a rule, if it belongs there."""
    best, rival, deal = _PER_RULE * rule, _PER_RULE * rule + RIVAL, _PER_RULE * rule + DEAL
    if rows[_AT_HAND, CAN_DEAL] != 0:
        if rows[deal, CAN_OFFER] == 0 or row_better(rows, _AT_HAND, deal):
            copy_row(rows, deal, _AT_HAND)
    elif rows[best, CAN_OFFER] == 0:
        copy_row(rows, best, _AT_HAND)
    elif row_better(rows, _AT_HAND, best):
        if rows[best, CAN_GROUP] != rows[_AT_HAND, CAN_GROUP]:
            copy_row(rows, rival, best)
        copy_row(rows, best, _AT_HAND)
    elif rows[_AT_HAND, CAN_GROUP] != rows[best, CAN_GROUP] and (
        rows[rival, CAN_OFFER] == 0 or row_better(rows, _AT_HAND, rival)
    ):
        copy_row(rows, rival, _AT_HAND)


@inner
def needed(rows: Array, rule: int, is_deal: int) -> int:
    """Return the score below which no offer that fails a rule alone matters."""
    last = DEAL if is_deal != 0 else RIVAL
    least = 0
    if rows[last, CAN_OFFER] != 0:
        least = rows[last, CAN_SCORE]
    if rows[_PER_RULE * rule + last, CAN_OFFER] != 0:
        least = max(least, rows[_PER_RULE * rule + last, CAN_SCORE])
    return i64(least)


@inner
def needed_by_all(rows: Array, rules: int, is_deal: int) -> int:
    """Return the score below which no offer matters that fails one of some rules (bits) alone."""
    least = -1
    for rule in range(1, RULES):
        if (rules >> rule) & 1:
            needs = needed(rows, rule, is_deal)
            least = needs if least < 0 else min(least, needs)
    return i64(least)


@inner
def look_at_own(s: Array, seen: Array, stamp: int, offer: int, rows: Array) -> None:
    """Put an offer that fails nothing among the rows of no rule."""
    site = i64(small_table(s, c.ASKS, c.ASK_NARROW)[offer, c.ASK_SITE])
    look_once(s, seen, stamp, site)
    if look_at_offer(s, offer, seen, rows[_AT_HAND]) and rows[_AT_HAND, CAN_RULE] == 0:
        keep(rows, 0)


@inner
def look_once(s: Array, seen: Array, stamp: int, site: int) -> int:
    """Return which rules a site fails, as bits; it is looked at once for each bid."""
    if seen[site, SEEN_STAMP] != stamp:
        look_at_site(s, seen, site)
        seen[site, SEEN_STAMP] = stamp
    return i64(seen[site, SEEN_FAILS])


@inner
def look_at_board(
    s: Array, seen: Array, stamp: int, shelf: int, board: int, rows: Array, rules: int
) -> None:
    """Judge what may be sold on a board and fails one of some rules (bits) alone."""
    words = bits_table(s, c.WORDS, c.SHELF_PLACES)
    sites = small_table(s, c.SHELF_SITES, c.SHELF_PLACES)
    offers = small_table(s, c.SHELF_OFFERS, c.SHELF_PLACES)
    survivors = table(s, c.SURVIVORS, c.SURVIVOR_ROW)
    campaign = table(s, c.RESTS_TABLE, c.REST_ROW)[0, c.REST_CAMPAIGN]
    left = bits_table(s, c.SHELVES, c.SHELF_ROW)[shelf, c.SHELF_LIVE + board]
    # Of a word, the bits that each of its rules forbids.
    cold = forbidden_by(s, campaign, COLD)
    capability = forbidden_by(s, campaign, CAPABILITY) & ~cold
    hardware = forbidden_by(s, campaign, HARDWARE) & ~forbidden_by(s, campaign, CAPABILITY)
    precision = forbidden_by(s, campaign, PRECISION) & ~forbidden_by(s, campaign, HARDWARE)
    contract = forbidden_by(s, campaign, CONTRACT) & ~forbidden_by(s, campaign, PRECISION)
    count = 0
    while left != _ZERO:
        place = c.BOARD * board + lowest_bit(left)
        left &= left - _ONE
        word = words[shelf, place]
        fails = i64(word & cold != _ZERO) << COLD
        fails |= i64(word & capability != _ZERO) << CAPABILITY
        fails |= i64(word & hardware != _ZERO) << HARDWARE
        fails |= i64(word & precision != _ZERO) << PRECISION
        fails |= i64(word & contract != _ZERO) << CONTRACT
        if fails & ~rules != 0 or fails & (fails - 1) != 0:
            continue
        if hopeless(fails | look_once(s, seen, stamp, i64(sites[shelf, place]))):
            continue
        offer = i64(offers[shelf, place])
        prefetch(s, c.ASKS, 8 * c.ASK_ROW * offer)
        survivors[count, 0] = offer
        count += 1
    for number in range(count):
        if look_at_offer(s, survivors[number, 0], seen, rows[_AT_HAND]):
            rule = rows[_AT_HAND, CAN_RULE]
            if (rules >> rule) & 1 and rows[_AT_HAND, CAN_SCORE] >= needed(
                rows, rule, rows[_AT_HAND, CAN_DEAL]
            ):
                keep(rows, rule)


@inner
def look_at_lane(
    s: Array, seen: Array, stamp: int, lane: int, markdown: int, rows: Array, rules: int
) -> None:
    """Judge what in a lane may matter, by price, until nothing more can."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    bounds = small_table(s, c.DIRECTORY, c.ENTRY_NARROW)
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    ceiling = rests[0, c.REST_PRICE] - markdown
    lease_us = rests[0, c.REST_LEASE_US]
    mix, of_mix, of_next = mix_of(rests[0, c.REST_TOKENS_IN], rests[0, c.REST_TOKENS_OUT])
    first = lanes[lane, c.LANE_FIRST]
    for entry in range(first, first + lanes[lane, c.LANE_COUNT]):
        least = needed_by_all(rows, rules, lane & 1)
        tokens = of_mix * i64(bounds[entry, mix]) + of_next * i64(bounds[entry, mix + 1])
        if ceiling - least_cost(tokens, lease_us * i64(bounds[entry, 5])) < least:
            return
        shelf = directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF
        for board in range(c.BOARDS):
            at = c.SHELF_BOARDS + c.BOARD_WORDS * board
            tokens = of_mix * shelves[shelf, at + mix] + of_next * shelves[shelf, at + mix + 1]
            if ceiling - least_cost(tokens, lease_us * shelves[shelf, at + 5]) >= least:
                look_at_board(s, seen, stamp, shelf, board, rows, rules)


@kernel
def scan_filled(s: Array, seen: Array, stamp: int, rules: int, rows: Array) -> int:
    """Find what the price of the bid in row 0, one unit, depends on with each of some rules left out.

    Args:
        s: the state.
        seen: int64[sites + 1, SEEN_WORDS], what an earlier bid left.
        stamp: a number that no earlier bid with the same `seen` had, not 0.
        rules: the rules that are set, a bit each.
        rows: int64[ROWS or more, CANDIDATE_WORDS]; overwritten.

    Returns:
        How many rows there are, 0 when nothing is eligible as things are.
    """
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    models = table(s, c.MODELS, c.MODEL_ROW)
    campaign = table(s, c.RESTS_TABLE, c.REST_ROW)[0, c.REST_CAMPAIGN]
    if finds_nothing(s):
        return 0
    winner, _, _, _, _, rival, _ = search(s, OPEN)
    deal = 0
    if s[c.DEALS_STANDING] != 0:
        deal, _, _, _, _, _, _ = search(s, DEALS)
    if winner == 0 and deal == 0:
        return 0
    for row in range(ROWS):
        rows[row, CAN_OFFER] = 0
    for offer in (winner, rival, deal):
        if offer != 0:
            look_at_own(s, seen, stamp, offer, rows)
    for number in range(c.LANES_PER_MODEL * campaigns[campaign, c.CAMPAIGN_MODEL_COUNT]):
        place = number // c.LANES_PER_MODEL
        model = campaigns[campaign, c.CAMPAIGN_MODELS + place]
        if rules != 0 and models[model, c.MODEL_HALTS] == 0:
            lane = c.LANES_PER_MODEL * model + number % c.LANES_PER_MODEL
            markdown = campaigns[campaign, c.CAMPAIGN_MARKDOWNS + place]
            look_at_lane(s, seen, stamp, lane, markdown, rows, rules)
    count = 0
    for row in range(_AT_HAND):
        if rows[row, CAN_OFFER] != 0:
            copy_row(rows, count, row)
            count += 1
    return count
