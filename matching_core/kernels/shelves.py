"""Shelves and their order: made, filled, split when full, merged when nearly empty (index.py)."""

import numpy as np

from matching_core import columns as c
from matching_core.jit import Array, bits_table, i64, inner, lowest_bit, small_table, table
from matching_core.kernels.bounds import MOST, clear_board, join_board, key_of, settle_bounds
from matching_core.kernels.words import NOBODY, SOLD_OUT, word_of

MERGED = c.SHELF_PLACES // 2  # two neighbours with fewer offers than this become one
_STEPS = (121, 40, 13, 4, 1)  # Shell's sort
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_FULL = np.uint64(0xFFFFFFFFFFFFFFFF)


@inner
def tell_version(s: Array, shelf: int) -> None:
    """Let the entry of a shelf say its version, if it is in the directory."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    entry = shelves[shelf, c.SHELF_ENTRY]
    if directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF == shelf:
        directory[entry, c.ENTRY_VERSION] = shelves[shelf, c.SHELF_VERSION]


@inner
def new_version(s: Array, shelf: int) -> None:
    """Let all views of a shelf be made anew; nothing in it is fresh."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    s[c.VERSIONS] += 1
    shelves[shelf, c.SHELF_VERSION] = s[c.VERSIONS] << 1
    tell_version(s, shelf)
    shelves[shelf, c.SHELF_WASTED] = 0
    for board in range(c.BOARDS + 1):
        shelves[shelf, c.SHELF_FRESH + board] = 0


@inner
def lane_of(s: Array, offer: int) -> int:
    """Return the row of LANES that an offer belongs to."""
    asks = small_table(s, c.ASKS, c.ASK_NARROW)
    lane = 0 if asks[offer, c.ASK_DEAL] == 0 else 1
    return c.LANES_PER_MODEL * i64(asks[offer, c.ASK_MODEL]) + lane


@inner
def new_shelf(s: Array, lane: int) -> int:
    """Return an empty shelf of a lane; the caller has asked for room (entry.py)."""
    lanes = table(s, c.LANES, c.LANE_WORDS)
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    shelf = lanes[lane, c.LANE_FREE]
    if shelf != 0:
        lanes[lane, c.LANE_FREE] = shelves[shelf, c.SHELF_NEXT]
    else:
        shelf = s[c.SHELF_ROWS]
        s[c.SHELF_ROWS] = shelf + 1
        shelves[shelf, c.SHELF_LANE] = lane
        shelves[shelf, c.SHELF_NUMBER] = lanes[lane, c.LANE_SHELVES]
        lanes[lane, c.LANE_SHELVES] += 1
    empty_shelf(s, shelf)
    return i64(shelf)


@inner
def put(s: Array, shelf: int, board: int, offer: int) -> None:
    """Put an offer on a board of a shelf, or where there is room; the board's bounds hold for it."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    asks = table(s, c.ASKS, c.ASK_ROW)
    site = i64(small_table(s, c.ASKS, c.ASK_NARROW)[offer, c.ASK_SITE])
    while bits[shelf, c.SHELF_TAKEN + board] == _FULL:
        board = board + 1 if board + 1 < c.BOARDS else 0
    inside = lowest_bit(~bits[shelf, c.SHELF_TAKEN + board])
    place = c.BOARD * board + inside
    word = word_of(s, offer)
    small_table(s, c.SHELF_SITES, c.SHELF_PLACES)[shelf, place] = site
    small_table(s, c.SHELF_OFFERS, c.SHELF_PLACES)[shelf, place] = offer
    bits_table(s, c.WORDS, c.SHELF_PLACES)[shelf, place] = word
    bits[shelf, c.SHELF_TAKEN + board] |= _ONE << np.uint64(inside)
    if word & np.uint64(SOLD_OUT) == _ZERO:
        bits[shelf, c.SHELF_LIVE + board] |= _ONE << np.uint64(inside)
    spot = c.SHELF_PLACES * shelf + place
    small_table(s, c.OFFERS, c.OFFER_NARROW)[offer, c.OFFER_SPOT] = spot
    shelves[shelf, c.SHELF_COUNT] += 1
    join_board(s, shelf, board, asks, offer)


@inner
def entry_for(s: Array, lane: int, key: int) -> int:
    """Return the entry of the last shelf whose least key is not above a key, else the first one's."""
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    low = lanes[lane, c.LANE_FIRST]
    high = low + lanes[lane, c.LANE_COUNT]
    while high - low > 1:
        middle = (low + high) >> 1
        if directory[middle, c.ENTRY_KEY] <= key:
            low = middle
        else:
            high = middle
    return i64(low)


@inner
def insert_entry(s: Array, lane: int, at: int, key: int, shelf: int) -> int:
    """Make room in a lane's stretch for a shelf as its entry number `at`; returns the entry."""
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    count = lanes[lane, c.LANE_COUNT]
    if count == lanes[lane, c.LANE_ROOM]:  # to the end of the table, with twice the room
        room = max(2 * count, 4)
        first, old = s[c.DIRECTORY_ROWS], lanes[lane, c.LANE_FIRST]
        s[c.DIRECTORY_ROWS] = first + room
        for entry in range(count):
            for word in range(c.ENTRY_ROW):
                directory[first + entry, word] = directory[old + entry, word]
            shelves[directory[first + entry, c.ENTRY_SHELF] & 0xFFFFFFFF, c.SHELF_ENTRY] = (
                first + entry
            )
        lanes[lane, c.LANE_FIRST], lanes[lane, c.LANE_ROOM] = first, room
    first = lanes[lane, c.LANE_FIRST]
    for entry in range(first + count, first + at, -1):
        for word in range(c.ENTRY_ROW):
            directory[entry, word] = directory[entry - 1, word]
        shelves[directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF, c.SHELF_ENTRY] = entry
    lanes[lane, c.LANE_COUNT] = count + 1
    entry = first + at
    bounds = small_table(s, c.DIRECTORY, c.ENTRY_NARROW)
    for word in range(c.BOUNDS):
        bounds[entry, word] = bounds[entry + 1, word] if at < count else MOST
    directory[entry, c.ENTRY_KEY] = key
    directory[entry, c.ENTRY_VERSION] = shelves[shelf, c.SHELF_VERSION]
    directory[entry, c.ENTRY_SHELF] = shelf | (shelves[shelf, c.SHELF_NUMBER] << 32)
    shelves[shelf, c.SHELF_ENTRY] = entry
    return i64(entry)


@inner
def remove_shelf(s: Array, shelf: int) -> None:
    """Take an empty shelf out of its lane, which keeps it for later."""
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    lane = shelves[shelf, c.SHELF_LANE]
    end = lanes[lane, c.LANE_FIRST] + lanes[lane, c.LANE_COUNT] - 1
    at = shelves[shelf, c.SHELF_ENTRY]
    for entry in range(at, end):
        for word in range(c.ENTRY_ROW):
            directory[entry, word] = directory[entry + 1, word]
        shelves[directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF, c.SHELF_ENTRY] = entry
    lanes[lane, c.LANE_COUNT] -= 1
    shelves[shelf, c.SHELF_NEXT] = lanes[lane, c.LANE_FREE]
    lanes[lane, c.LANE_FREE] = shelf
    if at > lanes[lane, c.LANE_FIRST]:
        settle_bounds(s, lane, at - 1)


@inner
def sort_offers(s: Array, shelf: int, first: int) -> int:
    """Put a shelf's offers into SURVIVORS from row `first` on, with their keys; returns how many."""
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    rows = small_table(s, c.SHELF_OFFERS, c.SHELF_PLACES)
    asks = table(s, c.ASKS, c.ASK_ROW)
    found = table(s, c.SURVIVORS, c.SURVIVOR_ROW)
    count = first
    for board in range(c.BOARDS):
        taken = bits[shelf, c.SHELF_TAKEN + board]
        while taken != _ZERO:
            offer = i64(rows[shelf, c.BOARD * board + lowest_bit(taken)])
            taken &= taken - _ONE
            found[count, 0] = key_of(asks, offer)
            found[count, 1] = offer
            count += 1
    for step in _STEPS:
        for at in range(step, count):
            key, offer = found[at, 0], found[at, 1]
            to = at
            while to >= step and found[to - step, 0] > key:
                found[to, 0] = found[to - step, 0]
                found[to, 1] = found[to - step, 1]
                to -= step
            found[to, 0] = key
            found[to, 1] = offer
    return count


@inner
def empty_shelf(s: Array, shelf: int) -> None:
    """Let nothing be on a shelf, whatever its memory held."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    words = bits_table(s, c.WORDS, c.SHELF_PLACES)
    for board in range(c.BOARDS):
        shelves[shelf, c.SHELF_LIVE + board] = 0
        shelves[shelf, c.SHELF_TAKEN + board] = 0
        clear_board(s, shelf, board)
    for place in range(c.SHELF_PLACES):
        words[shelf, place] = np.uint64(NOBODY)
    shelves[shelf, c.SHELF_COUNT] = 0
    shelves[shelf, c.SHELF_GONE] = 0
    new_version(s, shelf)


@inner
def fill_shelf(s: Array, shelf: int, first: int, last: int) -> None:
    """Put the sorted offers of some rows of SURVIVORS on an empty shelf, spread over its boards."""
    found = table(s, c.SURVIVORS, c.SURVIVOR_ROW)
    count = last - first
    for at in range(count):
        put(s, shelf, at * c.BOARDS // count, found[first + at, 1])


@inner
def split(s: Array, shelf: int) -> None:
    """Move the dearer half of a full shelf to a new one behind it."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    lanes = table(s, c.LANES, c.LANE_WORDS)
    found = table(s, c.SURVIVORS, c.SURVIVOR_ROW)
    lane = shelves[shelf, c.SHELF_LANE]
    count = sort_offers(s, shelf, 0)
    half = count >> 1
    empty_shelf(s, shelf)
    right = new_shelf(s, lane)
    fill_shelf(s, shelf, 0, half)
    fill_shelf(s, right, half, count)
    at = shelves[shelf, c.SHELF_ENTRY] + 1 - lanes[lane, c.LANE_FIRST]
    entry = insert_entry(s, lane, at, found[half, 0], right)
    settle_bounds(s, lane, entry)


@inner
def merge(s: Array, shelf: int) -> None:
    """Put the few offers of a shelf on the one behind or before it, if they fit well."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    lane = shelves[shelf, c.SHELF_LANE]
    first = lanes[lane, c.LANE_FIRST]
    entry = shelves[shelf, c.SHELF_ENTRY]
    if entry + 1 < first + lanes[lane, c.LANE_COUNT]:
        left, right = shelf, directory[entry + 1, c.ENTRY_SHELF] & 0xFFFFFFFF
    elif entry > first:
        left, right = directory[entry - 1, c.ENTRY_SHELF] & 0xFFFFFFFF, shelf
    else:
        return
    if shelves[left, c.SHELF_COUNT] + shelves[right, c.SHELF_COUNT] > MERGED:
        return
    count = sort_offers(s, left, 0)
    count = sort_offers(s, right, count)
    empty_shelf(s, left)
    empty_shelf(s, right)
    if count > 0:
        fill_shelf(s, left, 0, count)
    remove_shelf(s, right)
    settle_bounds(s, lane, shelves[left, c.SHELF_ENTRY])
