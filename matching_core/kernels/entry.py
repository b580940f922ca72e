"""The one call into the market: a frame of commands of one kind from one sender, events out.

Before anything is touched it asks whether every table has room for the worst that can come of the
frame; if not, it returns minus the table's position in `s`, the caller lets the table grow and calls
again. So no kernel ever allocates, and none can stop in the middle.
"""

from matching_core import columns as c
from matching_core.event_rows import EVENT_WORDS
from matching_core.jit import Array, i64, inbox, inner, kernel, small_table, table
from matching_core.kernels import emit as e
from matching_core.kernels.ahead import ask_for_bids
from matching_core.kernels.capacity import cancel_offers, renew_offers
from matching_core.kernels.commands import (
    do_bid,
    do_bid_cancel,
    do_fill_command,
    do_rtt,
)
from matching_core.kernels.expiry import expire
from matching_core.kernels.lifecycle import BY_EXCHANGE, settle
from matching_core.kernels.names import map_find, map_put
from matching_core.kernels.offers import STATE, UNKNOWN, do_offers, is_of_offer, reject_offer
from matching_core.kernels.rests import CANCELLED, HALTED, end_rests
from matching_core.kernels.wheel import TICK_US, nearly_due
from schemas import limits, records

CLOCK = 0  # a command with nothing but expiries: what every rare command is, too, before it acts
# Acts of rare commands, within the command that CLOCK began. 32 and up, beside the kinds of records.
END_CAMPAIGN = 40  # a = buyer, b = campaign: its bids at rest end `cancelled`
HALT_BUYER = 41  # a = buyer: its bids at rest end `halted`
RESOLVE = 42  # a = fill, b = amount; returns the reason it is rejected, or 0

MANY = -1  # for an agent's number: the sender of each record stands in a table

_BID = records.BID_RECORD
_OFFERS_PER_SITE = limits.OFFER_MAX


@inner
def soon_due(s: Array, kind: int, count: int) -> int:
    """Return how many offers a frame may let expire so soon that they go to the heap at once."""
    if kind == records.RENEW:
        renewals = inbox(s, c.INBOX, records.RENEW_RECORD)
        offers = 0
        for place in range(count):
            if renewals[place]["ttl_us"] < 2 * TICK_US:
                offers += _OFFERS_PER_SITE
        return min(offers, i64(s[c.STANDING]))
    return count if is_of_offer(kind) else 0


@inner
def room(s: Array, kind: int, count: int, at_ns: int) -> int:
    """Return 0 if every table has room for a frame, else the position of one that has not."""
    units = 0
    if kind == records.BID:
        bids = inbox(s, c.INBOX, _BID)
        for place in range(count):
            units += i64(bids[place]["quantity"])
        if s[c.REST_ROWS] + count > s[c.RESTS_TABLE + 1]:
            return c.RESTS_TABLE
        if 2 * (s[c.AGENT_ROWS] + 1) > s[c.AGENTS + 1]:
            return c.AGENTS
        if s[c.VIEW_FLUSHES] > 0 and s[c.VIEWS + 1] < c.VIEW_ROWS_MAX:
            return c.VIEWS
    elif kind == records.OFFER:
        if s[c.OFFER_ROWS] + count > s[c.OFFERS + 1]:
            return c.OFFERS
        if s[c.LEAF_ROWS] + count > s[c.LEAVES + 1]:
            return c.LEAVES
        if 2 * (s[c.LEAF_ROWS] + count) > s[c.NAMES + 1]:
            return c.NAMES
        # An offer that comes takes a shelf at most: the first of its lane, or half of a full one.
        shelves = s[c.SHELF_ROWS] + count
        if shelves > s[c.SHELVES + 1]:
            return c.SHELVES
        # A lane whose stretch is full gets one twice as long.
        if s[c.DIRECTORY_ROWS] + 4 * (shelves + count) > s[c.DIRECTORY + 1]:
            return c.DIRECTORY
        # A stall that is full moves to twice the lines; all offers may come to one of them.
        if s[c.STALL_LINES] + count * (4 * s[c.LARGEST_STALL] + 5) > s[c.STALLS + 1]:
            return c.STALLS
        # No campaign's view of one lane is too much for all of the table.
        if 4 * shelves > s[c.VIEWS + 1]:
            return c.VIEWS
    if nearly_due(s, at_ns) + soon_due(s, kind, count) >= s[c.OFFER_HEAP + 1]:
        return c.OFFER_HEAP
    fills = units + s[c.RESTING_UNITS]
    if s[c.FILL_ROWS] + fills > s[c.FILLS + 1]:
        return c.FILLS
    if s[c.FILLS_MADE] + fills + 1 > s[c.FILL_INDEX + 1]:
        return c.FILL_INDEX
    # Each offer and each bid at rest can end once, each open fill once and once more in a dispute
    # with a deadline of 0, each unit can fill once; a command itself says at most two things.
    ends = s[c.STANDING] + s[c.RESTS] + 2 * s[c.OPEN_FILLS]
    if ends + fills + 3 * count + 8 > s[c.EVENTS + 1]:
        return c.EVENTS
    return 0


@inner
def reject_buyer(s: Array, command: int, buyer: int, agent: int) -> None:
    """Say that a buyer is not known."""
    row = e.emit_rejected(s, command, UNKNOWN)
    events = table(s, c.EVENTS, EVENT_WORDS)
    events[row, e.E_BUYER] = buyer
    events[row, e.E_AGENT] = agent


@inner
def end_agent_rests(s: Array, buyer: int, agent: int) -> None:
    """Take all bids at rest of one agent away."""
    if 1 <= buyer <= s[c.BUYER_COUNT]:
        end_rests(s, buyer, c.REST_AGENT, agent, CANCELLED)
    else:
        reject_buyer(s, records.BIDS_CANCEL, buyer, agent)


@inner
def do_site_command(s: Array, kind: int, site: int, ttl_us: int) -> None:
    """Take a renewal or a cancel of all offers of a site."""
    if not 1 <= site <= s[c.SITE_COUNT]:
        reject_offer(s, kind, UNKNOWN, site, 0)
    elif kind == records.RENEW:
        renew_offers(s, site, ttl_us)
    else:
        cancel_offers(s, site)


@inner
def do_record(s: Array, kind: int, place: int, member: int, agent: int, role: int) -> None:
    """Take record `place` of the inbox as a command of its kind."""
    if kind == records.BID:
        do_bid(s, place, member, agent)
    elif kind == records.RENEW:
        renewal = inbox(s, c.INBOX, records.RENEW_RECORD)[place]
        do_site_command(s, kind, i64(renewal["site"]), i64(renewal["ttl_us"]))
    elif kind == records.OFFERS_CANCEL:
        cancel = inbox(s, c.INBOX, records.OFFERS_CANCEL_RECORD)[place]
        do_site_command(s, kind, i64(cancel["site"]), 0)
    elif kind == records.BID_CANCEL:
        do_bid_cancel(s, place, member, agent)
    elif kind == records.BIDS_CANCEL:
        end_agent_rests(s, member, agent)
    elif kind == records.RTT:
        do_rtt(s, place)
    elif kind == records.COMPLETE:
        done = inbox(s, c.INBOX, records.COMPLETE_RECORD)[place]
        do_fill_command(
            s, kind, i64(done["fill"]), member, role != 0,
            i64(done["tokens_in"]), i64(done["tokens_out"]),
        )  # fmt: skip
    elif kind == records.DECLINE:
        declined = inbox(s, c.INBOX, records.DECLINE_RECORD)[place]
        do_fill_command(s, kind, i64(declined["fill"]), member, True, i64(declined["reason"]), 0)
    elif kind == records.START:
        started = inbox(s, c.INBOX, records.START_RECORD)[place]
        do_fill_command(s, kind, i64(started["fill"]), member, True, 0, 0)
    elif kind == records.RELEASE:
        released = inbox(s, c.INBOX, records.RELEASE_RECORD)[place]
        do_fill_command(s, kind, i64(released["fill"]), member, False, 0, 0)


@inner
def resolve(s: Array, number: int, amount: int) -> int:
    """Settle a disputed fill at an amount; returns the reason why not, or 0."""
    if not 1 <= number <= s[c.FILLS_MADE]:
        return UNKNOWN
    index = small_table(s, c.FILL_INDEX, c.FILL_INDEX_ROW)
    fill = i64(index[number, c.INDEX_ROW_OF_FILL])
    state = small_table(s, c.FILLS, c.FILL_NARROW)[fill, c.FILL_STATE]
    price = table(s, c.FILLS, c.FILL_ROW)[fill, c.FILL_PRICE]
    if fill == 0 or state != c.DISPUTED or amount > price:
        return STATE
    settle(s, fill, amount, amount, BY_EXCHANGE)
    return 0


@kernel
def run(s: Array, kind: int, count: int, member: int, agent: int, role: int, at_ns: int) -> int:
    """Apply `count` records of the inbox as commands of one kind; returns the number of events.

    `member` is the sender's handle: a buyer's or an operator's, as the kind says; a `complete` comes
    from an operator where `role` is 1. CLOCK takes no record. Negative: minus the position of the
    table that has no room; nothing has happened then.
    With MANY for an agent the member and the agent of each record stand in SENDERS.
    """
    short = room(s, kind, count, at_ns)
    if short != 0:
        return -short
    s[c.EVENTS_COUNT] = 0
    s[c.AT] = at_ns
    if is_of_offer(kind):
        do_offers(s, kind, count)
        return i64(s[c.EVENTS_COUNT])
    many = agent == MANY
    senders = table(s, c.SENDERS, c.SENDER_ROW)
    for place in range(count):
        if kind == records.BID:
            ask_for_bids(s, place, count)
        if many:
            member, agent = senders[place, 0], senders[place, 1]
        s[c.SEQ] += 1
        s[c.INDEX] = 0
        expire(s)
        if kind != CLOCK:
            do_record(s, kind, place, member, agent, role)
    return i64(s[c.EVENTS_COUNT])


@kernel
def act(s: Array, kind: int, a: int, b: int) -> int:
    """Do what a rare command does beyond its columns, within the command that `run` CLOCK began."""
    if kind == END_CAMPAIGN:
        end_rests(s, a, c.REST_CAMPAIGN, b, CANCELLED)
    elif kind == HALT_BUYER:
        end_rests(s, a, c.REST_BUYER, a, HALTED)
    elif kind == RESOLVE:
        return resolve(s, a, b)
    return 0


@kernel
def reject(s: Array, command: int, reason: int) -> int:
    """Say that a rare command changed nothing; returns the row of the event."""
    return e.emit_rejected(s, command, reason)


@kernel
def find(s: Array, map_at: int, key: int) -> int:
    """Return the value of a key in NAMES or AGENTS, 0 when it has none."""
    return map_find(s, map_at, key)


@kernel
def rehash(s: Array, map_at: int, where: Array) -> int:
    """Put all entries of an old map into the larger one that stands at `map_at`; returns how many.

    `where` is the old one's address and number of rows.
    """
    old = table(where, 0, c.MAP_ROW)
    count = 0
    for row in range(where[1]):
        if old[row, 0] != 0:
            map_put(s, map_at, old[row, 0], old[row, 1])
            count += 1
    return count
