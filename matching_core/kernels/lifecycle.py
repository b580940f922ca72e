"""What becomes of a fill, and who is paid (MARKET.md §8).

    leased ──start──▶ started ──both completed──▶ settled | disputed ──▶ settled
      │                  └── one side silent, or nobody completed ──▶ settled
      ├── lease_until ──▶ released              (leased | started) ── decline ──▶ declined

A fill is among those that wait for what its state waits for (waits.py): the end of its lease, its
settlement, or the end of its dispute.
"""

from matching_core import columns as c
from matching_core.event_rows import (
    BAND_SHIFT,
    COLD_BIT,
    CONTESTED_BIT,
    COUNTRY_SHIFT,
    EVENT_WORDS,
    RESTING_BIT,
    RIVAL_BIT,
    TIER_SHIFT,
)
from matching_core.jit import Array, i64, inner, prefetch, short_table, small_table, table
from matching_core.kernels import emit as e
from matching_core.kernels.book import free_fill, list_fill, unlist_fill
from matching_core.kernels.waits import wait_move, wait_push, wait_remove
from matching_core.kernels.wide import add_ended, ceil_div, multiply_divide, multiply_divide_up
from schemas import limits, lists

BOTH, BY_BUYER, BY_OPERATOR, NOBODY, BY_EXCHANGE, BY_DEFAULT = range(6)
assert lists.SETTLED_BY == ("both", "buyer", "operator", "nobody", "exchange", "default")
_NS_PER_US = limits.NS_PER_US
_PPM = limits.PPM
_LINE_BYTES = 64
_RENT_DIVISOR = limits.PPM * 1_000_000  # parts per million, per second held in µs


@inner
def make_fill(
    s: Array, bid: int, offer: int, price: int, cost: int, score: int, latency_us: int,
    cold: bool, contested: bool, has_rival: bool, rival_score: int, resting: bool,
) -> None:  # fmt: skip
    """Sell one slot of an offer to one unit of a bid (a row of bids) and say so."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    fills = table(s, c.FILLS, c.FILL_ROW)
    links = small_table(s, c.FILLS, c.FILL_NARROW)
    models = table(s, c.MODELS, c.MODEL_ROW)
    sites = table(s, c.SITES, c.SITE_ROW)
    index = small_table(s, c.FILL_INDEX, c.FILL_INDEX_ROW)
    fill = s[c.FILL_FREE]
    if fill != 0:
        free = i64(links[fill, c.FILL_NEXT])
        s[c.FILL_FREE] = free
        prefetch(s, c.FILLS, 8 * c.FILL_ROW * free)
        prefetch(s, c.FILLS, 8 * c.FILL_ROW * free + _LINE_BYTES)
        prefetch(s, c.FILL_WAITS, 8 * c.WAIT_ROW * free)
    else:
        fill = s[c.FILL_ROWS]
        s[c.FILL_ROWS] = fill + 1
    s[c.FILLS_MADE] += 1
    s[c.OPEN_FILLS] += 1
    number = s[c.FILLS_MADE]
    at_ns = s[c.AT]
    asks = small_table(s, c.ASKS, c.ASK_NARROW)
    site = i64(asks[offer, c.ASK_SITE])
    model = i64(asks[offer, c.ASK_MODEL])
    buyer = rests[bid, c.REST_BUYER]
    operator = sites[site, c.SITE_OPERATOR]
    unit = rests[bid, c.REST_NEXT_UNIT]
    rests[bid, c.REST_NEXT_UNIT] = unit + 1
    rests[bid, c.REST_UNITS] -= 1
    lease_until = at_ns + _NS_PER_US * rests[bid, c.REST_LEASE_US]
    card = c.MODEL_CARDS + 3 * rests[bid, c.REST_BAND]

    # A unit at rest holds its ceiling already; of an arriving one nothing is held yet.
    held = rests[bid, c.REST_PRICE] if resting else 0
    if resting:
        s[c.RESTING_UNITS] -= 1
    table(s, c.BUYERS, c.BUYER_ROW)[buyer, c.BUYER_AVAILABLE] += held - price

    index[number, c.INDEX_ROW_OF_FILL] = fill
    index[number, c.INDEX_BUYER] = buyer
    index[number, c.INDEX_OPERATOR] = operator
    fills[fill, c.FILL_NUMBER] = number
    fills[fill, c.FILL_BID] = rests[bid, c.REST_BID]
    fills[fill, c.FILL_PRICE] = price
    fills[fill, c.FILL_AT] = at_ns
    fills[fill, c.FILL_LEASE_UNTIL] = lease_until
    fills[fill, c.FILL_CARD_SECOND] = models[model, card + 2]
    fills[fill, c.FILL_CARD_IN] = models[model, card]
    fills[fill, c.FILL_CARD_OUT] = models[model, card + 1]
    links[fill, c.FILL_BUYER] = buyer
    links[fill, c.FILL_OPERATOR] = operator
    links[fill, c.FILL_OFFER] = offer
    links[fill, c.FILL_STATE] = c.LEASED
    links[fill, c.FILL_AGENT] = rests[bid, c.REST_AGENT]
    links[fill, c.FILL_UNIT] = unit
    links[fill, c.FILL_TERMS] = s[c.TERMS]
    links[fill, c.FILL_TOKENS_IN] = rests[bid, c.REST_TOKENS_IN]
    links[fill, c.FILL_TOKENS_OUT] = rests[bid, c.REST_TOKENS_OUT]
    wait_push(s, c.LEASE_WAIT, lease_until, number, fill)

    attributes = i64(asks[offer, c.ASK_ATTRIBUTES])
    attributes &= (1 << c.ATTRIBUTE_BITS) - 1  # hardware, precision, contract
    attributes |= sites[site, c.SITE_TIER] << TIER_SHIFT
    attributes |= sites[site, c.SITE_COUNTRY] << COUNTRY_SHIFT
    attributes |= rests[bid, c.REST_BAND] << BAND_SHIFT
    attributes |= i64(contested) << CONTESTED_BIT
    attributes |= i64(cold) << COLD_BIT
    attributes |= i64(resting) << RESTING_BIT
    attributes |= i64(has_rival) << RIVAL_BIT
    row = e.begin(s, e.FILL)
    events = table(s, c.EVENTS, EVENT_WORDS)
    events[row, e.E_REASON] = 0
    events[row, e.E_COMMAND] = 0
    events[row, e.E_BUYER] = buyer
    events[row, e.E_AGENT] = rests[bid, c.REST_AGENT]
    events[row, e.E_BID] = rests[bid, c.REST_BID]
    events[row, e.E_UNIT] = unit
    events[row, e.E_QUANTITY] = 0
    events[row, e.E_OPERATOR] = operator
    events[row, e.E_SITE] = site
    events[row, e.E_MODEL] = model
    events[row, e.E_CAMPAIGN] = rests[bid, c.REST_CAMPAIGN]
    events[row, e.E_ORIGIN] = rests[bid, c.REST_ORIGIN]
    events[row, e.E_ADAPTER] = rests[bid, c.REST_ADAPTER]
    events[row, e.E_FILL] = number
    events[row, e.E_TOKENS_IN] = rests[bid, c.REST_TOKENS_IN]
    events[row, e.E_TOKENS_OUT] = rests[bid, c.REST_TOKENS_OUT]
    events[row, e.E_ATTRIBUTES] = attributes
    events[row, e.E_PRICE] = price
    events[row, e.E_COST] = cost
    events[row, e.E_SCORE] = score
    events[row, e.E_RIVAL_SCORE] = rival_score if has_rival else 0
    events[row, e.E_LATENCY] = latency_us
    events[row, e.E_LEASE_UNTIL] = lease_until
    events[row, e.E_PAID] = 0
    events[row, e.E_REFUND] = 0
    events[row, e.E_EARNED] = 0

    # The offer's line was asked for when the search ended; what waits for it comes last, because stores
    # are done in order and all behind one that misses would wait as well.
    ordinal = offers[offer, c.OFFER_MADE] + 1
    offers[offer, c.OFFER_MADE] = ordinal
    fills[fill, c.FILL_ORDINAL] = ordinal
    events[row, e.E_ORDINAL] = ordinal
    events[row, e.E_OFFER] = short_table(s, c.OFFERS, c.OFFER_SHORT)[offer, c.OFFER_NUMBER]
    list_fill(s, offer, fill)


@inner
def terms_of(s: Array, fill: int) -> int:
    """Return the row of TERMS_TABLE with the rules that a fill was made by."""
    return i64(small_table(s, c.FILLS, c.FILL_NARROW)[fill, c.FILL_TERMS])


@inner
def rent_of(s: Array, fill: int) -> int:
    """Return what holding the slot cost, up to the price."""
    fills = table(s, c.FILLS, c.FILL_ROW)
    end = fills[fill, c.FILL_LEASE_UNTIL]
    if small_table(s, c.FILLS, c.FILL_NARROW)[fill, c.FILL_STATE] != c.LEASED:
        first = table(s, c.FILL_PROGRESS, c.PROGRESS_ROW)[fill, c.PROGRESS_FIRST]
        if first != c.NOT_YET:
            end = min(end, first)
    held_us = (end - fills[fill, c.FILL_AT]) // _NS_PER_US
    price = i64(fills[fill, c.FILL_PRICE])
    rate = table(s, c.TERMS_TABLE, c.TERM_ROW)[terms_of(s, fill), c.TERM_RENT]
    rent = multiply_divide_up(price, rate * held_us, _RENT_DIVISOR)
    rent += ceil_div(fills[fill, c.FILL_CARD_SECOND] * held_us, 1_000_000)
    return min(price, rent)


@inner
def figure_of(s: Array, fill: int, tokens_in: int, tokens_out: int) -> int:
    """Return what a side's metered tokens make of the price; the input counts as declared."""
    if tokens_in == 0 and tokens_out == 0:
        return 0
    fills = table(s, c.FILLS, c.FILL_ROW)
    price = i64(fills[fill, c.FILL_PRICE])
    narrow = small_table(s, c.FILLS, c.FILL_NARROW)
    by_input = i64(narrow[fill, c.FILL_TOKENS_IN]) * fills[fill, c.FILL_CARD_IN]
    declared = by_input + i64(narrow[fill, c.FILL_TOKENS_OUT]) * fills[fill, c.FILL_CARD_OUT]
    metered = by_input + tokens_out * fills[fill, c.FILL_CARD_OUT]
    if metered >= declared:
        return price
    return multiply_divide(price, metered, declared)


@inner
def end_fill(s: Array, fill: int, paid: int) -> None:
    """Let a fill be over: it waits for nothing, only its members are remembered."""
    fills = table(s, c.FILLS, c.FILL_ROW)
    narrow = small_table(s, c.FILLS, c.FILL_NARROW)
    state = narrow[fill, c.FILL_STATE]
    wait_at = c.LEASE_WAIT
    if state == c.STARTED:
        wait_at = c.SETTLE_WAIT
    elif state == c.DISPUTED:
        wait_at = c.DISPUTE_WAIT
    wait_remove(s, wait_at, fill)
    number = fills[fill, c.FILL_NUMBER]
    buyer, operator = i64(narrow[fill, c.FILL_BUYER]), i64(narrow[fill, c.FILL_OPERATOR])
    add_ended(s, c.SUMS, number, buyer, operator, paid)
    small_table(s, c.FILL_INDEX, c.FILL_INDEX_ROW)[number, c.INDEX_ROW_OF_FILL] = 0
    narrow[fill, c.FILL_STATE] = c.ENDED
    s[c.OPEN_FILLS] -= 1


@inner
def settle(s: Array, fill: int, amount: int, part: int, by: int) -> None:
    """Pay: the buyer at `amount` or the rent, the operator `part` less the fee."""
    fills = table(s, c.FILLS, c.FILL_ROW)
    narrow = small_table(s, c.FILLS, c.FILL_NARROW)
    price = fills[fill, c.FILL_PRICE]
    paid = amount
    if by != BY_EXCHANGE:
        paid = max(amount, rent_of(s, fill))
    take = table(s, c.TERMS_TABLE, c.TERM_ROW)[terms_of(s, fill), c.TERM_TAKE]
    fee = multiply_divide(part, take, _PPM)
    earned = part - fee
    table(s, c.BUYERS, c.BUYER_ROW)[narrow[fill, c.FILL_BUYER], c.BUYER_AVAILABLE] += price - paid
    operators = table(s, c.OPERATORS, c.OPERATOR_ROW)
    operators[narrow[fill, c.FILL_OPERATOR], c.OPERATOR_BALANCE] += earned
    s[c.FEES] += fee
    s[c.WITHHELD] += paid - part
    row = e.emit_of_fill(s, e.SETTLED, fill)
    events = table(s, c.EVENTS, EVENT_WORDS)
    events[row, e.E_PAID] = paid
    events[row, e.E_COST] = fee
    events[row, e.E_EARNED] = earned
    events[row, e.E_SCORE] = paid - part
    events[row, e.E_REFUND] = price - paid
    events[row, e.E_REASON] = by
    end_fill(s, fill, paid)
    free_fill(s, fill)


@inner
def release_fill(s: Array, fill: int) -> None:
    """Let a lease end unused: the rent is withheld, the slot returns."""
    fills = table(s, c.FILLS, c.FILL_ROW)
    narrow = small_table(s, c.FILLS, c.FILL_NARROW)
    price = fills[fill, c.FILL_PRICE]
    paid = rent_of(s, fill)
    table(s, c.BUYERS, c.BUYER_ROW)[narrow[fill, c.FILL_BUYER], c.BUYER_AVAILABLE] += price - paid
    s[c.WITHHELD] += paid
    row = e.emit_of_fill(s, e.RELEASED, fill)
    events = table(s, c.EVENTS, EVENT_WORDS)
    events[row, e.E_PAID] = paid
    events[row, e.E_REFUND] = price - paid
    end_fill(s, fill, paid)
    if narrow[fill, c.FILL_LISTED] != 0:
        unlist_fill(s, fill)
    else:
        free_fill(s, fill)


@inner
def decline_fill(s: Array, fill: int, reason: int) -> None:
    """Give the whole hold back; the slot stays taken until the operator's next report."""
    fills = table(s, c.FILLS, c.FILL_ROW)
    buyers = table(s, c.BUYERS, c.BUYER_ROW)
    buyer = small_table(s, c.FILLS, c.FILL_NARROW)[fill, c.FILL_BUYER]
    buyers[buyer, c.BUYER_AVAILABLE] += fills[fill, c.FILL_PRICE]
    row = e.emit_of_fill(s, e.DECLINED, fill)
    events = table(s, c.EVENTS, EVENT_WORDS)
    events[row, e.E_REASON] = reason
    events[row, e.E_REFUND] = fills[fill, c.FILL_PRICE]
    end_fill(s, fill, 0)
    free_fill(s, fill)


@inner
def start_fill(s: Array, fill: int) -> None:
    """Let a leased fill be served: it now waits to be delivered."""
    fills = table(s, c.FILLS, c.FILL_ROW)
    wait_remove(s, c.LEASE_WAIT, fill)
    small_table(s, c.FILLS, c.FILL_NARROW)[fill, c.FILL_STATE] = c.STARTED
    progress = table(s, c.FILL_PROGRESS, c.PROGRESS_ROW)
    progress[fill, c.PROGRESS_STARTED] = s[c.AT]
    progress[fill, c.PROGRESS_FIRST] = c.NOT_YET
    progress[fill, c.PROGRESS_DISPUTED] = c.NOT_YET
    progress[fill, c.PROGRESS_BUYER_FIGURE] = c.NOT_YET
    progress[fill, c.PROGRESS_OPERATOR_FIGURE] = c.NOT_YET
    deliver_us = table(s, c.TERMS_TABLE, c.TERM_ROW)[terms_of(s, fill), c.TERM_DELIVER]
    due_ns = s[c.AT] + _NS_PER_US * deliver_us
    wait_push(s, c.SETTLE_WAIT, due_ns, fills[fill, c.FILL_NUMBER], fill)


@inner
def complete_fill(s: Array, fill: int, side: int, tokens_in: int, tokens_out: int) -> None:
    """Take one side's figure of a started fill; with both it is settled or disputed."""
    fills = table(s, c.FILLS, c.FILL_ROW)
    progress = table(s, c.FILL_PROGRESS, c.PROGRESS_ROW)
    terms = table(s, c.TERMS_TABLE, c.TERM_ROW)
    by = terms_of(s, fill)
    progress[fill, side] = figure_of(s, fill, tokens_in, tokens_out)
    number = fills[fill, c.FILL_NUMBER]
    if progress[fill, c.PROGRESS_FIRST] == c.NOT_YET:
        progress[fill, c.PROGRESS_FIRST] = s[c.AT]
        due_ns = s[c.AT] + _NS_PER_US * terms[by, c.TERM_SETTLE]
        wait_move(s, c.SETTLE_WAIT, due_ns, number, fill)
        return
    one = progress[fill, c.PROGRESS_BUYER_FIGURE]
    other = progress[fill, c.PROGRESS_OPERATOR_FIGURE]
    larger, smaller = max(one, other), min(one, other)
    if larger - smaller <= multiply_divide(larger, terms[by, c.TERM_TOLERANCE], _PPM):
        half = (one + other) // 2
        settle(s, fill, half, half, BOTH)
        return
    wait_remove(s, c.SETTLE_WAIT, fill)
    small_table(s, c.FILLS, c.FILL_NARROW)[fill, c.FILL_STATE] = c.DISPUTED
    progress[fill, c.PROGRESS_DISPUTED] = s[c.AT]
    due_ns = s[c.AT] + _NS_PER_US * terms[by, c.TERM_DISPUTE]
    wait_push(s, c.DISPUTE_WAIT, due_ns, number, fill)
    row = e.emit_of_fill(s, e.DISPUTED, fill)
    events = table(s, c.EVENTS, EVENT_WORDS)
    events[row, e.E_COST] = one
    events[row, e.E_SCORE] = other


@inner
def settle_late(s: Array, fill: int) -> None:
    """Settle a started fill whose time is up: at the one side's figure, or at 0 by nobody."""
    progress = table(s, c.FILL_PROGRESS, c.PROGRESS_ROW)
    buyer = progress[fill, c.PROGRESS_BUYER_FIGURE]
    operator = progress[fill, c.PROGRESS_OPERATOR_FIGURE]
    if buyer != c.NOT_YET:
        settle(s, fill, buyer, buyer, BY_BUYER)
    elif operator != c.NOT_YET:
        settle(s, fill, operator, operator, BY_OPERATOR)
    else:
        settle(s, fill, 0, 0, NOBODY)


@inner
def settle_by_default(s: Array, fill: int) -> None:
    """Settle a dispute that nobody resolved: neither side is left with what it alone claimed."""
    progress = table(s, c.FILL_PROGRESS, c.PROGRESS_ROW)
    one = progress[fill, c.PROGRESS_BUYER_FIGURE]
    other = progress[fill, c.PROGRESS_OPERATOR_FIGURE]
    settle(s, fill, max(one, other), min(one, other), BY_DEFAULT)
