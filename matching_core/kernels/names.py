"""Maps from a number to a number; and the names of offers.

    NAMES (site, number / 16) ──▶ LEAVES       16 rows of OFFERS, by the last four bits of the number
                                  LEAF_STATES  the site's next leaf │ which of the 16 stand, a bit each

A site numbers its offers from 1, so that most leaves are full: sixteen names share a cache line and one
place of the map, and all names of a million offers have 8 MB, which caches hold. A site that uses few
numbers far apart has a leaf for each.
"""

import numpy as np

from matching_core import columns as c
from matching_core.jit import Array, i64, inner, kernel, lowest_bit, short_table, small_table, table

_HASH_LOW = 0x5851F42D  # odd, below 2^31: times 32 bits it stays in int64
_HASH_HIGH = 0x2545F491
_SHIFT = 4
_LAST = c.LEAF_NAMES - 1
assert c.LEAF_NAMES == 1 << _SHIFT


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
def leaf_key(site: int, number: int) -> int:
    """Return the key in NAMES of the leaf that a name belongs to."""
    return site * c.LEAVES_PER_SITE_KEY + (number >> _SHIFT)


@inner
def leaf_of(s: Array, site: int, number: int) -> int:
    """Return the row of LEAVES that a name belongs to; 0 when nothing there was ever offered."""
    return map_find(s, c.NAMES, leaf_key(site, number))


@inner
def row_in_leaf(s: Array, leaf: int, number: int) -> int:
    """Return the row of a name by its leaf, 0 when nothing was ever offered under it."""
    return i64(small_table(s, c.LEAVES, c.LEAF_NAMES)[leaf, number & _LAST])


@inner
def offer_row(s: Array, site: int, number: int) -> int:
    """Return the row of a name (site, offer), 0 when nothing was ever offered under it."""
    return row_in_leaf(s, leaf_of(s, site, number), number)


@inner
def add_name(s: Array, site: int, number: int, offer: int) -> None:
    """Give a name a row for ever; the caller has asked for room for a leaf (entry.py)."""
    leaf = leaf_of(s, site, number)
    if leaf == 0:
        sites = table(s, c.SITES, c.SITE_ROW)
        leaf = s[c.LEAF_ROWS]
        s[c.LEAF_ROWS] = leaf + 1
        map_put(s, c.NAMES, leaf_key(site, number), leaf)
        states = small_table(s, c.LEAF_STATES, c.LEAF_STATE_ROW)
        states[leaf, c.LEAF_NEXT] = sites[site, c.SITE_FIRST_LEAF]
        sites[site, c.SITE_FIRST_LEAF] = leaf
    small_table(s, c.LEAVES, c.LEAF_NAMES)[leaf, number & _LAST] = offer


@inner
def note_standing(s: Array, offer: int, is_standing: bool) -> None:
    """Say whether an offer stands, for those who ask a site for all of its own."""
    states = small_table(s, c.LEAF_STATES, c.LEAF_STATE_ROW)
    site = i64(small_table(s, c.ASKS, c.ASK_NARROW)[offer, c.ASK_SITE])
    number = i64(short_table(s, c.OFFERS, c.OFFER_SHORT)[offer, c.OFFER_NUMBER])
    leaf = leaf_of(s, site, number)
    bit = 1 << (number & _LAST)
    states[leaf, c.LEAF_STANDING] &= ~bit
    if is_standing:
        states[leaf, c.LEAF_STANDING] |= bit


@inner
def standing_from(s: Array, leaf: int, place: int) -> int:
    """Return 16 × leaf + place of a site's first offer that stands, from a place on; 0 if none does.

    Leaves follow one another in no particular order.
    """
    states = small_table(s, c.LEAF_STATES, c.LEAF_STATE_ROW)
    while leaf != 0:
        bits = i64(states[leaf, c.LEAF_STANDING]) >> place
        if bits != 0:
            return (leaf << _SHIFT) + place + lowest_bit(np.uint64(bits))
        leaf = i64(states[leaf, c.LEAF_NEXT])
        place = 0
    return 0


@inner
def first_of_site(s: Array, site: int) -> int:
    """Return where the first offer of a site stands in LEAVES: 16 × leaf + place; 0 if none does."""
    return standing_from(s, table(s, c.SITES, c.SITE_ROW)[site, c.SITE_FIRST_LEAF], 0)


@inner
def next_of_site(s: Array, spot: int) -> int:
    """Return where the site's next offer stands, 0 if there is no more."""
    return standing_from(s, spot >> _SHIFT, (spot & _LAST) + 1)


@inner
def offer_at(s: Array, spot: int) -> int:
    """Return the row of the offer in a place of LEAVES."""
    return i64(small_table(s, c.LEAVES, c.LEAF_NAMES)[spot >> _SHIFT, spot & _LAST])


@kernel
def count_made(s: Array, sites: Array, numbers: Array, made: Array) -> int:
    """Write how many fills were ever made under each name; returns how many names there are."""
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    for place in range(len(sites)):
        made[place] = offers[offer_row(s, sites[place], numbers[place]), c.OFFER_MADE]
    return len(sites)
