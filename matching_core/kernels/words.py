"""What a campaign may ask of an offer, as one word: a bit per way to fail.

bits 0–28   its hardware        one is set, and fails where the campaign does not allow that kind
29–36       its precision       the same
37–39       its contract        the same
40–47       capabilities that it lacks
48          nothing of it is left
49          it starts cold
50          there is no offer in this place: fails always
51–53       its context is below 8, 16, 32 thousand tokens

word & forbidden == 0   passes
"""

import numpy as np

from matching_core import columns as c
from matching_core.jit import Array, i64, inner, kernel, small_table, table
from matching_core.kernels.rules import CONTRACT
from schemas import lists

PRECISION_BIT, CONTRACT_BIT, LACKS_BIT = 29, 37, 40
SOLD_OUT, COLD_START, NOBODY, SMALL_CONTEXT = 1 << 48, 1 << 49, 1 << 50, 51
_CONTEXTS = (8_192, 16_384, 32_768)  # one bit each says that the limit is below
_ALL_HARDWARE = (1 << PRECISION_BIT) - 1
_ALL_PRECISIONS = (1 << (CONTRACT_BIT - PRECISION_BIT)) - 1
_ALL_CONTRACTS = (1 << (LACKS_BIT - CONTRACT_BIT)) - 1
_ALL_CAPABILITIES = 255
_RULE_CAPACITY, _RULE_COLD, _RULE_CAPABILITY, _RULE_CONTEXT = 2, 3, 12, 18
assert len(lists.HARDWARE) <= PRECISION_BIT
assert len(lists.PRECISIONS) <= CONTRACT_BIT - PRECISION_BIT
assert len(lists.CONTRACTS) <= LACKS_BIT - CONTRACT_BIT
assert len(lists.CAPABILITIES) <= 8


@inner
def forbidden(s: Array, bid: int, rule: int) -> np.uint64:
    """Return the bits of a word that make an offer fail a rule up to `rule` for a bid."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    bits = i64(forbidden_by(s, rests[bid, c.REST_CAMPAIGN], rule))
    if rule >= _RULE_CAPACITY:
        bits |= SOLD_OUT
    if rule >= _RULE_CONTEXT:
        tokens = rests[bid, c.REST_TOKENS_IN] + rests[bid, c.REST_TOKENS_OUT]
        for place in range(len(_CONTEXTS)):
            if tokens >= _CONTEXTS[place]:
                bits |= 1 << (SMALL_CONTEXT + place)
    return np.uint64(bits)


@inner
def forbidden_by(s: Array, campaign: int, rule: int) -> np.uint64:
    """Return those of the bits that depend on the campaign alone."""
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    bits = NOBODY
    if rule >= _RULE_COLD and campaigns[campaign, c.CAMPAIGN_COLD] == 0:
        bits |= COLD_START
    if rule >= _RULE_CAPABILITY:
        bits |= campaigns[campaign, c.CAMPAIGN_CAPABILITIES] << LACKS_BIT
    allowed = campaigns[campaign, c.CAMPAIGN_HARDWARE]
    if rule > _RULE_CAPABILITY and allowed != 0:
        bits |= ~allowed & _ALL_HARDWARE
    allowed = campaigns[campaign, c.CAMPAIGN_PRECISIONS]
    if rule > _RULE_CAPABILITY + 1 and allowed != 0:
        bits |= (~allowed & _ALL_PRECISIONS) << PRECISION_BIT
    allowed = campaigns[campaign, c.CAMPAIGN_CONTRACTS]
    if rule > _RULE_CAPABILITY + 2 and allowed != 0:
        bits |= (~allowed & _ALL_CONTRACTS) << CONTRACT_BIT
    return np.uint64(bits)


@inner
def passing(words: Array, shelf: int, board: int, fails: np.uint64) -> np.uint64:
    """Return which offers of a board have none of the bits: 64 in twenty nanoseconds, no branch."""
    found = np.uint64(0)
    first = c.BOARD * board
    for place in range(c.BOARD):
        passes = np.uint64((words[shelf, first + place] & fails) == np.uint64(0))
        found |= passes << np.uint64(place)
    return found


@inner
def word_of(s: Array, offer: int) -> np.uint64:
    """Return the word of an offer (WORDS)."""
    asks = small_table(s, c.ASKS, c.ASK_NARROW)
    attributes = i64(asks[offer, c.ASK_ATTRIBUTES])
    bits = 1 << (attributes & 255)
    bits |= 1 << (PRECISION_BIT + ((attributes >> 8) & 255))
    bits |= 1 << (CONTRACT_BIT + ((attributes >> 16) & 255))
    bits |= (~(attributes >> c.CAPABILITIES_SHIFT) & _ALL_CAPABILITIES) << LACKS_BIT
    if asks[offer, c.ASK_AVAILABLE] < 1:
        bits |= SOLD_OUT
    starts = small_table(s, c.OFFERS, c.OFFER_NARROW)
    if asks[offer, c.ASK_STARTS] != 0 and starts[offer, c.OFFER_COLD] > 0:
        bits |= COLD_START
    for place in range(len(_CONTEXTS)):
        if asks[offer, c.ASK_CONTEXT] < _CONTEXTS[place]:
            bits |= 1 << (SMALL_CONTEXT + place)
    return np.uint64(bits)


@kernel
def word_of_offer(s: Array, offer: int) -> np.uint64:
    """Return what `word_of` does, to Python."""
    return word_of(s, offer)


@kernel
def campaign_fails(s: Array, campaign: int) -> np.uint64:
    """Return the bits of a word that rule an offer out for a campaign, to Python."""
    return forbidden_by(s, campaign, CONTRACT)
