"""Rows of events (matching_core/event_rows.py): written once, whole, never touched again."""

from matching_core import columns as c
from matching_core.event_rows import COLUMNS, EVENT_WORDS
from matching_core.jit import Array, i64, inner, short_table, small_table, table

(
    E_SEQ, E_INDEX, E_AT, E_TYPE, E_REASON, E_COMMAND, E_BUYER, E_AGENT, E_BID, E_UNIT, E_QUANTITY,
    E_OPERATOR, E_SITE, E_OFFER, E_ORDINAL, E_MODEL, E_CAMPAIGN, E_ORIGIN, E_ADAPTER, E_FILL,
    E_TOKENS_IN, E_TOKENS_OUT, E_ATTRIBUTES, E_PRICE, E_COST, E_SCORE, E_RIVAL_SCORE, E_LATENCY,
    E_LEASE_UNTIL, E_PAID, E_REFUND, E_EARNED,
) = range(EVENT_WORDS)  # fmt: skip
assert COLUMNS[E_SEQ] == "seq"
assert COLUMNS[E_FILL] == "fill"
assert COLUMNS[E_EARNED] == "earned"

# Places in schemas.records.EVENT_TYPES.
(
    FILL, RESTING, UNFILLED, REJECTED, OFFER_EXPIRED, RELEASING, RELEASED, DECLINED, DISPUTED,
    SETTLED,
) = range(1, 11)  # fmt: skip


@inner
def begin(s: Array, kind: int) -> int:
    """Begin an event of the current command: its name; the caller writes every word behind E_TYPE."""
    row = i64(s[c.EVENTS_COUNT])
    s[c.EVENTS_COUNT] = row + 1
    events = table(s, c.EVENTS, EVENT_WORDS)
    events[row, E_SEQ] = s[c.SEQ]
    events[row, E_INDEX] = s[c.INDEX]
    events[row, E_AT] = s[c.AT]
    events[row, E_TYPE] = kind
    s[c.INDEX] += 1
    return row


@inner
def emit(s: Array, kind: int) -> int:
    """Begin an event of the current command: a row with all zeros but its name; returns the row."""
    row = begin(s, kind)
    events = table(s, c.EVENTS, EVENT_WORDS)
    for word in range(E_TYPE + 1, EVENT_WORDS):
        events[row, word] = 0
    return row


@inner
def emit_rejected(s: Array, command: int, reason: int) -> int:
    """Say that a command changed nothing; returns the row, for whose it was."""
    row = emit(s, REJECTED)
    events = table(s, c.EVENTS, EVENT_WORDS)
    events[row, E_COMMAND] = command
    events[row, E_REASON] = reason
    return row


@inner
def emit_unfilled(s: Array, rest: int, reason: int) -> None:
    """Say that what is left of a bid (a row of bids) ended without a fill."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    row = emit(s, UNFILLED)
    events = table(s, c.EVENTS, EVENT_WORDS)
    events[row, E_BUYER] = rests[rest, c.REST_BUYER]
    events[row, E_AGENT] = rests[rest, c.REST_AGENT]
    events[row, E_BID] = rests[rest, c.REST_BID]
    events[row, E_CAMPAIGN] = rests[rest, c.REST_CAMPAIGN]
    events[row, E_QUANTITY] = rests[rest, c.REST_UNITS]
    events[row, E_REASON] = reason


@inner
def emit_of_fill(s: Array, kind: int, fill: int) -> int:
    """Begin an event of a fill (a row of fills): whose it was and what it cost; returns the row."""
    fills = table(s, c.FILLS, c.FILL_ROW)
    narrow = small_table(s, c.FILLS, c.FILL_NARROW)
    offer = i64(narrow[fill, c.FILL_OFFER])
    row = emit(s, kind)
    events = table(s, c.EVENTS, EVENT_WORDS)
    events[row, E_FILL] = fills[fill, c.FILL_NUMBER]
    events[row, E_BUYER] = narrow[fill, c.FILL_BUYER]
    events[row, E_AGENT] = narrow[fill, c.FILL_AGENT]
    events[row, E_BID] = fills[fill, c.FILL_BID]
    events[row, E_UNIT] = narrow[fill, c.FILL_UNIT]
    events[row, E_OPERATOR] = narrow[fill, c.FILL_OPERATOR]
    events[row, E_SITE] = small_table(s, c.ASKS, c.ASK_NARROW)[offer, c.ASK_SITE]
    events[row, E_OFFER] = short_table(s, c.OFFERS, c.OFFER_SHORT)[offer, c.OFFER_NUMBER]
    events[row, E_ORDINAL] = fills[fill, c.FILL_ORDINAL]
    events[row, E_PRICE] = fills[fill, c.FILL_PRICE]
    return row
