"""What nothing in a lane can do, known before any offer is looked at: bids without hope are not searched.

    LANES[lane]       … │ kinds that there are │ most tokens a second │ longest context │ least time to the first token
    NEAR, no metro    a bit for every network that some site peers with: a Bloom filter of one hash

All of it errs on one side. What is said of a lane holds for every offer in it; one that comes or reports
widens them, one that goes leaves them, until the lane is empty or a bid had to look at very many offers
in vain (`tighten`). A network's bit stays when the last site that peers with it does not any more.
"""

import numpy as np

from matching_core import columns as c
from matching_core.jit import Array, bits_table, i64, inner, kernel, lowest_bit, small_table, table
from matching_core.kernels.rules import (
    CAPABILITY,
    CONTEXT,
    CONTRACT,
    HARDWARE,
    PEERING,
    PRECISION,
    PRICE,
    SPEED,
)
from matching_core.kernels.shelves import lane_of
from matching_core.kernels.words import CONTRACT_BIT, LACKS_BIT, PRECISION_BIT, word_of
from schemas import limits

# Words of 32 bits in a row of LANES. QUICKNESS is what the time to the first token is below SLOWEST.
LANE_NARROW = 2 * c.LANE_WORDS
LANE_SPEED, LANE_CONTEXT, LANE_QUICKNESS = 12, 13, 14
SLOWEST = 1 << 30
LANE_KINDS = (
    5  # a word of 64: of hardware, precision, contract, capabilities those that some offer has
)
_HASH = 0x5851F42D  # odd, below 2^31: times 32 bits it stays in int64
_LACKS = np.uint64(255 << LACKS_BIT)
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
assert c.LANE_FREE < LANE_KINDS
assert 2 * LANE_KINDS + 1 < LANE_SPEED
assert limits.LATENCY_US_MAX < SLOWEST


@inner
def widen_lane(s: Array, lane: int, offer: int) -> None:
    """Let what is said of a lane hold for one more offer."""
    lanes = small_table(s, c.LANES, LANE_NARROW)
    terms = small_table(s, c.ASKS, c.ASK_NARROW)
    quickness = SLOWEST - i64(terms[offer, c.ASK_TTFT])
    lanes[lane, LANE_SPEED] = max(lanes[lane, LANE_SPEED], terms[offer, c.ASK_SPEED])
    lanes[lane, LANE_CONTEXT] = max(lanes[lane, LANE_CONTEXT], terms[offer, c.ASK_CONTEXT])
    lanes[lane, LANE_QUICKNESS] = max(i64(lanes[lane, LANE_QUICKNESS]), quickness)


@inner
def note_offer(s: Array, offer: int) -> None:
    """Let what is said of a lane hold for an offer that is about to stand in it."""
    lane = lane_of(s, offer)
    if table(s, c.LANES, c.LANE_WORDS)[lane, c.LANE_COUNT] == 0:
        forget_lane(s, lane)
    widen_lane(s, lane, offer)
    widen_kinds(s, lane, offer)


@inner
def widen_kinds(s: Array, lane: int, offer: int) -> None:
    """Let what is said of the kinds in a lane hold for one more offer."""
    kinds = bits_table(s, c.LANES, c.LANE_WORDS)
    kinds[lane, LANE_KINDS] |= word_of(s, offer) ^ _LACKS  # what it lacks becomes what it has


@inner
def lane_kinds(s: Array, campaign: int, lane: int) -> int:
    """Return the first of rules 12 to 15 that every offer in a lane fails, else the one after them."""
    kinds = bits_table(s, c.LANES, c.LANE_WORDS)[lane, LANE_KINDS]
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    wanted = np.uint64(campaigns[campaign, c.CAMPAIGN_CAPABILITIES])
    if (kinds >> np.uint64(LACKS_BIT)) & wanted != wanted:
        return CAPABILITY
    allowed = np.uint64(campaigns[campaign, c.CAMPAIGN_HARDWARE])
    if allowed != _ZERO and kinds & allowed == _ZERO:
        return HARDWARE
    allowed = np.uint64(campaigns[campaign, c.CAMPAIGN_PRECISIONS])
    if allowed != _ZERO and (kinds >> np.uint64(PRECISION_BIT)) & allowed == _ZERO:
        return PRECISION
    allowed = np.uint64(campaigns[campaign, c.CAMPAIGN_CONTRACTS])
    if allowed != _ZERO and (kinds >> np.uint64(CONTRACT_BIT)) & allowed == _ZERO:
        return CONTRACT
    return CONTRACT + 1


@inner
def note_report(s: Array, offer: int) -> None:
    """Let what is said of a lane hold for an offer in it whose speed and time are others now."""
    widen_lane(s, lane_of(s, offer), offer)


@inner
def forget_lane(s: Array, lane: int) -> None:
    """Say of a lane what holds when nothing is in it."""
    lanes = small_table(s, c.LANES, LANE_NARROW)
    lanes[lane, LANE_SPEED] = lanes[lane, LANE_CONTEXT] = lanes[lane, LANE_QUICKNESS] = 0
    table(s, c.LANES, c.LANE_WORDS)[lane, LANE_KINDS] = 0


@inner
def tighten(s: Array, lane: int) -> None:
    """Say of a lane what holds for the offers in it and no more."""
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    rows = small_table(s, c.SHELF_OFFERS, c.SHELF_PLACES)
    forget_lane(s, lane)
    first = lanes[lane, c.LANE_FIRST]
    for entry in range(first, first + lanes[lane, c.LANE_COUNT]):
        shelf = directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF
        for board in range(c.BOARDS):
            left = bits[shelf, c.SHELF_TAKEN + board]
            while left != _ZERO:
                offer = i64(rows[shelf, c.BOARD * board + lowest_bit(left)])
                widen_lane(s, lane, offer)
                widen_kinds(s, lane, offer)
                left &= left - _ONE


@inner
def peer_bit(s: Array, asn: int) -> int:
    """Return the number of a network's bit among those of the rows of NEAR that are no metro's."""
    return i64(((asn * _HASH) >> 16) & (64 * c.BANDS * s[c.SITE_WORDS] - 1))


@inner
def may_peer(s: Array, asn: int) -> bool:
    """Tell whether some site may peer with a network; 0, an unknown one, peers with nobody."""
    bit = peer_bit(s, asn)
    width = 64 * s[c.SITE_WORDS]
    row = bit // width
    inside = bit - width * row
    word = bits_table(s, c.NEAR, s[c.SITE_WORDS])[row, inside >> 6]
    return bool(asn != 0 and (word >> np.uint64(inside & 63)) & _ONE)


@kernel
def bit_of_peer(s: Array, asn: int) -> int:
    """Return what `peer_bit` does, to Python."""
    return peer_bit(s, asn)


@kernel
def note_peers(s: Array, site: int) -> int:
    """Set the bits of the networks that a site peers with; returns how many those are.

    They stand elsewhere once SITE_WORDS is another: then it is to be called for all sites.
    """
    sites = table(s, c.SITES, c.SITE_ROW)
    asns = table(s, c.ASNS, 1)
    near = bits_table(s, c.NEAR, s[c.SITE_WORDS])
    width = 64 * s[c.SITE_WORDS]
    first, count = sites[site, c.SITE_ASN_FIRST], sites[site, c.SITE_ASN_COUNT]
    for place in range(first, first + count):
        bit = peer_bit(s, asns[place, 0])
        row = bit // width
        inside = bit - width * row
        near[row, inside >> 6] |= _ONE << np.uint64(inside & 63)
    return i64(count)


@inner
def lane_stage(s: Array, lane: int) -> int:
    """Return the furthest rule from SPEED on that the bid in row 0 may come to in a lane.

    The rules before it are taken to hold.
    """
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    lanes = small_table(s, c.LANES, LANE_NARROW)
    campaign = rests[0, c.REST_CAMPAIGN]
    if lanes[lane, LANE_SPEED] < campaigns[campaign, c.CAMPAIGN_SPEED]:
        return SPEED
    if campaigns[campaign, c.CAMPAIGN_PEERING] != 0 and not may_peer(s, rests[0, c.REST_ASN]):
        return PEERING
    tokens = rests[0, c.REST_TOKENS_IN] + rests[0, c.REST_TOKENS_OUT]
    if lanes[lane, LANE_CONTEXT] < tokens:
        return CONTEXT
    return PRICE
