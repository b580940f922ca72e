"""Where auctions look for offers: shelves of 448 per model, by price.

    LANES[model]    open offers │ deals
                        │
                        ▼ a stretch of DIRECTORY, one cache line a shelf, by price
    DIRECTORY       least prices here and behind │ least key │ which shelf, its version
                        │
                        ▼
    SHELVES         what may be sold: a bit an offer │ version │ what came since: a bit an offer
                    seven boards of 64 offers, each with its least prices and its owner, if it is one
    SHELF_SITES, SHELF_OFFERS   448 times where, and which
    WORDS           448 times what a campaign may ask of an offer, one bit per way to fail:
                    `word & forbidden == 0` passes them all (words.py)

    STALL_OF[model][site] ──▶ STALLS   the same offers by place (stalls.py)

**Bounds.** An entry of DIRECTORY has the least of (ask_in, ask_out) under five mixes, and the least ask
per second, over the offers of its shelf *and of all shelves behind it*; a board has those of its
own. The tokens of a bid are a sum of two neighbouring mixes with weights that are not negative
(bounds.py), so the sum of the two least values is no more than any of these offers costs. When that is
too much, the rest of the lane is, too. Shelves follow one another by `key_of`, which makes that come
soon; exactness needs only the bounds. An offer that comes lowers the bounds of its board and of the
entries before it, back to the first that is low enough already (those before that are, too). One
that goes leaves them, still true, until so many went from a shelf that it is measured again: no
offer ever pays for a rebuild of what is not its own shelf.

**Versions.** Campaigns keep what they found out about a shelf (views.py) under its version; the lowest
bit of it says that something is fresh, and is no part of it. An offer that comes, or whose site a
campaign judges otherwise than before, is marked fresh: views do not know it and every bid looks at it.
When much of a shelf is fresh it gets a new version, and views are made anew.
"""

import numpy as np

from matching_core import columns as c
from matching_core.jit import Array, bits_table, i64, inner, small_table, table
from matching_core.kernels.bounds import key_of, lower_entry, measure, settle_bounds
from matching_core.kernels.names import first_of_site, next_of_site, offer_at
from matching_core.kernels.shelves import (
    MERGED,
    entry_for,
    insert_entry,
    lane_of,
    merge,
    new_shelf,
    new_version,
    put,
    remove_shelf,
    split,
    tell_version,
)
from matching_core.kernels.stalls import add_to_stall, take_from_stall
from matching_core.kernels.words import NOBODY, SOLD_OUT

_FRESH_MAX = 32  # that many fresh offers: the shelf gets a new version
_GONE_MAX = 96  # that many went since the bounds were measured
WASTED_MAX = 512  # fresh offers looked at since the last version
_ONE = np.uint64(1)


@inner
def freshen(s: Array, offer: int) -> None:
    """Let every bid look at an offer, whatever the views of its shelf say."""
    spot = i64(small_table(s, c.OFFERS, c.OFFER_NARROW)[offer, c.OFFER_SPOT])
    shelf = spot // c.SHELF_PLACES
    place = spot - c.SHELF_PLACES * shelf
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    if shelves[shelf, c.SHELF_FRESH_COUNT] >= _FRESH_MAX:
        new_version(s, shelf)
        return
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    bits[shelf, c.SHELF_FRESH + (place >> 6)] |= _ONE << np.uint64(place & 63)
    shelves[shelf, c.SHELF_FRESH_COUNT] += 1
    shelves[shelf, c.SHELF_VERSION] |= 1
    tell_version(s, shelf)


@inner
def look_at_fresh(s: Array, shelf: int) -> None:
    """Note that a bid has to look at what is fresh; when that was often, views are to know it.

    A view costs as much as looking at some hundred offers: whichever costs less, it is never more
    than twice the other.
    """
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    shelves[shelf, c.SHELF_WASTED] += shelves[shelf, c.SHELF_FRESH_COUNT]
    if shelves[shelf, c.SHELF_WASTED] >= WASTED_MAX:
        new_version(s, shelf)


@inner
def index_offer(s: Array, offer: int) -> None:
    """Let auctions find an offer."""
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    asks = table(s, c.ASKS, c.ASK_ROW)
    lane = lane_of(s, offer)
    key = key_of(asks, offer)
    if lanes[lane, c.LANE_COUNT] == 0:
        insert_entry(s, lane, 0, key, new_shelf(s, lane))
    entry = entry_for(s, lane, key)
    shelf = directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF
    if shelves[shelf, c.SHELF_COUNT] == c.SHELF_PLACES:
        split(s, shelf)
        entry = entry_for(s, lane, key)
        shelf = directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF
    directory[entry, c.ENTRY_KEY] = min(directory[entry, c.ENTRY_KEY], key)
    board = c.BOARDS - 1
    while board > 0 and shelves[shelf, c.SHELF_BOARDS + c.BOARD_WORDS * board + c.BOARD_KEY] > key:
        board -= 1
    put(s, shelf, board, offer)
    freshen(s, offer)
    first = lanes[lane, c.LANE_FIRST]
    bounds = small_table(s, c.DIRECTORY, c.ENTRY_NARROW)
    while entry >= first and lower_entry(bounds, entry, asks, offer):
        entry -= 1
    add_to_stall(s, offer)
    if lane & 1:
        s[c.DEALS_STANDING] += 1


@inner
def unindex_offer(s: Array, offer: int) -> None:
    """Let auctions find an offer no longer."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    offers = small_table(s, c.OFFERS, c.OFFER_NARROW)
    spot = i64(offers[offer, c.OFFER_SPOT])
    shelf = spot // c.SHELF_PLACES
    place = spot - c.SHELF_PLACES * shelf
    bit = _ONE << np.uint64(place & 63)
    bits[shelf, c.SHELF_LIVE + (place >> 6)] &= ~bit
    bits[shelf, c.SHELF_TAKEN + (place >> 6)] &= ~bit
    bits_table(s, c.WORDS, c.SHELF_PLACES)[shelf, place] = np.uint64(NOBODY)
    offers[offer, c.OFFER_SPOT] = 0
    shelves[shelf, c.SHELF_COUNT] -= 1
    shelves[shelf, c.SHELF_GONE] += 1
    lane = shelves[shelf, c.SHELF_LANE]
    take_from_stall(s, offer)
    if lane & 1:
        s[c.DEALS_STANDING] -= 1
    if shelves[shelf, c.SHELF_COUNT] == 0:
        remove_shelf(s, shelf)
    elif shelves[shelf, c.SHELF_GONE] >= _GONE_MAX:
        measure(s, shelf)
        settle_bounds(s, lane, shelves[shelf, c.SHELF_ENTRY])
        if shelves[shelf, c.SHELF_COUNT] < MERGED // 2:
            merge(s, shelf)


@inner
def mark_sold_out(s: Array, offer: int, is_sold_out: bool) -> None:
    """Say that nothing of an offer is left, or that something is again."""
    spot = i64(small_table(s, c.OFFERS, c.OFFER_NARROW)[offer, c.OFFER_SPOT])
    if spot == 0:
        return
    shelf = spot // c.SHELF_PLACES
    place = spot - c.SHELF_PLACES * shelf
    words = bits_table(s, c.WORDS, c.SHELF_PLACES)
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    bit = _ONE << np.uint64(place & 63)
    if is_sold_out:
        words[shelf, place] |= np.uint64(SOLD_OUT)
        bits[shelf, c.SHELF_LIVE + (place >> 6)] &= ~bit
    else:
        words[shelf, place] &= ~np.uint64(SOLD_OUT)
        bits[shelf, c.SHELF_LIVE + (place >> 6)] |= bit


@inner
def freshen_site(s: Array, site: int) -> None:
    """Let every bid look at the offers of a site, that some campaign judges otherwise than before."""
    at = first_of_site(s, site)
    while at != 0:
        freshen(s, offer_at(s, at))
        at = next_of_site(s, at)
