"""What a campaign knows of a shelf: which offers pass what it asks of every one.

    VIEW_RANGES[campaign]   first row and room, per model and lane
          │
          ▼ + number of the shelf in its lane
    VIEWS                   version of the shelf, and one of
                              seven words: a bit an offer
                              up to fourteen times site and place: all that pass, 0 ends the list

Most campaigns want few of a shelf's offers. Those stand in the view with their sites, so that a bid sees
in one line that none of them is near, and needs nothing of the shelf itself.

Whether an offer passes the rules of its site (4 to 11) and of its kind (12 to 15, and 3 where the
start is the engine's) depends on campaign and offer alone, and hardly ever changes. The first bid of a
campaign that comes to a shelf asks it of all 448 (0.3 µs); the bids after it read one cache line.

A view holds for as long as the shelf has the same version, for all offers that are not fresh: those
are judged in full. A site that a campaign judges otherwise than before makes its offers fresh.

Views are a cache. When the table is full all of it is forgotten; it grows when that happened.
"""

import numpy as np

from matching_core import columns as c
from matching_core.jit import (
    Array,
    bits_table,
    byte_table,
    count_bits,
    i64,
    inner,
    lowest_bit,
    small_table,
    table,
)
from matching_core.kernels.rules import CONTRACT
from matching_core.kernels.words import forbidden_by, passing

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
PLACE_BITS = 9
_PLACE_MASK = (1 << PLACE_BITS) - 1
_SITES_LISTED_MAX = (1 << (31 - PLACE_BITS)) - 1
assert c.SHELF_PLACES <= 1 << PLACE_BITS


@inner
def view_range(s: Array, campaign: int, place: int, lane: int) -> int:
    """Return the row of VIEWS where the shelves of a lane begin, `place` the campaign's for its model."""
    ranges = table(s, c.VIEW_RANGES, c.VIEW_RANGE_ROW)
    at = 2 * (c.LANES_PER_MODEL * place + (lane & 1))
    needed = table(s, c.LANES, c.LANE_WORDS)[lane, c.LANE_SHELVES]
    if ranges[campaign, at + 1] < needed:
        room = 4
        while room < needed:
            room *= 2
        first = s[c.VIEW_ROWS]
        if first + room > s[c.VIEWS + 1]:
            forget_all(s)
            first = 1
        s[c.VIEW_ROWS] = first + room
        views = bits_table(s, c.VIEWS, c.VIEW_ROW)
        for row in range(first, first + room):
            views[row, c.VIEW_VERSION] = _ZERO
        ranges[campaign, at] = first
        ranges[campaign, at + 1] = room
    return i64(ranges[campaign, at])


@inner
def forget_all(s: Array) -> None:
    """Take all ranges away."""
    ranges = table(s, c.VIEW_RANGES, c.VIEW_RANGE_ROW)
    for campaign in range(1, s[c.CAMPAIGN_COUNT] + 1):
        for word in range(c.VIEW_RANGE_ROW):
            ranges[campaign, word] = 0
    s[c.VIEW_FLUSHES] += 1


@inner
def make_view(s: Array, campaign: int, row: int, shelf: int) -> None:
    """Ask of all offers of a shelf what a campaign asks of every one."""
    views = bits_table(s, c.VIEWS, c.VIEW_ROW)
    words = bits_table(s, c.WORDS, c.SHELF_PLACES)
    sites = small_table(s, c.SHELF_SITES, c.SHELF_PLACES)
    site_rules = byte_table(s, c.SITE_RULES, s[c.SITE_CAPACITY])
    fails = forbidden_by(s, campaign, CONTRACT)
    for board in range(c.BOARDS):
        left = passing(words, shelf, board, fails)
        passed = left
        while left != _ZERO:
            bit = lowest_bit(left)
            left &= left - _ONE
            site = i64(sites[shelf, c.BOARD * board + bit])
            fails_here = np.uint64(site_rules[campaign, site] != 0)
            passed &= ~(fails_here << np.uint64(bit))
        views[row, board] = passed
    version = table(s, c.SHELVES, c.SHELF_ROW)[shelf, c.SHELF_VERSION] & -2
    table(s, c.VIEWS, c.VIEW_ROW)[row, c.VIEW_VERSION] = version | make_list(s, row, shelf)


@inner
def make_list(s: Array, row: int, shelf: int) -> int:
    """Let a new view be a list if that is short enough; returns 1 if it is."""
    views = bits_table(s, c.VIEWS, c.VIEW_ROW)
    listed = small_table(s, c.VIEWS, c.VIEW_NARROW)
    sites = small_table(s, c.SHELF_SITES, c.SHELF_PLACES)
    count = 0
    for board in range(c.BOARDS):
        count += count_bits(views[row, board])
    if count > c.VIEW_LIST or s[c.SITE_COUNT] > _SITES_LISTED_MAX:
        return 0
    found = table(s, c.SURVIVORS, c.SURVIVOR_ROW)
    count = 0
    for board in range(c.BOARDS):
        left = views[row, board]
        while left != _ZERO:
            place = c.BOARD * board + lowest_bit(left)
            left &= left - _ONE
            found[c.SHELF_PLACES + count, 0] = (i64(sites[shelf, place]) << PLACE_BITS) | place
            count += 1
    for at in range(c.VIEW_LIST):
        listed[row, at] = found[c.SHELF_PLACES + at, 0] if at < count else 0
    return 1


@inner
def ensure_view(s: Array, campaign: int, row: int, shelf: int) -> None:
    """See to it that the view in a row is of the shelf as it is."""
    version = table(s, c.SHELVES, c.SHELF_ROW)[shelf, c.SHELF_VERSION] >> 1
    if table(s, c.VIEWS, c.VIEW_ROW)[row, c.VIEW_VERSION] >> 1 != version:
        make_view(s, campaign, row, shelf)


@inner
def is_list(s: Array, row: int) -> bool:
    """Tell whether the view in a row is a list."""
    return bool(table(s, c.VIEWS, c.VIEW_ROW)[row, c.VIEW_VERSION] & 1)


@inner
def place_listed(item: int) -> int:
    """Return the place on the shelf that an item of a list is about."""
    return item & _PLACE_MASK


@inner
def site_listed(item: int) -> int:
    """Return the site of the offer that an item of a list is about."""
    return item >> PLACE_BITS


@inner
def seen(s: Array, row: int, board: int) -> np.uint64:
    """Return the offers of a board that pass by the view in a row, whichever way it says so."""
    if not is_list(s, row):
        return np.uint64(bits_table(s, c.VIEWS, c.VIEW_ROW)[row, board])
    listed = small_table(s, c.VIEWS, c.VIEW_NARROW)
    word = _ZERO
    for at in range(c.VIEW_LIST):
        place = place_listed(i64(listed[row, at]))
        if listed[row, at] != 0 and place >> 6 == board:
            word |= _ONE << np.uint64(place & 63)
    return np.uint64(word)


@inner
def admitted(s: Array, row: int, shelf: int, board: int) -> np.uint64:
    """Return the offers of a board that may be sold and that the view in a row does not rule out."""
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    word = seen(s, row, board)
    if bits[shelf, c.SHELF_VERSION] & _ONE:
        word |= bits[shelf, c.SHELF_FRESH + board]
    return np.uint64(word & bits[shelf, c.SHELF_LIVE + board])
