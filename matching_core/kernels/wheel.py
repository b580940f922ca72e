"""When offers expire: a wheel of lists, and a heap for what is nearly due.

    WHEEL   1024 lists, one per 67 ms     ◀── an offer goes where its time is, in one store
               │ once time comes to a list
               ▼
    OFFER_HEAP   by (due, priority)       ──▶ expires, if it was not renewed (expiry.py)

Offers are renewed by the second and hardly ever expire. So a renewal leaves an offer where it is in
the wheel or the heap: too early, never too late. When time comes to its list it goes on to where it
belongs by then; and only what is due within that list's 67 ms, in the order of the contract, to the heap.
An offer that was cancelled stays as well, and is dropped there. OFFER_QUEUED says where an offer is:
0 nowhere, its list + 1, or IN_HEAP. OFFER_PLACES has its neighbours in the list, or its place in the
heap.
"""

from matching_core import columns as c
from matching_core.jit import Array, i64, inner, kernel, short_table, small_table, table
from matching_core.kernels.heap import heap_move, heap_push, heap_remove
from schemas import limits

TICK = 26  # 2^26 ns = 67 ms
_LAST = c.WHEEL_LISTS - 1
_NEXT, _PREVIOUS = 0, 1  # of OFFER_PLACES, in halves
IN_HEAP = c.WHEEL_LISTS + 1
_NEVER = limits.AT_NS_MAX
_NS_PER_US = limits.NS_PER_US
TICK_US = (1 << TICK) // _NS_PER_US
# No time is so far ahead that it would come round to a list before it.
assert limits.TTL_US_MAX * _NS_PER_US < (c.WHEEL_LISTS - 1) << TICK


@inner
def join_list(s: Array, offer: int, tick: int) -> None:
    """Put an offer on the list of a tick."""
    wheel = table(s, c.WHEEL, c.WHEEL_ROW)
    links = small_table(s, c.OFFER_PLACES, 2)
    slot = tick & _LAST
    first = wheel[slot, c.WHEEL_FIRST]
    links[offer, _NEXT] = first
    links[offer, _PREVIOUS] = 0
    if first != 0:
        links[first, _PREVIOUS] = offer
    wheel[slot, c.WHEEL_FIRST] = offer
    wheel[slot, c.WHEEL_COUNT] += 1
    short_table(s, c.OFFERS, c.OFFER_SHORT)[offer, c.OFFER_QUEUED] = slot + 1


@inner
def leave_list(s: Array, offer: int) -> None:
    """Take an offer off its list."""
    wheel = table(s, c.WHEEL, c.WHEEL_ROW)
    links = small_table(s, c.OFFER_PLACES, 2)
    slot = i64(short_table(s, c.OFFERS, c.OFFER_SHORT)[offer, c.OFFER_QUEUED]) - 1
    after, before = i64(links[offer, _NEXT]), i64(links[offer, _PREVIOUS])
    if before != 0:
        links[before, _NEXT] = after
    else:
        wheel[slot, c.WHEEL_FIRST] = after
    if after != 0:
        links[after, _PREVIOUS] = before
    wheel[slot, c.WHEEL_COUNT] -= 1


@inner
def enter(s: Array, offer: int) -> None:
    """Put an offer that is nowhere to where its time is."""
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    expires = offers[offer, c.OFFER_EXPIRES]
    if (expires >> TICK) >= s[c.WHEEL_HAND]:
        join_list(s, offer, expires >> TICK)
    else:
        heap_push(s, c.OFFER_HEAP, expires, offers[offer, c.OFFER_PRIORITY], offer)
        short_table(s, c.OFFERS, c.OFFER_SHORT)[offer, c.OFFER_QUEUED] = IN_HEAP


@inner
def expire_at(s: Array, offer: int, ttl_us: int) -> None:
    """Let an offer expire `ttl_us` from now, at no cost when that is later than it was."""
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    expires = s[c.AT] + _NS_PER_US * ttl_us
    offers[offer, c.OFFER_EXPIRES] = expires
    queued = i64(short_table(s, c.OFFERS, c.OFFER_SHORT)[offer, c.OFFER_QUEUED])
    if queued == 0:
        enter(s, offer)
    elif queued == IN_HEAP:
        place = table(s, c.OFFER_PLACES, 1)[offer, 0]
        if expires < table(s, c.OFFER_HEAP, c.HEAP_WORDS)[place, 0]:
            heap_move(s, c.OFFER_HEAP, place, expires, offers[offer, c.OFFER_PRIORITY])
    elif (expires >> TICK) - s[c.WHEEL_HAND] < ((queued - 1 - s[c.WHEEL_HAND]) & _LAST):
        leave_list(s, offer)
        enter(s, offer)


@inner
def settle_first(s: Array) -> bool:
    """Put the first of the heap to where its time is; returns whether it was there already: it is due."""
    offers = table(s, c.OFFERS, c.OFFER_ROW)
    heap = table(s, c.OFFER_HEAP, c.HEAP_WORDS)
    offer = heap[1, 2]
    stands = small_table(s, c.OFFERS, c.OFFER_NARROW)[offer, c.OFFER_SPOT] != 0
    expires, priority = offers[offer, c.OFFER_EXPIRES], offers[offer, c.OFFER_PRIORITY]
    if stands and heap[1, 0] == expires and heap[1, 1] == priority:
        return True
    if stands and (expires >> TICK) < s[c.WHEEL_HAND]:
        heap_move(s, c.OFFER_HEAP, 1, expires, priority)
        return False
    heap_remove(s, c.OFFER_HEAP, 1)
    short_table(s, c.OFFERS, c.OFFER_SHORT)[offer, c.OFFER_QUEUED] = 0
    if stands:
        enter(s, offer)
    return False


@inner
def is_turn(s: Array) -> bool:
    """Tell whether the present is in a list that the hand has not come to."""
    return bool((s[c.AT] >> TICK) >= s[c.WHEEL_HAND])


@inner
def turn_wheel(s: Array) -> None:
    """Let the hand come to the present: what its lists have goes to the heap, or to a later list."""
    wheel = table(s, c.WHEEL, c.WHEEL_ROW)
    links = small_table(s, c.OFFER_PLACES, 2)
    queued = short_table(s, c.OFFERS, c.OFFER_SHORT)
    spots = small_table(s, c.OFFERS, c.OFFER_NARROW)
    before = s[c.WHEEL_HAND]
    s[c.WHEEL_HAND] = (s[c.AT] >> TICK) + 1
    for step in range(min(s[c.WHEEL_HAND] - before, c.WHEEL_LISTS)):
        slot = (before + step) & _LAST
        offer = wheel[slot, c.WHEEL_FIRST]
        wheel[slot, c.WHEEL_FIRST] = 0
        wheel[slot, c.WHEEL_COUNT] = 0
        while offer != 0:
            after = i64(links[offer, _NEXT])
            queued[offer, c.OFFER_QUEUED] = 0
            if spots[offer, c.OFFER_SPOT] != 0:
                enter(s, offer)
            offer = after


@inner
def nearly_due(s: Array, at_ns: int) -> int:
    """Return how many offers the heap may have once the hand has come to a time."""
    wheel = table(s, c.WHEEL, c.WHEEL_ROW)
    count = s[c.OFFER_HEAP + 2]
    for step in range(min((at_ns >> TICK) + 1 - s[c.WHEEL_HAND], c.WHEEL_LISTS)):
        count += wheel[(s[c.WHEEL_HAND] + step) & _LAST, c.WHEEL_COUNT]
    return i64(count)


@kernel
def next_list_ns(s: Array) -> int:
    """Return when the hand comes to the first list with an offer; AT_NS_MAX if there is none."""
    wheel = table(s, c.WHEEL, c.WHEEL_ROW)
    for step in range(c.WHEEL_LISTS):
        if wheel[(s[c.WHEEL_HAND] + step) & _LAST, c.WHEEL_COUNT] != 0:
            return i64((s[c.WHEEL_HAND] + step) << TICK)
    return _NEVER
