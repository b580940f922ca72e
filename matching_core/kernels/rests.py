"""Bids at rest: a row each, in the list of their buyer and in one list per model they accept.

A buyer's list is in order of arrival, since that is the order in which several end at once. In the
lists of models a link is 4 × row + place, `place` being the model's among its campaign's.
"""

from matching_core import columns as c
from matching_core.jit import Array, i64, inner, table
from matching_core.kernels.emit import emit_unfilled
from matching_core.kernels.heap import heap_push, heap_remove
from schemas import reasons

CANCELLED = reasons.NO_FILL["cancelled"]
HALTED = reasons.NO_FILL["halted"]


@inner
def rest_bid(s: Array, due_ns: int, arrival: int) -> int:
    """Let the bid of row 0 rest: copy it to a row of its own, hold its money; returns the row."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    buyers = table(s, c.BUYERS, c.BUYER_ROW)
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    models = table(s, c.MODELS, c.MODEL_ROW)
    rest = i64(s[c.REST_FREE])
    if rest != 0:
        s[c.REST_FREE] = rests[rest, c.REST_NEXT]
    else:
        rest = s[c.REST_ROWS]
        s[c.REST_ROWS] = rest + 1
    for word in range(c.REST_PLACE):
        rests[rest, word] = rests[0, word]
    rests[rest, c.REST_DUE] = due_ns
    rests[rest, c.REST_ARRIVAL] = arrival
    rests[rest, c.REST_PLACE] = 0
    rests[rest, c.REST_CANDIDATE] = 0
    units = rests[rest, c.REST_UNITS]
    s[c.RESTS] += 1
    s[c.RESTING_UNITS] += units

    buyer = rests[rest, c.REST_BUYER]
    last = buyers[buyer, c.BUYER_LAST]
    rests[rest, c.REST_NEXT] = 0
    rests[rest, c.REST_PREVIOUS] = last
    if last == 0:
        buyers[buyer, c.BUYER_FIRST] = rest
    else:
        rests[last, c.REST_NEXT] = rest
    buyers[buyer, c.BUYER_LAST] = rest
    buyers[buyer, c.BUYER_RESTS] += 1
    buyers[buyer, c.BUYER_AVAILABLE] -= rests[rest, c.REST_PRICE] * units

    campaign = rests[rest, c.REST_CAMPAIGN]
    for place in range(campaigns[campaign, c.CAMPAIGN_MODEL_COUNT]):
        model = campaigns[campaign, c.CAMPAIGN_MODELS + place]
        first = models[model, c.MODEL_FIRST_REST]
        rests[rest, c.REST_MODEL_PREVIOUS + place] = 0
        rests[rest, c.REST_MODEL_NEXT + place] = first
        if first != 0:
            rests[first >> 2, c.REST_MODEL_PREVIOUS + (first & 3)] = 4 * rest + place
        models[model, c.MODEL_FIRST_REST] = 4 * rest + place
    heap_push(s, c.REST_HEAP, due_ns, arrival, rest)
    return rest


@inner
def remove_rest(s: Array, rest: int) -> None:
    """Take a bid out of all lists, return what it still holds, free its row."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    buyers = table(s, c.BUYERS, c.BUYER_ROW)
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    models = table(s, c.MODELS, c.MODEL_ROW)
    units = rests[rest, c.REST_UNITS]
    s[c.RESTS] -= 1
    s[c.RESTING_UNITS] -= units

    buyer = rests[rest, c.REST_BUYER]
    after, before = rests[rest, c.REST_NEXT], rests[rest, c.REST_PREVIOUS]
    if before == 0:
        buyers[buyer, c.BUYER_FIRST] = after
    else:
        rests[before, c.REST_NEXT] = after
    if after == 0:
        buyers[buyer, c.BUYER_LAST] = before
    else:
        rests[after, c.REST_PREVIOUS] = before
    buyers[buyer, c.BUYER_RESTS] -= 1
    buyers[buyer, c.BUYER_AVAILABLE] += rests[rest, c.REST_PRICE] * units

    campaign = rests[rest, c.REST_CAMPAIGN]
    for place in range(campaigns[campaign, c.CAMPAIGN_MODEL_COUNT]):
        after = rests[rest, c.REST_MODEL_NEXT + place]
        before = rests[rest, c.REST_MODEL_PREVIOUS + place]
        if before == 0:
            model = campaigns[campaign, c.CAMPAIGN_MODELS + place]
            models[model, c.MODEL_FIRST_REST] = after
        else:
            rests[before >> 2, c.REST_MODEL_NEXT + (before & 3)] = after
        if after != 0:
            rests[after >> 2, c.REST_MODEL_PREVIOUS + (after & 3)] = before
    heap_remove(s, c.REST_HEAP, rests[rest, c.REST_PLACE])
    rests[rest, c.REST_UNITS] = 0
    rests[rest, c.REST_NEXT] = s[c.REST_FREE]
    s[c.REST_FREE] = rest


@inner
def end_rest(s: Array, rest: int, reason: int) -> None:
    """End a bid at rest without a fill for the units that are left."""
    emit_unfilled(s, rest, reason)
    remove_rest(s, rest)


@inner
def find_rest(s: Array, buyer: int, agent: int, bid: int) -> int:
    """Return the row of a bid at rest by its name, 0 when it is not at rest; at most 64 steps."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    rest = i64(table(s, c.BUYERS, c.BUYER_ROW)[buyer, c.BUYER_FIRST])
    while rest != 0 and (rests[rest, c.REST_BID] != bid or rests[rest, c.REST_AGENT] != agent):
        rest = rests[rest, c.REST_NEXT]
    return rest


@inner
def end_rests(s: Array, buyer: int, word: int, value: int, reason: int) -> None:
    """End a buyer's bids at rest whose `word` has that value, in order of arrival."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    rest = table(s, c.BUYERS, c.BUYER_ROW)[buyer, c.BUYER_FIRST]
    while rest != 0:
        after = rests[rest, c.REST_NEXT]
        if rests[rest, word] == value:
            end_rest(s, rest, reason)
        rest = after
