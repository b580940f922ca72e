"""A bid arrives and open offers compete for it (MARKET.md §6a); or it tells why none did (§7).

search.py finds the best open offer and the best of another owner group than its; here is the price.
Deals are searched apart: they are no rivals. Why nothing was found says reason.py.
"""

from matching_core import columns as c
from matching_core.event_rows import EVENT_WORDS
from matching_core.jit import Array, i64, inner, prefetch, small_table, table
from matching_core.kernels import emit as e
from matching_core.kernels.lifecycle import make_fill
from matching_core.kernels.reason import hopeless, reason_of
from matching_core.kernels.rests import rest_bid
from matching_core.kernels.rules import card_of
from matching_core.kernels.search import DEALS, OPEN, search
from schemas import limits, reasons

_NO_FILL_BASE = reasons.NO_FILL_BASE
_INSUFFICIENT_FUNDS = reasons.NO_FILL["insufficient_funds"]
_NS_PER_US = limits.NS_PER_US


@inner
def auction(s: Array) -> bool:
    """Auction one unit of the bid in row 0; returns whether it filled."""
    terms = small_table(s, c.ASKS, c.ASK_NARROW)
    s[c.AUCTIONS] += 1
    if hopeless(s):
        return False
    winner, score, latency, cost, cold, rival, rival_score = search(s, OPEN)
    deal, deal_score, deal_latency, deal_cost, deal_cold = 0, 0, 0, 0, False
    if s[c.DEALS_STANDING] != 0:
        deal, deal_score, deal_latency, deal_cost, deal_cold, _, _ = search(s, DEALS)
    prefetch(s, c.OFFERS, 8 * c.OFFER_ROW * winner)
    if winner != 0:
        value = score + cost
        card = card_of(s, 0, i64(terms[winner, c.ASK_MODEL]))
        price = max(cost, min(value, card))
        contested = False
        if rival != 0 and value - rival_score < price:
            price = value - rival_score
            contested = True
        if deal == 0 or deal_score < value - price:
            make_fill(
                s, 0, winner, price, cost, score, latency,
                cold, contested, rival != 0, rival_score, False,
            )  # fmt: skip
            return True
    if deal != 0:
        make_fill(
            s, 0, deal, deal_cost, deal_cost, deal_score, deal_latency,
            deal_cold, False, False, 0, False,
        )  # fmt: skip
        return True
    return False


@inner
def clear_bid(s: Array, rest_us: int) -> None:
    """Auction the units of the bid in row 0; what is left rests or ends unfilled."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    buyers = table(s, c.BUYERS, c.BUYER_ROW)
    buyer = rests[0, c.REST_BUYER]
    if buyers[buyer, c.BUYER_AVAILABLE] < rests[0, c.REST_PRICE] * rests[0, c.REST_UNITS]:
        e.emit_unfilled(s, 0, _INSUFFICIENT_FUNDS)
        return
    while rests[0, c.REST_UNITS] > 0:
        if not auction(s):
            break
    if rests[0, c.REST_UNITS] == 0:
        return
    if rest_us == 0:
        e.emit_unfilled(s, 0, _NO_FILL_BASE + reason_of(s))
        return
    rest = rest_bid(s, s[c.AT] + _NS_PER_US * rest_us, s[c.SEQ])
    row = e.emit(s, e.RESTING)
    events = table(s, c.EVENTS, EVENT_WORDS)
    events[row, e.E_BUYER] = buyer
    events[row, e.E_AGENT] = rests[rest, c.REST_AGENT]
    events[row, e.E_BID] = rests[rest, c.REST_BID]
    events[row, e.E_CAMPAIGN] = rests[rest, c.REST_CAMPAIGN]
    events[row, e.E_QUANTITY] = rests[rest, c.REST_UNITS]
