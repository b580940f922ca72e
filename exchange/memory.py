"""A market's memory made ready before the first bid: room for what is to come, taken in small steps.

    rows in use │ room: promised, not yet there ───────────────────────────▶
                └─ the system finds a page when it is first written to

A table that must be copied to become larger stops everybody for milliseconds; so room is made at the
start, where it costs addresses and no memory. And a page has to be cleared when it is found: 2 µs for
one of 4 KiB, 0.2 ms for one of 2 MiB, 5.6 ms where the host has to find it as well. A book of offers is
read all over and wants large pages. Fills are written one behind the other and read in about that order:
they want small ones, or every sixteen thousandth bid waits for a large one.
"""

import ctypes
import mmap
from typing import Final

import numpy as np

from matching_core import columns as k
from matching_core.market import Capacity, Market

# What room is made for at the start: addresses, no memory. Beyond it tables go on where they stand.
MORE: Final = Capacity(offers=1 << 17, fills=1 << 18, rests=1 << 15)
# Tables whose rows are taken in order, fill by fill, and what is made anew by each frame.
_IN_ORDER: Final = (
    k.FILLS, k.FILL_WAITS, k.FILL_PROGRESS, k.FILL_INDEX, k.CONCERNED_PLACES, k.LEASE_HEAP,
    k.SETTLE_HEAP, k.DISPUTE_HEAP, k.CONCERNED_HEAP, k.EVENTS,
)  # fmt: skip
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
# Of glibc's mallopt.
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 1 << 28
_MMAP_BYTES: Final = 1 << 25  # the most that it takes


def keep_freed() -> bool:
    """Let the process keep what it frees, for the next round; False where nobody can be told.

    As it comes, the allocator gives what a large round used back to the system and asks for it again in
    the next: 2 µs of clearing for each 4 KiB, a fifth of what the follower did with an event.
    """
    mallopt = getattr(_LIBC, "mallopt", None)
    return mallopt is not None and bool(
        mallopt(_MMAP_THRESHOLD, _MMAP_BYTES) and mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
    )


def make_ready(market: Market, more: Capacity) -> None:
    """Make room for so many more of everything, and let fills come into it page by page."""
    market.make_room(more)
    for at in _IN_ORDER:
        use_small_pages(market.columns[at])


def use_small_pages(table: np.ndarray) -> bool:
    """Ask for small pages for all memory that a table is a part of; False where nobody can be asked.

    It is advice: a system that knows no large pages has none to do without.
    """
    advice = getattr(mmap, "MADV_NOHUGEPAGE", None)
    if advice is None:
        return False
    whole = table
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    first = -(-whole.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    size = (whole.ctypes.data + whole.nbytes - first) // mmap.PAGESIZE * mmap.PAGESIZE
    if size <= 0:
        return False
    return not _LIBC.madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), ctypes.c_int(advice))
