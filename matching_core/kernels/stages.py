"""How far the offers of a campaign's models come by what it always asks: rules 3 to 15, as bits.

    CAMPAIGNS[campaign]   … │ stages │ version │ version when all was looked at │ an offer

Bit n of the stages: some offer fails rule n first; bit PASSES: some passes all of them. Slots, halts,
deals and the bid's adapter are left out, for they come and go: what is said is the most that could
be. It is known up to a version: a shelf whose version is later has changed since and is looked at once
more, and so are the offers that are fresh (index.py), so a book at rest costs a glance at each shelf.
An offer that goes leaves its bit; all is looked at again when that misled and versions went on.
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
from matching_core.kernels.index import look_at_fresh
from matching_core.kernels.rules import CAPABILITY, COLD, CONTRACT
from matching_core.kernels.words import forbidden_by, passing

KNOWN_STAGES, KNOWN_VERSION, KNOWN_PROVEN, KNOWN_OFFER = range(60, 64)
PASSES = CONTRACT + 1
_AHEAD = 6  # shelves whose lines are asked for
_PATIENCE = 64  # versions of shelves that go by before all is looked at again
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
assert c.CAMPAIGN_SOVEREIGNTY + c.COUNTRY_WORDS <= KNOWN_STAGES
assert KNOWN_OFFER < c.CAMPAIGN_ROW


@inner
def forget_stages(s: Array, campaign: int) -> None:
    """Let all offers be looked at when a campaign's stages are next asked for."""
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    campaigns[campaign, KNOWN_VERSION] = 0


@inner
def stages_among(s: Array, campaign: int, shelf: int, board: int, left: np.uint64) -> int:
    """Return the stages of some offers of a board, as bits."""
    words = bits_table(s, c.WORDS, c.SHELF_PLACES)
    sites = small_table(s, c.SHELF_SITES, c.SHELF_PLACES)
    site_rules = byte_table(s, c.SITE_RULES, s[c.SITE_CAPACITY])
    found = 0
    suits = left & passing(words, shelf, board, forbidden_by(s, campaign, COLD))
    if suits != left:
        found |= 1 << COLD
    left = suits
    while left != _ZERO:
        bit = lowest_bit(left)
        left &= left - _ONE
        rule = i64(site_rules[campaign, i64(sites[shelf, c.BOARD * board + bit])])
        found |= 1 << rule
        suits &= ~(np.uint64(rule != 0) << np.uint64(bit))
    found &= ~1  # no rule is rule 0
    for rule in range(CAPABILITY, CONTRACT + 1):
        if suits == _ZERO:
            return found
        passed = suits & passing(words, shelf, board, forbidden_by(s, campaign, rule))
        if passed != suits:
            found |= 1 << rule
        suits = passed
    if suits != _ZERO:
        found |= 1 << PASSES
    return found


@inner
def stages_on(s: Array, campaign: int, shelf: int) -> int:
    """Return the stages of all offers of a shelf, as bits."""
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    found = 0
    for board in range(c.BOARDS):
        if bits[shelf, c.SHELF_TAKEN + board] != _ZERO:
            found |= stages_among(s, campaign, shelf, board, bits[shelf, c.SHELF_TAKEN + board])
    return found


@inner
def stages_of_fresh(s: Array, campaign: int, shelf: int) -> int:
    """Return the stages of the offers of a shelf that are fresh, as bits: few, so one by one."""
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    words = bits_table(s, c.WORDS, c.SHELF_PLACES)
    sites = small_table(s, c.SHELF_SITES, c.SHELF_PLACES)
    site_rules = byte_table(s, c.SITE_RULES, s[c.SITE_CAPACITY])
    found = 0
    for board in range(c.BOARDS):
        left = bits[shelf, c.SHELF_TAKEN + board] & bits[shelf, c.SHELF_FRESH + board]
        while left != _ZERO:
            place = c.BOARD * board + lowest_bit(left)
            left &= left - _ONE
            word = words[shelf, place]
            stage = i64(site_rules[campaign, i64(sites[shelf, place])])
            if word & forbidden_by(s, campaign, COLD) != _ZERO:
                stage = COLD
            elif stage == 0:
                stage = CAPABILITY
                while stage < PASSES and word & forbidden_by(s, campaign, stage) == _ZERO:
                    stage += 1
            found |= 1 << stage
    return found


@inner
def stages_of(s: Array) -> int:
    """Return the stages of all offers of the models of the campaign that bids in row 0, as bits."""
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    campaign = table(s, c.RESTS_TABLE, c.REST_ROW)[0, c.REST_CAMPAIGN]
    known = campaigns[campaign, KNOWN_VERSION]
    if known == 0:
        campaigns[campaign, KNOWN_STAGES] = 0
        campaigns[campaign, KNOWN_PROVEN] = s[c.VERSIONS]
    found = campaigns[campaign, KNOWN_STAGES]
    for number in range(c.LANES_PER_MODEL * campaigns[campaign, c.CAMPAIGN_MODEL_COUNT]):
        model = campaigns[campaign, c.CAMPAIGN_MODELS + number // c.LANES_PER_MODEL]
        lane = c.LANES_PER_MODEL * model + number % c.LANES_PER_MODEL
        first = lanes[lane, c.LANE_FIRST]
        end = first + lanes[lane, c.LANE_COUNT]
        for entry in range(first, end):
            if entry + _AHEAD < end:
                ahead = directory[entry + _AHEAD, c.ENTRY_SHELF] & 0xFFFFFFFF
                prefetch(s, c.SHELVES, 8 * c.SHELF_ROW * ahead)
            shelf = directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF
            if shelves[shelf, c.SHELF_VERSION] & 1:
                look_at_fresh(s, shelf)
            if shelves[shelf, c.SHELF_VERSION] >> 1 > known:
                found |= stages_on(s, campaign, shelf)
            elif shelves[shelf, c.SHELF_VERSION] & 1:
                found |= stages_of_fresh(s, campaign, shelf)
    campaigns[campaign, KNOWN_STAGES] = found
    campaigns[campaign, KNOWN_VERSION] = s[c.VERSIONS]
    return i64(found)


@inner
def were_misleading(s: Array, campaign: int) -> None:
    """Note that no offer came as far as the stages said, which may be because those that did went."""
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    if s[c.VERSIONS] >= campaigns[campaign, KNOWN_PROVEN] + _PATIENCE:
        forget_stages(s, campaign)


@inner
def none_passes(s: Array) -> bool:
    """Tell whether it is known that no offer passes what the campaign of the bid in row 0 always asks.

    Nothing is found out for this question: it is for every bid, and most find something.
    """
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    campaign = table(s, c.RESTS_TABLE, c.REST_ROW)[0, c.REST_CAMPAIGN]
    if campaigns[campaign, KNOWN_VERSION] == 0:
        return False
    if (campaigns[campaign, KNOWN_STAGES] >> PASSES) & 1 != 0:
        return False
    return (stages_of(s) >> PASSES) & 1 == 0
