"""What is due at the start of every command, accepted or not (MARKET.md §6, "Expiries").

offers → bids at rest → leases, then 6b for the offers they concern → settlements and
deliveries → disputes; each by (due time, priority | arrival | fill number)
"""

from matching_core import columns as c
from matching_core.event_rows import EVENT_WORDS
from matching_core.jit import Array, inner, table
from matching_core.kernels import emit as e
from matching_core.kernels.book import unlink_offer
from matching_core.kernels.capacity import sell_concerned
from matching_core.kernels.heap import heap_due, heap_move, heap_push
from matching_core.kernels.lifecycle import release_fill, settle_by_default, settle_late
from matching_core.kernels.rests import end_rest
from schemas import reasons

_EXPIRED = reasons.NO_FILL["expired"]


@inner
def expire_offers(s: Array) -> None:
    """Take away the offers that were not renewed in time."""
    heap = table(s, c.OFFER_HEAP, c.HEAP_WORDS)
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    sites = table(s, c.SITES, c.SITE_ROW)
    while heap_due(s, c.OFFER_HEAP, s[c.AT]):
        offer = heap[1, 2]
        expires = offers[offer, c.OFFER_EXPIRES]
        if heap[1, 0] != expires:  # renewed since: the entry was too early
            offers[offer, c.OFFER_QUEUED] = expires
            heap_move(s, c.OFFER_HEAP, 1, expires, offers[offer, c.OFFER_PRIORITY])
            continue
        site = offers[offer, c.OFFER_SITE]
        row = e.emit(s, e.OFFER_EXPIRED)
        events = table(s, c.EVENTS, EVENT_WORDS)
        events[row, e.E_SITE] = site
        events[row, e.E_OFFER] = offers[offer, c.OFFER_NUMBER]
        events[row, e.E_OPERATOR] = sites[site, c.SITE_OPERATOR]
        unlink_offer(s, offer)


@inner
def expire_leases(s: Array) -> None:
    """Release all leases that are due, then let resting bids compete for what that freed."""
    heap = table(s, c.LEASE_HEAP, c.HEAP_WORDS)
    fills = table(s, c.FILLS, c.FILL_ROW)
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    while heap_due(s, c.LEASE_HEAP, s[c.AT]):
        fill = heap[1, 2]
        offer = fills[fill, c.FILL_OFFER]
        release_fill(s, fill)
        if offers[offer, c.OFFER_STANDING] != 0 and offers[offer, c.OFFER_CONCERNED] == 0:
            heap_push(s, c.CONCERNED_HEAP, offers[offer, c.OFFER_PRIORITY], 0, offer)
    sell_concerned(s)


@inner
def expire(s: Array) -> None:
    """Let happen what is due at or before the command's time."""
    if heap_due(s, c.OFFER_HEAP, s[c.AT]):
        expire_offers(s)
    heap = table(s, c.REST_HEAP, c.HEAP_WORDS)
    while heap_due(s, c.REST_HEAP, s[c.AT]):
        end_rest(s, heap[1, 2], _EXPIRED)
    if heap_due(s, c.LEASE_HEAP, s[c.AT]):
        expire_leases(s)
    heap = table(s, c.SETTLE_HEAP, c.HEAP_WORDS)
    while heap_due(s, c.SETTLE_HEAP, s[c.AT]):
        settle_late(s, heap[1, 2])
    heap = table(s, c.DISPUTE_HEAP, c.HEAP_WORDS)
    while heap_due(s, c.DISPUTE_HEAP, s[c.AT]):
        settle_by_default(s, heap[1, 2])
