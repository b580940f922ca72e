"""How far offers come by what a campaign always asks, rules 3 to 15: the most that any of them does.

    CAMPAIGNS[campaign]   … │ of all offers │ of those that fail something up to the contract │ an offer
                              each: the most, up to which version, and since which

Slots, halts, deals and the bid's adapter are left out, for they come and go: what is said is the most
that could be, PASSES where an offer fails none of these rules. It is known up to a version: a shelf whose
version is later has changed since and is looked at once more, and so are the offers that are fresh
(index.py); all others need no look. What is looked at is asked only whether something there comes
further: by the words, 64 offers at a time, and for those that are left by their sites.

An offer that goes may leave the most too high. When a bid found that nothing live comes as far,
and enough of the book has changed since all was looked at, all is looked at again.
The offer is one that came furthest when that was last asked.
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
from matching_core.kernels.hopes import lane_kinds
from matching_core.kernels.index import look_at_fresh
from matching_core.kernels.rules import CAPABILITY, COLD, CONTRACT
from matching_core.kernels.words import forbidden_by, passing

# Words of a campaign. The first of each pair: 32 × version + the most; 0 when nothing is known.
KNOWN_OF_ALL, KNOWN_OF_FAILING, KNOWN_OFFER = 59, 61, 63
_SINCE = 1  # of a pair: the version when all was looked at
_MOST = 31
PASSES = CONTRACT + 1
_AHEAD = 6  # shelves whose lines are asked for
_PATIENCE = 64  # versions of shelves that go by before all is looked at again
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
assert c.CAMPAIGN_SOVEREIGNTY + c.COUNTRY_WORDS <= KNOWN_OF_ALL
assert KNOWN_OFFER < c.CAMPAIGN_ROW
assert PASSES <= _MOST


@inner
def forget_stages(s: Array, campaign: int) -> None:
    """Let all offers be looked at when it is next asked how far a campaign's come."""
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    campaigns[campaign, KNOWN_OF_ALL] = 0
    campaigns[campaign, KNOWN_OF_FAILING] = 0


@inner
def stage_at(s: Array, campaign: int, shelf: int, place: int) -> int:
    """Return the first of rules 3 to 15 that the offer in a place fails, or PASSES."""
    word = bits_table(s, c.WORDS, c.SHELF_PLACES)[shelf, place]
    if word & forbidden_by(s, campaign, COLD) != _ZERO:
        return COLD
    site = i64(small_table(s, c.SHELF_SITES, c.SHELF_PLACES)[shelf, place])
    stage = i64(byte_table(s, c.SITE_RULES, s[c.SITE_CAPACITY])[campaign, site])
    if stage == 0:
        stage = CAPABILITY
        while stage < PASSES and word & forbidden_by(s, campaign, stage) == _ZERO:
            stage += 1
    return stage


@inner
def further_on(s: Array, campaign: int, shelf: int, fresh: bool, most: int, limit: int) -> int:
    """Return the most that offers of a shelf come to, up to `limit`, if it is more than `most`; else that.

    `fresh`: only those that are fresh. Offers beyond the limit are left out.
    """
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    words = bits_table(s, c.WORDS, c.SHELF_PLACES)
    sites = small_table(s, c.SHELF_SITES, c.SHELF_PLACES)
    site_rules = byte_table(s, c.SITE_RULES, s[c.SITE_CAPACITY])
    for board in range(c.BOARDS):
        left = bits[shelf, c.SHELF_TAKEN + board]
        if fresh:
            left &= bits[shelf, c.SHELF_FRESH + board]
        if left == _ZERO:
            continue
        beyond = _ZERO  # what passes if its site does
        if not fresh:
            left &= passing(words, shelf, board, forbidden_by(s, campaign, most))
            if limit < PASSES:
                beyond = passing(words, shelf, board, forbidden_by(s, campaign, CONTRACT))
        while left != _ZERO:
            bit = lowest_bit(left)
            place = c.BOARD * board + bit
            left &= left - _ONE
            by_site = i64(site_rules[campaign, i64(sites[shelf, place])])
            if by_site == 0 and (beyond >> np.uint64(bit)) & _ONE != _ZERO:
                continue
            if by_site != 0 and by_site <= most:
                continue
            stage = stage_at(s, campaign, shelf, place)
            if most < stage <= limit:
                most = stage
                if most == limit:
                    return most
                if not fresh:
                    left &= passing(words, shelf, board, forbidden_by(s, campaign, most))
    return most


@inner
def most_by_sites(s: Array, campaign: int) -> int:
    """Return the most that offers may come to by the rules of the sites that there are."""
    site_rules = byte_table(s, c.SITE_RULES, s[c.SITE_CAPACITY])
    most = COLD
    for site in range(1, s[c.SITE_COUNT] + 1):
        if site_rules[campaign, site] == 0:
            return PASSES
        most = max(most, i64(site_rules[campaign, site]))
    return most


@inner
def most_by_kinds(s: Array, campaign: int) -> int:
    """Return the most that offers may come to by what there is in a campaign's lanes at all."""
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    lanes = table(s, c.LANES, c.LANE_WORDS)
    most = COLD
    for number in range(c.LANES_PER_MODEL * campaigns[campaign, c.CAMPAIGN_MODEL_COUNT]):
        model = campaigns[campaign, c.CAMPAIGN_MODELS + number // c.LANES_PER_MODEL]
        lane = c.LANES_PER_MODEL * model + number % c.LANES_PER_MODEL
        if lanes[lane, c.LANE_COUNT] != 0:
            most = max(most, lane_kinds(s, campaign, lane))
    return most


@inner
def most_of(s: Array, known_at: int) -> int:
    """Return the most that offers of the models of the campaign that bids in row 0 come to.

    `known_at`: KNOWN_OF_ALL, or KNOWN_OF_FAILING for those that do not pass.
    """
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    campaign = table(s, c.RESTS_TABLE, c.REST_ROW)[0, c.REST_CAMPAIGN]
    limit = PASSES if known_at == KNOWN_OF_ALL else CONTRACT
    known = campaigns[campaign, known_at] >> 5
    most = campaigns[campaign, known_at] & _MOST
    if known == 0:
        campaigns[campaign, known_at + _SINCE] = s[c.VERSIONS]
        limit = min(limit, most_by_sites(s, campaign), most_by_kinds(s, campaign))
    for number in range(c.LANES_PER_MODEL * campaigns[campaign, c.CAMPAIGN_MODEL_COUNT]):
        model = campaigns[campaign, c.CAMPAIGN_MODELS + number // c.LANES_PER_MODEL]
        lane = c.LANES_PER_MODEL * model + number % c.LANES_PER_MODEL
        first = lanes[lane, c.LANE_FIRST]
        end = first + lanes[lane, c.LANE_COUNT]
        for entry in range(first, end):
            if most >= limit:
                break
            if entry + _AHEAD < end:
                ahead = directory[entry + _AHEAD, c.ENTRY_SHELF] & 0xFFFFFFFF
                prefetch(s, c.SHELVES, 8 * c.SHELF_ROW * ahead)
            shelf = directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF
            if shelves[shelf, c.SHELF_VERSION] & 1:
                look_at_fresh(s, shelf)
            if shelves[shelf, c.SHELF_VERSION] >> 1 > known:
                most = further_on(s, campaign, shelf, False, most, limit)
            elif shelves[shelf, c.SHELF_VERSION] & 1:
                most = further_on(s, campaign, shelf, True, most, limit)
    campaigns[campaign, known_at] = (s[c.VERSIONS] << 5) | most
    return i64(most)


@inner
def was_misleading(s: Array, campaign: int, known_at: int) -> None:
    """Note that no live offer came as far as was said, which may be because those that did went."""
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    if s[c.VERSIONS] >= campaigns[campaign, known_at + _SINCE] + _PATIENCE:
        campaigns[campaign, known_at] = 0


@inner
def none_passes(s: Array) -> bool:
    """Tell whether no offer passes what the campaign of the bid in row 0 always asks.

    It is asked for every bid: of a campaign that has offers which pass, that costs a glance.
    """
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    campaign = table(s, c.RESTS_TABLE, c.REST_ROW)[0, c.REST_CAMPAIGN]
    if campaigns[campaign, KNOWN_OF_ALL] & _MOST == PASSES:
        return False
    return most_of(s, KNOWN_OF_ALL) != PASSES
