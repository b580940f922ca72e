"""Offers and fills in their lists, and the slots in flight (MARKET.md §3).

What stands is in the index, where auctions look (index.py), and is marked at its site (names.py), for
renewals. Both are in no particular order; ties are for the priority number to decide.
"""

import numpy as np

from matching_core import columns as c
from matching_core.jit import Array, bits_table, i64, inner, short_table, small_table, table
from matching_core.kernels.index import index_offer, mark_sold_out, unindex_offer
from matching_core.kernels.names import note_standing


@inner
def set_available(s: Array, offer: int) -> None:
    """Count the slots again that may be sold."""
    counts = short_table(s, c.OFFERS, c.OFFER_SHORT)
    asks = small_table(s, c.ASKS, c.ASK_NARROW)
    free = max(i64(counts[offer, c.OFFER_SLOTS]) - i64(counts[offer, c.OFFER_IN_FLIGHT]), 0)
    if (free == 0) != (asks[offer, c.ASK_AVAILABLE] == 0):
        mark_sold_out(s, offer, free == 0)
    asks[offer, c.ASK_AVAILABLE] = free


@inner
def list_fill(s: Array, offer: int, fill: int) -> None:
    """Add a new fill, the highest ordinal, to what is in flight under a name."""
    offers = small_table(s, c.OFFERS, c.OFFER_NARROW)
    links = small_table(s, c.FILLS, c.FILL_NARROW)
    last = i64(offers[offer, c.OFFER_LAST_FILL])
    links[fill, c.FILL_LISTED] = 1
    links[fill, c.FILL_NEXT] = 0
    links[fill, c.FILL_PREVIOUS] = last
    if last == 0:
        offers[offer, c.OFFER_FIRST_FILL] = fill
    else:
        links[last, c.FILL_NEXT] = fill
    offers[offer, c.OFFER_LAST_FILL] = fill
    short_table(s, c.OFFERS, c.OFFER_SHORT)[offer, c.OFFER_IN_FLIGHT] += 1
    set_available(s, offer)


@inner
def unlist_fill(s: Array, fill: int) -> None:
    """Take a fill out of what is in flight, if it is in it; frees the row of one that has ended."""
    links = small_table(s, c.FILLS, c.FILL_NARROW)
    if links[fill, c.FILL_LISTED] == 0:
        return
    offers = small_table(s, c.OFFERS, c.OFFER_NARROW)
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
    short_table(s, c.OFFERS, c.OFFER_SHORT)[offer, c.OFFER_IN_FLIGHT] -= 1
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
    firsts = small_table(s, c.OFFERS, c.OFFER_NARROW)
    fill = i64(firsts[offer, c.OFFER_FIRST_FILL])
    while fill != 0 and fills[fill, c.FILL_ORDINAL] <= seen:
        unlist_fill(s, fill)
        fill = i64(firsts[offer, c.OFFER_FIRST_FILL])


@inner
def stands(s: Array, offer: int) -> bool:
    """Tell whether an offer was given and neither expired nor was cancelled since."""
    return bool(small_table(s, c.OFFERS, c.OFFER_NARROW)[offer, c.OFFER_SPOT] != 0)


@inner
def link_offer(s: Array, offer: int) -> None:
    """Let an offer stand, in the index and at its site."""
    index_offer(s, offer)
    note_standing(s, offer, True)
    s[c.STANDING] += 1


@inner
def unlink_offer(s: Array, offer: int) -> None:
    """Let an offer stand no longer. Its fills, the count of its name and its place in the wheel stay."""
    unindex_offer(s, offer)
    note_standing(s, offer, False)
    s[c.STANDING] -= 1


@inner
def offer_live(s: Array, offer: int) -> bool:
    """Tell whether an offer stands and nothing of it is halted (MARKET.md §5)."""
    terms = small_table(s, c.ASKS, c.ASK_NARROW)
    if not stands(s, offer) or s[c.EXCHANGE_HALTS] != 0:
        return False
    if table(s, c.MODELS, c.MODEL_ROW)[terms[offer, c.ASK_MODEL], c.MODEL_HALTS] != 0:
        return False
    site = i64(terms[offer, c.ASK_SITE])
    open_sites = bits_table(s, c.OPEN_SITES, s[c.SITE_WORDS])
    return bool((open_sites[0, site >> 6] >> np.uint64(site & 63)) & np.uint64(1))
