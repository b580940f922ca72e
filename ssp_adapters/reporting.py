"""What an operator knows of the fills of its offers: the record that reports are made from (pure).

    session: counts and open fills ─┐
    events: fill, released, …       ├─▶ FillBook ──samples()──▶ schemas.report ──▶ slots, fills_seen
    own acts: started, ended       ─┘

The exchange knows fills by number, a report counts them by ordinal. What a session says when it opens
names the open fills by number alone; which of the ordinals they have does not matter to a count, so
they are given the highest. From then on ordinals come with the events.
"""

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from schemas.report import FillState, KnownFill
from ssp_adapters.contract import OfferFills

Key = tuple[str, int]  # site, offer
_EARLY_MAX: Final = 65_536


class _Known(NamedTuple):
    key: Key
    ordinal: int


class _Offer:
    """The fills of one name: every ordinal up to `settled` ended; `states` are those above."""

    __slots__ = ("made", "settled", "states")

    def __init__(self) -> None:
        self.made = 0  # as the exchange counted when the session opened: older news is no news
        self.settled = 0
        self.states: dict[int, FillState] = {}

    def prune(self) -> None:
        while self.states.get(self.settled + 1) == "ended":
            self.settled += 1
            del self.states[self.settled]


class FillBook:
    """Fold what is told of fills into what a report needs. Order and repetition do not matter."""

    def __init__(self) -> None:
        self._offers: dict[Key, _Offer] = {}
        self._changed: set[str] = set()
        self._known: dict[int, _Known] = {}
        # Fills that ended here but not yet at the exchange, and those that began here before the
        # event that names their ordinal came.
        self._ended_here: set[int] = set()
        self._early: dict[int, FillState] = {}

    def establish(
        self, site: str, offers: Iterable[tuple[int, int, Iterable[int]]]
    ) -> list[tuple[int, bool]]:
        """Begin again from what a session says of a site: (offer, fills made, open fills).

        Returns the open fills as (number, known before): of the unknown ones the caller must find out
        what they are, until then they count as leased.
        """
        told: list[tuple[int, bool]] = []
        self._changed.add(site)
        for offer, made, open_fills in offers:
            entry = self._offers.setdefault((site, offer), _Offer())
            before = {
                fill: entry.states.get(known.ordinal, "ended")
                for fill, known in self._known.items()
                if known.key == (site, offer)
            }
            numbers = sorted(open_fills)
            newer = {ordinal: state for ordinal, state in entry.states.items() if ordinal > made}
            for fill in before:
                if self._known[fill].ordinal <= made:
                    del self._known[fill]
            entry.made = made
            entry.settled = made - len(numbers)
            entry.states = newer
            for ordinal, fill in enumerate(numbers, start=entry.settled + 1):
                known_before = fill in before or fill in self._ended_here or fill in self._early
                state = before.get(fill) or self._early.pop(fill, "leased")
                entry.states[ordinal] = "ended" if fill in self._ended_here else state
                self._known[fill] = _Known((site, offer), ordinal)
                told.append((fill, known_before))
            entry.prune()
        return told

    def fill(self, site: str, offer: int, ordinal: int, fill: int) -> bool:
        """Note a fill event; False when it is old news: made and ended before the session opened."""
        entry = self._offers.setdefault((site, offer), _Offer())
        if fill in self._known:
            return True
        if ordinal <= max(entry.made, entry.settled) or ordinal in entry.states:
            return False
        self._known[fill] = _Known((site, offer), ordinal)
        entry.states[ordinal] = self._early.pop(fill, "leased")
        entry.prune()
        self._changed.add(site)
        return True

    def started(self, fill: int) -> None:
        """Note that the engine runs a fill's request."""
        self._set(fill, "started")

    def ended(self, fill: int) -> None:
        """Note that a fill holds no slot here any more: completed and off the engine, or declined."""
        self._ended_here.add(fill)
        self._set(fill, "ended")

    def closed(self, fill: int) -> None:
        """Note that a fill ended at the exchange: released, declined or settled."""
        self._set(fill, "ended")
        self._ended_here.discard(fill)
        known = self._known.pop(fill, None)
        if known is None:
            self._early.pop(fill, None)

    def open(self) -> int:
        """Return how many fills hold a slot, or may come to hold one."""
        return sum(
            state != "ended" for entry in self._offers.values() for state in entry.states.values()
        )

    def take_changed(self) -> set[str]:
        """Return the sites of which something was noted since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def samples(self, sites: Collection[str] | None = None) -> tuple[OfferFills, ...]:
        """Return the record, or that of some sites, as an adapter's `Samples` take it."""
        return tuple(
            OfferFills(
                site=site,
                offer=offer,
                fills=tuple(
                    KnownFill(ordinal, state) for ordinal, state in sorted(entry.states.items())
                ),
                settled_up_to=entry.settled,
            )
            for (site, offer), entry in sorted(self._offers.items())
            if sites is None or site in sites
        )

    def _set(self, fill: int, state: FillState) -> None:
        known = self._known.get(fill)
        if known is None:
            if len(self._early) >= _EARLY_MAX:  # fills whose event never came: the oldest goes
                self._early.pop(next(iter(self._early)))
            if self._early.get(fill) != "ended":
                self._early[fill] = state
            return
        entry = self._offers[known.key]
        if known.ordinal > entry.settled and entry.states.get(known.ordinal) != "ended":
            entry.states[known.ordinal] = state
            entry.prune()
            self._changed.add(known.key[0])
