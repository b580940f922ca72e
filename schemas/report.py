"""What a site reports of an offer: `slots` and `fills_seen` (WIRE.md "What a site reports").

Two parties count the same slots at different moments. The exchange knows every fill it made but not
what the engine does; the site knows the engine but not the fills that are on their way to it. The
exchange computes (MARKET.md §3)

    available = max(0, slots − fills numbered above fills_seen that were not released)

so the site must count exactly the fills numbered up to `fills_seen`, and leave the rest to the
exchange. What is truly free at the moment of the report is

    free = concurrency − busy requests from elsewhere − open fills        open = leased or started

Split the open fills at n = `fills_seen`. Those up to n the site knows, each leased (its request may
come any moment) or started (the engine runs it): it takes them off. Those above n the exchange takes
off. Hence

    slots = concurrency − elsewhere − (leased or started fills ≤ n)

and `available` is then `free`, whatever is in flight in either direction:

- A fill made after the report has a number above n (numbers only grow): the exchange counts it.
- A fill ≤ n that ended before the report is in neither term: its slot is free again. This is the only
  way a started fill's slot returns, which is why completion frees nothing by itself.
- A fill ≤ n that is released after the report stays taken until the next one. Too few, never too many.
- A fill > n that completed stays taken until a report covers it. Too few again.

n is the highest number of which this report *knows*. A site told of fill 7 but not yet of 6 knows
neither state of 6: it may use n = 7 only if it takes 6 off as leased. `report` does so: every number
up to n that it was not told of counts as leased. A wrong guess the other way sells a slot twice.
Nor may n ever fall, not even over a restart of the site: the exchange keeps the largest it was given,
and the fills between the two would be in neither count. What a session is told when it establishes
(the count of fills and the open ones) is where a site begins again.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

from schemas import limits

FillState = Literal["leased", "started", "ended"]
# How far along a state is: news may arrive late or twice, and a fill only moves on.
_PROGRESS: Final[dict[FillState, int]] = {"leased": 0, "started": 1, "ended": 2}


class KnownFill(NamedTuple):
    """What a site knows of one fill of an offer; `ordinal` as in the fill event.

    `ended`: completed here and no longer on the engine, declined, or said to be released.
    """

    ordinal: int
    state: FillState


class Report(NamedTuple):
    """The two figures of an `offer` or `refresh`."""

    slots: int
    fills_seen: int


class Tranche(NamedTuple):
    """One offer's part of an engine: slots allotted to it, and the fills known of it.

    `settled_up_to`: every fill numbered up to it is known to have ended; those need not be listed.
    """

    offer: int
    allotted: int
    fills: Sequence[KnownFill] = ()
    settled_up_to: int = 0


def _seen_and_open(fills: Iterable[KnownFill], settled_up_to: int) -> tuple[int, int]:
    """Return `fills_seen`, and how many fills up to it may hold or come to hold a slot."""
    progress: dict[int, int] = {}
    for fill in fills:
        if fill.ordinal > settled_up_to:
            known = progress.get(fill.ordinal, 0)
            progress[fill.ordinal] = max(known, _PROGRESS[fill.state])
    seen = max(progress, default=settled_up_to)
    unknown = (seen - settled_up_to) - len(progress)
    return seen, unknown + sum(step < _PROGRESS["ended"] for step in progress.values())


def report(
    allotted: int, elsewhere: int, fills: Iterable[KnownFill], settled_up_to: int = 0
) -> Report:
    """Return what to report of an offer to which `allotted` requests at once belong.

    `elsewhere`: requests busy on those that no fill of this exchange brought. `fills`: the fills of
    this offer the site knows, in any order; numbers up to `settled_up_to` are taken as ended, missing
    numbers above it as leased. Of a fill given twice the state furthest along counts. `slots` is never below 0:
    an engine that others overfill has none to sell.
    """
    seen, taken = _seen_and_open(fills, settled_up_to)
    slots = min(max(0, allotted - elsewhere - taken), limits.SLOTS_MAX)
    return Report(slots=slots, fills_seen=seen)


def report_engine(tranches: Sequence[Tranche], elsewhere: int) -> tuple[Report, ...]:
    """Return one report per tranche, in the given order, for an engine shared by all of them.

    A request from elsewhere belongs to no tranche. It is charged to the first that still has room,
    so the caller's order is the order in which outside load drives offers out: cheapest first, so
    that a site which is busy anyway sells only its dear slots (ARCHITECTURE.md, yield policy).
    Nothing is charged twice: Σ slots + open fills + elsewhere = Σ allotted while that is not exceeded.
    """
    reports = []
    for tranche in tranches:
        seen, taken = _seen_and_open(tranche.fills, tranche.settled_up_to)
        room = max(0, tranche.allotted - taken)
        charged = min(room, elsewhere)
        elsewhere -= charged
        reports.append(Report(slots=min(room - charged, limits.SLOTS_MAX), fills_seen=seen))
    return tuple(reports)
