"""Offers and fills in their lists, and the slots in flight (MARKET.md §3).

What stands is in the index, where auctions look (index.py), and in a list behind its site, for
renewals. Both are in no particular order; ties are for the priority number to decide.
"""

import numpy as np

from matching_core import columns as c
from matching_core.jit import Array, bits_table, i64, inner, small_table, table
from matching_core.kernels.heap import heap_remove
from matching_core.kernels.index import index_offer, mark_sold_out, unindex_offer

_HASH_LOW = 0x5851F42D  # odd, below 2^31: times 32 bits it stays in int64
_HASH_HIGH = 0x2545F491


@inner
def map_slot(keys: int, key: int) -> int:
    """Return where the search for a key begins in a map of `keys` places (a power of two)."""
    mixed = (key & 0xFFFFFFFF) * _HASH_LOW + (key >> 32) * _HASH_HIGH
    return ((mixed >> 20) ^ mixed) & (keys - 1)


@inner
def map_place(s: Array, map_at: int, key: int) -> int:
    """Return the row of a key, or the empty one where it belongs (the caller may write it there)."""
    entries = table(s, map_at, c.MAP_ROW)
    slot = map_slot(s[map_at + 1], key)
    while entries[slot, 0] != 0 and entries[slot, 0] != key:
        slot = (slot + 1) & (s[map_at + 1] - 1)
    return i64(slot)


@inner
def map_find(s: Array, map_at: int, key: int) -> int:
    """Return the value of a key, 0 when it has none."""
    entries = table(s, map_at, c.MAP_ROW)
    slot = map_slot(s[map_at + 1], key)
    while entries[slot, 0] != 0:
        if entries[slot, 0] == key:
            return i64(entries[slot, 1])
        slot = (slot + 1) & (s[map_at + 1] - 1)
    return 0


@inner
def map_put(s: Array, map_at: int, key: int, value: int) -> None:
    """Set the value of a key; the caller has seen to it that at least half of the map is empty."""
    entries = table(s, map_at, c.MAP_ROW)
    slot = map_place(s, map_at, key)
    entries[slot, 0] = key
    entries[slot, 1] = value


@inner
def offer_row(s: Array, site: int, number: int) -> int:
    """Return the row of a name (site, offer), 0 when nothing was ever offered under it."""
    return map_find(s, c.NAMES, site * c.OFFERS_PER_SITE_KEY + number)


@inner
def set_available(s: Array, offer: int) -> None:
    """Count the slots again that may be sold."""
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    asks = small_table(s, c.ASKS, c.ASK_NARROW)
    free = max(offers[offer, c.OFFER_SLOTS] - offers[offer, c.OFFER_IN_FLIGHT], 0)
    if (free == 0) != (asks[offer, c.ASK_AVAILABLE] == 0):
        mark_sold_out(s, offer, free == 0)
    asks[offer, c.ASK_AVAILABLE] = free


@inner
def list_fill(s: Array, offer: int, fill: int) -> None:
    """Add a new fill, the highest ordinal, to what is in flight under a name."""
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    links = small_table(s, c.FILLS, c.FILL_NARROW)
    last = offers[offer, c.OFFER_LAST_FILL]
    links[fill, c.FILL_LISTED] = 1
    links[fill, c.FILL_NEXT] = 0
    links[fill, c.FILL_PREVIOUS] = last
    if last == 0:
        offers[offer, c.OFFER_FIRST_FILL] = fill
    else:
        links[last, c.FILL_NEXT] = fill
    offers[offer, c.OFFER_LAST_FILL] = fill
    offers[offer, c.OFFER_IN_FLIGHT] += 1
    set_available(s, offer)


@inner
def unlist_fill(s: Array, fill: int) -> None:
    """Take a fill out of what is in flight, if it is in it; frees the row of one that has ended."""
    links = small_table(s, c.FILLS, c.FILL_NARROW)
    if links[fill, c.FILL_LISTED] == 0:
        return
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    offer = i64(links[fill, c.FILL_OFFER])
    after, before = i64(links[fill, c.FILL_NEXT]), i64(links[fill, c.FILL_PREVIOUS])
    if before == 0:
        offers[offer, c.OFFER_FIRST_FILL] = after
    else:
        links[before, c.FILL_NEXT] = after
    if after == 0:
        offers[offer, c.OFFER_LAST_FILL] = before
    else:
        links[after, c.FILL_PREVIOUS] = before
    links[fill, c.FILL_LISTED] = 0
    offers[offer, c.OFFER_IN_FLIGHT] -= 1
    set_available(s, offer)
    free_fill(s, fill)


@inner
def free_fill(s: Array, fill: int) -> None:
    """Give a row back that holds a fill which ended and is in no list."""
    links = small_table(s, c.FILLS, c.FILL_NARROW)
    if links[fill, c.FILL_STATE] == c.ENDED and links[fill, c.FILL_LISTED] == 0:
        links[fill, c.FILL_STATE] = 0
        links[fill, c.FILL_NEXT] = s[c.FILL_FREE]
        s[c.FILL_FREE] = fill


@inner
def note_seen(s: Array, offer: int, seen: int) -> None:
    """Take a report of fills: those up to the largest number ever reported are no longer counted."""
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    fills = table(s, c.FILLS, c.FILL_ROW)
    if seen <= offers[offer, c.OFFER_SEEN]:
        return
    offers[offer, c.OFFER_SEEN] = seen
    fill = offers[offer, c.OFFER_FIRST_FILL]
    while fill != 0 and fills[fill, c.FILL_ORDINAL] <= seen:
        unlist_fill(s, fill)
        fill = offers[offer, c.OFFER_FIRST_FILL]


@inner
def link_offer(s: Array, offer: int) -> None:
    """Let an offer stand, in the index and behind its site."""
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    sites = table(s, c.SITES, c.SITE_ROW)
    site = offers[offer, c.OFFER_SITE]
    index_offer(s, offer)
    first = sites[site, c.SITE_FIRST_OFFER]
    offers[offer, c.OFFER_SITE_PREVIOUS] = 0
    offers[offer, c.OFFER_SITE_NEXT] = first
    if first != 0:
        offers[first, c.OFFER_SITE_PREVIOUS] = offer
    sites[site, c.SITE_FIRST_OFFER] = offer
    offers[offer, c.OFFER_STANDING] = 1
    s[c.STANDING] += 1


@inner
def unlink_offer(s: Array, offer: int) -> None:
    """Let an offer stand no longer. Its fills and the count of its name stay."""
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    site = offers[offer, c.OFFER_SITE]
    unindex_offer(s, offer)
    after, before = offers[offer, c.OFFER_SITE_NEXT], offers[offer, c.OFFER_SITE_PREVIOUS]
    if after != 0:
        offers[after, c.OFFER_SITE_PREVIOUS] = before
    if before != 0:
        offers[before, c.OFFER_SITE_NEXT] = after
    else:
        table(s, c.SITES, c.SITE_ROW)[site, c.SITE_FIRST_OFFER] = after
    offers[offer, c.OFFER_STANDING] = 0
    s[c.STANDING] -= 1
    heap_remove(s, c.OFFER_HEAP, table(s, c.OFFER_PLACES, 1)[offer, 0])


@inner
def offer_live(s: Array, offer: int) -> bool:
    """Tell whether an offer stands and nothing of it is halted (MARKET.md §5)."""
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    if offers[offer, c.OFFER_STANDING] == 0 or s[c.EXCHANGE_HALTS] != 0:
        return False
    if table(s, c.MODELS, c.MODEL_ROW)[offers[offer, c.OFFER_MODEL], c.MODEL_HALTS] != 0:
        return False
    site = offers[offer, c.OFFER_SITE]
    open_sites = bits_table(s, c.OPEN_SITES, s[c.SITE_WORDS])
    return bool((open_sites[0, site >> 6] >> np.uint64(site & 63)) & np.uint64(1))
