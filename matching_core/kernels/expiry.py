"""What is due at the start of every command, accepted or not (MARKET.md §6, "Expiries").

offers → bids at rest → leases, then 6b for the offers they concern → settlements and
deliveries → disputes; each by (due time, priority | arrival | fill number)
"""

from matching_core import columns as c
from matching_core.event_rows import EVENT_WORDS
from matching_core.jit import Array, i64, inner, prefetch, short_table, small_table, table
from matching_core.kernels import emit as e
from matching_core.kernels.book import stands, unlink_offer
from matching_core.kernels.capacity import concern, sell_concerned
from matching_core.kernels.heap import heap_due, heap_remove
from matching_core.kernels.lifecycle import release_fill, settle_by_default, settle_late
from matching_core.kernels.rests import end_rest
from matching_core.kernels.waits import wait_due
from matching_core.kernels.wheel import is_turn, settle_first, turn_wheel
from schemas import reasons

_EXPIRED = reasons.NO_FILL["expired"]
_LINE = 64


@inner
def expire_offers(s: Array) -> None:
    """Take away the offers that were not renewed in time."""
    names = short_table(s, c.OFFERS, c.OFFER_SHORT)
    terms = small_table(s, c.ASKS, c.ASK_NARROW)
    sites = table(s, c.SITES, c.SITE_ROW)
    heap = table(s, c.OFFER_HEAP, c.HEAP_WORDS)
    while heap_due(s, c.OFFER_HEAP, s[c.AT]):
        if not settle_first(s):
            continue
        offer = heap[1, 2]
        site = i64(terms[offer, c.ASK_SITE])
        row = e.emit(s, e.OFFER_EXPIRED)
        events = table(s, c.EVENTS, EVENT_WORDS)
        events[row, e.E_SITE] = site
        events[row, e.E_OFFER] = names[offer, c.OFFER_NUMBER]
        events[row, e.E_OPERATOR] = sites[site, c.SITE_OPERATOR]
        heap_remove(s, c.OFFER_HEAP, 1)
        names[offer, c.OFFER_QUEUED] = 0
        unlink_offer(s, offer)


@inner
def ask_for_fills(s: Array, fill: int) -> None:
    """Let the lines come that the leases behind this one in its run will need when they end."""
    links = small_table(s, c.FILL_WAITS, 2 * c.WAIT_ROW)
    second = i64(links[links[fill, c.WAIT_LATER], c.WAIT_LATER])
    fourth = i64(links[links[second, c.WAIT_LATER], c.WAIT_LATER])
    prefetch(s, c.FILL_WAITS, 8 * c.WAIT_ROW * fourth)
    prefetch(s, c.FILLS, 8 * c.FILL_ROW * fourth)
    prefetch(s, c.FILLS, 8 * c.FILL_ROW * fourth + _LINE)
    fills = small_table(s, c.FILLS, c.FILL_NARROW)
    offer = i64(fills[second, c.FILL_OFFER])
    after = i64(fills[second, c.FILL_NEXT])
    prefetch(s, c.FILLS, 8 * c.FILL_ROW * after + _LINE)
    prefetch(s, c.ASKS, 8 * c.ASK_ROW * offer)
    prefetch(s, c.OFFERS, 8 * c.OFFER_ROW * offer)


@inner
def expire_leases(s: Array) -> None:
    """Release all leases that are due, then let resting bids compete for what that freed.

    An offer whose model no bid at rest accepts need not be put up: nobody would come.
    """
    narrow = small_table(s, c.FILLS, c.FILL_NARROW)
    terms = small_table(s, c.ASKS, c.ASK_NARROW)
    now_ns = s[c.AT]
    models = table(s, c.MODELS, c.MODEL_ROW)
    fill = wait_due(s, c.LEASE_WAIT, now_ns)
    while fill != 0:
        ask_for_fills(s, fill)
        offer = i64(narrow[fill, c.FILL_OFFER])
        release_fill(s, fill)
        model = i64(terms[offer, c.ASK_MODEL])
        if models[model, c.MODEL_FIRST_REST] != 0 and stands(s, offer):
            concern(s, offer)
        fill = wait_due(s, c.LEASE_WAIT, now_ns)
    sell_concerned(s)


@inner
def expire(s: Array) -> None:
    """Let happen what is due at or before the command's time."""
    if is_turn(s):
        turn_wheel(s)
    if heap_due(s, c.OFFER_HEAP, s[c.AT]):
        expire_offers(s)
    heap = table(s, c.REST_HEAP, c.HEAP_WORDS)
    while heap_due(s, c.REST_HEAP, s[c.AT]):
        end_rest(s, heap[1, 2], _EXPIRED)
    now_ns = s[c.AT]
    if s[c.LEASE_WAIT + c.WAIT_NEXT_DUE] <= now_ns:
        expire_leases(s)
    fill = wait_due(s, c.SETTLE_WAIT, now_ns)
    while fill != 0:
        settle_late(s, fill)
        fill = wait_due(s, c.SETTLE_WAIT, now_ns)
    fill = wait_due(s, c.DISPUTE_WAIT, now_ns)
    while fill != 0:
        settle_by_default(s, fill)
        fill = wait_due(s, c.DISPUTE_WAIT, now_ns)
