"""What open fills wait for, by (due, fill number): runs in order, and a heap for what fits none.

    s[WAIT …]   the heap's position, a time before which nothing is due, then per run
                [first row, last row, due of the first, due of the last]

    run 0   fill ⇄ fill ⇄ fill        leases of one second, say
    run 1   fill ⇄ fill               leases of ten
    heap    what comes before the end of every run

Terms are few: what a campaign leases lasts as long each time, and deadlines are the same for all. So
what begins to wait is nearly always later than all that began before it on the same terms: it goes
behind the run that ends latest but not later than itself, at the cost of a link, where a heap of
50,000 takes sixteen steps to give its earliest away. The earliest of all is the first of a run or
the heap's top. An entry that fits behind no run, since there are as many terms as runs or time was
cut short by a release, goes to the heap: the order is exact whatever comes.

A fill waits for one thing at a time (its lease, its settlement, the end of its dispute), so all three
share FILL_WAITS: its time, its number, its links, and where it is: above 0 its place in the heap,
below 0 minus its run, from 1.
"""

from matching_core import columns as c
from matching_core.jit import Array, i64, inner, small_table, table
from matching_core.kernels.heap import heap_push, heap_remove


@inner
def wait_push(s: Array, wait_at: int, due: int, number: int, fill: int) -> None:
    """Let a fill that waits for nothing wait until `due`."""
    waits = table(s, c.FILL_WAITS, c.WAIT_ROW)
    links = small_table(s, c.FILL_WAITS, 2 * c.WAIT_ROW)
    s[wait_at + c.WAIT_NEXT_DUE] = min(s[wait_at + c.WAIT_NEXT_DUE], due)
    waits[fill, c.WAIT_DUE] = due
    waits[fill, c.WAIT_NUMBER] = number
    best, best_due = 0, -1
    for run in range(1, c.RUNS + 1):
        at = wait_at + c.WAIT_RUN_WORDS * run
        last = s[at + c.RUN_LAST]
        last_due = s[at + c.RUN_LAST_DUE]
        if last == 0:
            if best == 0:
                best = run
            break
        if best_due < last_due <= due and (last_due < due or waits[last, c.WAIT_NUMBER] < number):
            best, best_due = run, last_due
    if best == 0:
        heap_push(s, s[wait_at], due, number, fill)
        return
    at = wait_at + c.WAIT_RUN_WORDS * best
    last = s[at + c.RUN_LAST]
    links[fill, c.WAIT_LATER] = 0
    links[fill, c.WAIT_EARLIER] = last
    waits[fill, c.WAIT_PLACE] = -best
    if last == 0:
        s[at + c.RUN_FIRST] = fill
        s[at + c.RUN_FIRST_DUE] = due
    else:
        links[last, c.WAIT_LATER] = fill
    s[at + c.RUN_LAST] = fill
    s[at + c.RUN_LAST_DUE] = due


@inner
def wait_remove(s: Array, wait_at: int, fill: int) -> None:
    """Let a fill wait no longer."""
    waits = table(s, c.FILL_WAITS, c.WAIT_ROW)
    links = small_table(s, c.FILL_WAITS, 2 * c.WAIT_ROW)
    place = waits[fill, c.WAIT_PLACE]
    if place > 0:
        heap_remove(s, s[wait_at], place)
        return
    waits[fill, c.WAIT_PLACE] = 0
    at = wait_at - c.WAIT_RUN_WORDS * place
    later = i64(links[fill, c.WAIT_LATER])
    earlier = i64(links[fill, c.WAIT_EARLIER])
    if earlier == 0:
        s[at + c.RUN_FIRST] = later
        s[at + c.RUN_FIRST_DUE] = waits[later, c.WAIT_DUE]
    else:
        links[earlier, c.WAIT_LATER] = later
    if later == 0:
        s[at + c.RUN_LAST] = earlier
        s[at + c.RUN_LAST_DUE] = waits[earlier, c.WAIT_DUE] if earlier != 0 else 0
    else:
        links[later, c.WAIT_EARLIER] = earlier


@inner
def wait_move(s: Array, wait_at: int, due: int, number: int, fill: int) -> None:
    """Let a fill that waits wait until another time."""
    wait_remove(s, wait_at, fill)
    wait_push(s, wait_at, due, number, fill)


@inner
def wait_due(s: Array, wait_at: int, now_ns: int) -> int:
    """Return the fill that waits for the earliest time if that has come, else 0."""
    if s[wait_at + c.WAIT_NEXT_DUE] > now_ns:
        return 0
    waits = table(s, c.FILL_WAITS, c.WAIT_ROW)
    heap = table(s, s[wait_at], c.HEAP_WORDS)
    found, found_due = 0, c.NEVER
    if s[s[wait_at] + 2] > 0:
        found, found_due = heap[1, 2], heap[1, 0]
    for run in range(1, c.RUNS + 1):
        at = wait_at + c.WAIT_RUN_WORDS * run
        first, first_due = s[at + c.RUN_FIRST], s[at + c.RUN_FIRST_DUE]
        if first == 0 or first_due > found_due:
            continue
        if first_due < found_due or waits[first, c.WAIT_NUMBER] < waits[found, c.WAIT_NUMBER]:
            found, found_due = first, first_due
    # Never too late: nothing that comes or goes makes the earliest earlier than this.
    s[wait_at + c.WAIT_NEXT_DUE] = found_due
    if found_due > now_ns:
        return 0
    return i64(found)
