"""The least that offers of a shelf may cost: bounds (index.py), their making and their reading."""

import numpy as np

from matching_core import columns as c
from matching_core.jit import Array, bits_table, i64, inner, kernel, lowest_bit, small_table, table
from matching_core.kernels.names import first_of_site, next_of_site, offer_at

NONE = 1 << 60  # the least of no offer: what is computed of it is meaningless, and nobody is there
MOST = (1 << 31) - 1  # what an entry of 32 bits says at most: still true of what is dearer
_ZERO = np.uint64(0)
_ONE = np.uint64(1)


@inner
def mix_of(tokens_in: int, tokens_out: int) -> tuple[int, int, int]:
    """Return (m, a, b): a × mix m + b × mix m+1 is nearly the bid's tokens, and no more.

    The mixes are (1, 0), (4, 1), (1, 1), (1, 4), (0, 1), in and out.
    """
    if tokens_in >= 4 * tokens_out:
        return 0, tokens_in - 4 * tokens_out, tokens_out
    if tokens_in >= tokens_out:
        more = tokens_in - tokens_out
        return 1, more // 3, tokens_out - (more + 2) // 3
    if tokens_out >= 4 * tokens_in:
        return 3, tokens_in, tokens_out - 4 * tokens_in
    more = tokens_out - tokens_in
    return 2, tokens_in - (more + 2) // 3, more // 3


@inner
def least_cost(tokens_price: int, lease_price: int) -> int:
    """Return a little less than tokens' price / 1000 + lease's / 10^6: shifts, for want of a division."""
    least = (tokens_price >> 10) + (tokens_price >> 16) + (tokens_price >> 17)
    return least + (lease_price >> 20) + (lease_price >> 25) + (lease_price >> 26)


@inner
def key_of(asks: Array, offer: int) -> int:
    """Return what offers of a lane are ordered by: the mix that most requests are near."""
    return i64(4 * asks[offer, c.ASK_IN] + asks[offer, c.ASK_OUT])


@inner
def lower(lines: Array, row: int, at: int, asks: Array, offer: int) -> bool:
    """Let the bounds of a line hold for one more offer; returns whether they did not yet."""
    a, b, second = asks[offer, c.ASK_IN], asks[offer, c.ASK_OUT], asks[offer, c.ASK_SECOND]
    changed = (
        (a < lines[row, at])
        | (4 * a + b < lines[row, at + 1])
        | (a + b < lines[row, at + 2])
        | (a + 4 * b < lines[row, at + 3])
        | (b < lines[row, at + 4])
        | (second < lines[row, at + 5])
    )
    if changed:
        lines[row, at] = min(lines[row, at], a)
        lines[row, at + 1] = min(lines[row, at + 1], 4 * a + b)
        lines[row, at + 2] = min(lines[row, at + 2], a + b)
        lines[row, at + 3] = min(lines[row, at + 3], a + 4 * b)
        lines[row, at + 4] = min(lines[row, at + 4], b)
        lines[row, at + 5] = min(lines[row, at + 5], second)
    return bool(changed)


@inner
def lower_entry(lines: Array, row: int, asks: Array, offer: int) -> bool:
    """Let the bounds of an entry (`small_table`) hold for one more offer; returns whether they did not yet."""
    a, b, second = asks[offer, c.ASK_IN], asks[offer, c.ASK_OUT], asks[offer, c.ASK_SECOND]
    changed = (
        (a < lines[row, 0])
        | (4 * a + b < lines[row, 1])
        | (a + b < lines[row, 2])
        | (a + 4 * b < lines[row, 3])
        | (b < lines[row, 4])
        | (second < lines[row, 5])
    )
    if changed:
        lines[row, 0] = min(i64(lines[row, 0]), a)
        lines[row, 1] = min(i64(lines[row, 1]), 4 * a + b)
        lines[row, 2] = min(i64(lines[row, 2]), a + b)
        lines[row, 3] = min(i64(lines[row, 3]), a + 4 * b)
        lines[row, 4] = min(i64(lines[row, 4]), b)
        lines[row, 5] = min(i64(lines[row, 5]), second)
    return bool(changed)


@inner
def settle_bounds(s: Array, lane: int, last: int) -> None:
    """Set the bounds of the entries up to `last` from their boards and from the entry behind each.

    It stops where nothing changes: bounds further to the front follow from those behind.
    """
    lanes = table(s, c.LANES, c.LANE_WORDS)
    directory = table(s, c.DIRECTORY, c.ENTRY_ROW)
    bounds = small_table(s, c.DIRECTORY, c.ENTRY_NARROW)
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    first = lanes[lane, c.LANE_FIRST]
    end = first + lanes[lane, c.LANE_COUNT]
    for entry in range(last, first - 1, -1):
        shelf = directory[entry, c.ENTRY_SHELF] & 0xFFFFFFFF
        changed = False
        for word in range(c.BOUNDS):
            least = i64(bounds[entry + 1, word]) if entry + 1 < end else MOST
            for board in range(c.BOARDS):
                at = c.SHELF_BOARDS + c.BOARD_WORDS * board + word
                least = min(least, shelves[shelf, at])
            if bounds[entry, word] != least:
                bounds[entry, word] = least
                changed = True
        if not changed and entry < last:
            return


@inner
def clear_board(s: Array, shelf: int, board: int) -> None:
    """Let the bounds of a board be those of no offer."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    at = c.SHELF_BOARDS + c.BOARD_WORDS * board
    for word in range(c.BOUNDS):
        shelves[shelf, at + word] = NONE
    shelves[shelf, at + c.BOARD_GROUP] = 0
    shelves[shelf, at + c.BOARD_KEY] = NONE


@inner
def join_board(s: Array, shelf: int, board: int, asks: Array, offer: int) -> None:
    """Let what a board says of all its offers hold for one more."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    at = c.SHELF_BOARDS + c.BOARD_WORDS * board
    lower(shelves, shelf, at, asks, offer)
    shelves[shelf, at + c.BOARD_KEY] = min(shelves[shelf, at + c.BOARD_KEY], key_of(asks, offer))
    site = i64(small_table(s, c.ASKS, c.ASK_NARROW)[offer, c.ASK_SITE])
    group = table(s, c.SITES, c.SITE_ROW)[site, c.SITE_GROUP]
    if shelves[shelf, at + c.BOARD_GROUP] == 0:
        shelves[shelf, at + c.BOARD_GROUP] = group
    elif shelves[shelf, at + c.BOARD_GROUP] != group:
        shelves[shelf, at + c.BOARD_GROUP] = -1


@inner
def measure(s: Array, shelf: int) -> None:
    """Say of every board what holds for the offers that are there now."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    bits = bits_table(s, c.SHELVES, c.SHELF_ROW)
    rows = small_table(s, c.SHELF_OFFERS, c.SHELF_PLACES)
    asks = table(s, c.ASKS, c.ASK_ROW)
    for board in range(c.BOARDS):
        clear_board(s, shelf, board)
        taken = bits[shelf, c.SHELF_TAKEN + board]
        while taken != _ZERO:
            offer = i64(rows[shelf, c.BOARD * board + lowest_bit(taken)])
            taken &= taken - _ONE
            join_board(s, shelf, board, asks, offer)
    shelves[shelf, c.SHELF_GONE] = 0


@kernel
def mix_groups(s: Array, site: int) -> int:
    """Let the boards with offers of a site say that their owners are several; returns how many."""
    shelves = table(s, c.SHELVES, c.SHELF_ROW)
    offers = small_table(s, c.OFFERS, c.OFFER_NARROW)
    at = first_of_site(s, site)
    count = 0
    while at != 0:
        spot = i64(offers[offer_at(s, at), c.OFFER_SPOT])
        shelf = spot // c.SHELF_PLACES
        board = (spot - c.SHELF_PLACES * shelf) >> 6
        shelves[shelf, c.SHELF_BOARDS + c.BOARD_WORDS * board + c.BOARD_GROUP] = -1
        at = next_of_site(s, at)
        count += 1
    return count
