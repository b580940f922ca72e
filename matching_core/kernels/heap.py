"""Binary heaps of (due, key, row) that know where each row stands, so that any can be taken out.

    s[HEAP …]   address, rows, size, table of the rows, words of its row, word of the place
    heap[1] is the earliest by (due, key); the children of heap[i] are heap[2i] and heap[2i + 1]

Fills end long before they would expire, and six hours of dead entries would not fit in memory: hence
the place, which costs one store per move, and no lazy deletion. (Offers are the exception: wheel.py.)
"""

from matching_core import columns as c
from matching_core.jit import Array, inner, table


@inner
def heap_up(s: Array, heap_at: int, place: int, due: int, key: int, row: int) -> None:
    """Set down an entry at `place` or above it, moving later ones down."""
    heap = table(s, heap_at, c.HEAP_WORDS)
    rows = table(s, s[heap_at + 3], s[heap_at + 4])
    word = s[heap_at + 5]
    while place > 1:
        above = place >> 1
        if heap[above, 0] < due or (heap[above, 0] == due and heap[above, 1] <= key):
            break
        heap[place, 0] = heap[above, 0]
        heap[place, 1] = heap[above, 1]
        heap[place, 2] = heap[above, 2]
        rows[heap[place, 2], word] = place
        place = above
    heap[place, 0] = due
    heap[place, 1] = key
    heap[place, 2] = row
    rows[row, word] = place


@inner
def heap_down(s: Array, heap_at: int, place: int, due: int, key: int, row: int) -> None:
    """Set down an entry at `place` or below it, moving earlier ones up."""
    heap = table(s, heap_at, c.HEAP_WORDS)
    rows = table(s, s[heap_at + 3], s[heap_at + 4])
    word = s[heap_at + 5]
    size = s[heap_at + 2]
    while 2 * place <= size:
        below = 2 * place
        if below < size and (
            heap[below + 1, 0] < heap[below, 0]
            or (heap[below + 1, 0] == heap[below, 0] and heap[below + 1, 1] < heap[below, 1])
        ):
            below += 1
        if due < heap[below, 0] or (due == heap[below, 0] and key <= heap[below, 1]):
            break
        heap[place, 0] = heap[below, 0]
        heap[place, 1] = heap[below, 1]
        heap[place, 2] = heap[below, 2]
        rows[heap[place, 2], word] = place
        place = below
    heap[place, 0] = due
    heap[place, 1] = key
    heap[place, 2] = row
    rows[row, word] = place


@inner
def heap_push(s: Array, heap_at: int, due: int, key: int, row: int) -> None:
    """Add a row that is not in the heap."""
    s[heap_at + 2] += 1
    heap_up(s, heap_at, s[heap_at + 2], due, key, row)


@inner
def heap_move(s: Array, heap_at: int, place: int, due: int, key: int) -> None:
    """Give the entry at `place` another time or key."""
    heap = table(s, heap_at, c.HEAP_WORDS)
    row = heap[place, 2]
    if due < heap[place, 0] or (due == heap[place, 0] and key < heap[place, 1]):
        heap_up(s, heap_at, place, due, key, row)
    else:
        heap_down(s, heap_at, place, due, key, row)


@inner
def heap_remove(s: Array, heap_at: int, place: int) -> None:
    """Take the entry at `place` out; its row's place becomes 0."""
    heap = table(s, heap_at, c.HEAP_WORDS)
    rows = table(s, s[heap_at + 3], s[heap_at + 4])
    rows[heap[place, 2], s[heap_at + 5]] = 0
    last = s[heap_at + 2]
    s[heap_at + 2] = last - 1
    if place == last:
        return
    due = heap[last, 0]
    key = heap[last, 1]
    row = heap[last, 2]
    if place > 1 and (
        due < heap[place >> 1, 0] or (due == heap[place >> 1, 0] and key < heap[place >> 1, 1])
    ):
        heap_up(s, heap_at, place, due, key, row)
    else:
        heap_down(s, heap_at, place, due, key, row)


@inner
def heap_clear(s: Array, heap_at: int) -> None:
    """Forget all entries."""
    heap = table(s, heap_at, c.HEAP_WORDS)
    rows = table(s, s[heap_at + 3], s[heap_at + 4])
    for place in range(1, s[heap_at + 2] + 1):
        rows[heap[place, 2], s[heap_at + 5]] = 0
    s[heap_at + 2] = 0


@inner
def heap_due(s: Array, heap_at: int, now_ns: int) -> bool:
    """Tell whether the earliest entry is due."""
    return bool(s[heap_at + 2] > 0 and table(s, heap_at, c.HEAP_WORDS)[1, 0] <= now_ns)
