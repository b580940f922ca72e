"""Stalls: all offers of one model at one site, side by side in memory.

    STALL_OF[model][site]   first line of the stall, 0 for none       MODEL_SITES[model]   a bit per site
        │                                                             that has one
        ▼
    STALLS      line 0      how many offers, how many lines │ seven times: offer, its attributes
                line 1 …    eight times: offer, its attributes

Shelves (index.py) have offers by price, from everywhere; stalls have them by place, for a bid that only a
few sites suit (few.py). A stall is 1, 2, 4 … lines; when they are full it moves to twice as many and
leaves the old ones to others.
"""

import numpy as np

from matching_core import columns as c
from matching_core.jit import Array, bits_table, i64, inner, small_table, table

_ONE = np.uint64(1)


@inner
def place_of(line: int, number: int) -> tuple[int, int]:
    """Return (line, word) where offer `number` of a stall stands."""
    word = c.STALL_HEAD + c.STALL_OFFER * number
    return line + word // c.STALL_LINE, word % c.STALL_LINE


@inner
def size_class(lines: int) -> int:
    """Return which power of two a number of lines is."""
    power = 0
    while (1 << power) < lines:
        power += 1
    return power


@inner
def take_lines(s: Array, lines: int) -> int:
    """Return the first of some lines that are nobody's; the caller has asked for room (entry.py)."""
    stalls = small_table(s, c.STALLS, c.STALL_LINE)
    free = table(s, c.FREE_STALLS, 1)
    power = size_class(lines)
    line = free[power, 0]
    if line != 0:
        free[power, 0] = i64(stalls[line, 0])
    else:
        line = s[c.STALL_LINES]
        s[c.STALL_LINES] = line + lines
    s[c.LARGEST_STALL] = max(s[c.LARGEST_STALL], lines)
    return i64(line)


@inner
def leave_lines(s: Array, line: int, lines: int) -> None:
    """Keep lines for the next stall of that size."""
    free = table(s, c.FREE_STALLS, 1)
    power = size_class(lines)
    small_table(s, c.STALLS, c.STALL_LINE)[line, 0] = free[power, 0]
    free[power, 0] = line


@inner
def open_stall(s: Array, model: int, site: int) -> int:
    """Make an empty stall; returns its first line."""
    stalls = small_table(s, c.STALLS, c.STALL_LINE)
    line = take_lines(s, 1)
    small_table(s, c.STALL_OF, s[c.SITE_CAPACITY])[model, site] = line
    bits = bits_table(s, c.MODEL_SITES, s[c.SITE_WORDS])
    bits[model, site >> 6] |= _ONE << np.uint64(site & 63)
    stalls[line, c.STALL_COUNT] = 0
    stalls[line, c.STALL_ROOM] = 1
    return line


@inner
def close_stall(s: Array, model: int, site: int, line: int) -> None:
    """Take an empty stall away."""
    lines = i64(small_table(s, c.STALLS, c.STALL_LINE)[line, c.STALL_ROOM])
    small_table(s, c.STALL_OF, s[c.SITE_CAPACITY])[model, site] = 0
    bits = bits_table(s, c.MODEL_SITES, s[c.SITE_WORDS])
    bits[model, site >> 6] &= ~(_ONE << np.uint64(site & 63))
    leave_lines(s, line, lines)


@inner
def widened(s: Array, model: int, site: int, old: int) -> int:
    """Move a full stall to twice the lines; returns the first."""
    stalls = small_table(s, c.STALLS, c.STALL_LINE)
    lines = i64(stalls[old, c.STALL_ROOM])
    line = take_lines(s, 2 * lines)
    for number in range(lines):
        for word in range(c.STALL_LINE):
            stalls[line + number, word] = stalls[old + number, word]
    stalls[line, c.STALL_ROOM] = 2 * lines
    small_table(s, c.STALL_OF, s[c.SITE_CAPACITY])[model, site] = line
    leave_lines(s, old, lines)
    return line


@inner
def add_to_stall(s: Array, offer: int) -> None:
    """Let an offer be found by its site; the caller has asked for room (entry.py)."""
    terms = small_table(s, c.ASKS, c.ASK_NARROW)
    site, model = i64(terms[offer, c.ASK_SITE]), i64(terms[offer, c.ASK_MODEL])
    stalls = small_table(s, c.STALLS, c.STALL_LINE)
    line = i64(small_table(s, c.STALL_OF, s[c.SITE_CAPACITY])[model, site])
    if line == 0:
        line = open_stall(s, model, site)
    count = i64(stalls[line, c.STALL_COUNT])
    room = c.STALL_LINE * i64(stalls[line, c.STALL_ROOM])
    if c.STALL_HEAD + c.STALL_OFFER * count == room:
        line = widened(s, model, site, line)
    stalls[line, c.STALL_COUNT] = count + 1
    at, word = place_of(line, count)
    stalls[at, word] = offer
    stalls[at, word + 1] = terms[offer, c.ASK_ATTRIBUTES]


@inner
def take_from_stall(s: Array, offer: int) -> None:
    """Let an offer be found by its site no longer."""
    terms = small_table(s, c.ASKS, c.ASK_NARROW)
    site, model = i64(terms[offer, c.ASK_SITE]), i64(terms[offer, c.ASK_MODEL])
    stalls = small_table(s, c.STALLS, c.STALL_LINE)
    line = i64(small_table(s, c.STALL_OF, s[c.SITE_CAPACITY])[model, site])
    last = i64(stalls[line, c.STALL_COUNT]) - 1
    number = 0
    at, word = place_of(line, number)
    while stalls[at, word] != offer:
        number += 1
        at, word = place_of(line, number)
    of_last, word_of_last = place_of(line, last)
    stalls[at, word] = stalls[of_last, word_of_last]
    stalls[at, word + 1] = stalls[of_last, word_of_last + 1]
    stalls[line, c.STALL_COUNT] = last
    if last == 0:
        close_stall(s, model, site, line)
