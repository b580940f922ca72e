"""What a dashboard shows of a market: totals since its first command, and rolling medians. Pure.

Totals are exact. Medians come from histograms of 16 buckets per doubling (4.4 % wide), over the last
minute of the market's own time, so they need no memory of single fills.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exchange.kernels import fold as folding
from matching_core import event_rows as er
from schemas.jurisdictions import COUNTRY_SETS
from schemas.lists import BANDS_MS
from schemas.reasons import NAME_OF_NO_FILL, NAME_OF_REJECTED
from schemas.records import EVENT_TYPES

BUCKETS_PER_DOUBLING: Final = 16
BUCKETS: Final = 34 * BUCKETS_PER_DOUBLING  # $10,000 per million tokens is 10**10 < 2**34
SLOT_NS: Final = 10 * 10**9
SLOTS: Final = 6
COUNTRIES: Final = 677
_SETTLED: Final = EVENT_TYPES.index("settled")
_AT, _OPERATOR = er.COLUMNS.index("at"), er.COLUMNS.index("operator")
_REASONS: Final = max((*NAME_OF_NO_FILL, *NAME_OF_REJECTED)) + 1


def bucket(price: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the histogram bucket of unit prices (pico-dollars per token)."""
    place = np.floor(np.log2(np.maximum(price, 1)) * BUCKETS_PER_DOUBLING).astype(np.int64)
    return np.asarray(np.minimum(place, BUCKETS - 1))


def _bounds() -> NDArray[np.int64]:
    """Return the least unit price of each bucket; of some low ones there is none, and the next's stands."""
    guess = np.floor(2 ** (np.arange(BUCKETS) / BUCKETS_PER_DOUBLING)).astype(np.int64)
    near = np.maximum(guess[:, None] + np.arange(-1, 3), 1)
    reached = bucket(near.reshape(-1)).reshape(near.shape) >= np.arange(BUCKETS)[:, None]
    return np.asarray(near[np.arange(BUCKETS), reached.argmax(axis=1)])


_BOUNDS: Final = _bounds()


def middle(place: int) -> int:
    """Return the unit price in the middle of a bucket."""
    return round(2 ** ((place + 0.5) / BUCKETS_PER_DOUBLING))


def median(histogram: NDArray[np.int64]) -> int | None:
    """Return the median of what a histogram counted; None of nothing."""
    total = int(histogram.sum())
    if total == 0:
        return None
    return middle(int(np.searchsorted(np.cumsum(histogram), (total + 1) // 2)))


class Aggregates:
    """Folds rows of events. A function of the journal, kept with snapshots."""

    def __init__(self) -> None:
        self.by_type = [0] * len(EVENT_TYPES)
        self.contested = 0
        self.unfilled: dict[int, int] = {}  # bids by reason
        self.rejected: dict[int, int] = {}
        self.earned: dict[int, int] = {}  # n$ by operator
        self.fees = 0
        self.withheld = 0
        self.volume = 0  # Σ price of fills, n$
        self._slot = 0
        self._bands = np.zeros((SLOTS, len(BANDS_MS), BUCKETS), np.int32)
        self._countries = np.zeros((SLOTS, COUNTRIES, BUCKETS), np.int32)
        self._seen = np.zeros(COUNTRIES, np.bool_)  # countries that have anything in there

    def add(self, rows: NDArray[np.void]) -> None:
        """Fold rows `EVENT_ROW[n]` in order."""
        if len(rows) == 0:
            return
        matrix = rows.view(np.int64).reshape(-1, er.EVENT_WORDS)
        types = np.zeros(len(EVENT_TYPES), np.int64)
        reasons = np.zeros((2, _REASONS), np.int64)
        sums = np.zeros(folding.SUMS, np.int64)
        earned = np.zeros((int(matrix[:, _OPERATOR].max()) + 1, 2), np.int64)
        seen = self._seen.view(np.uint8)
        # The market's time only goes forward, so the rows of a slot follow one another.
        slots = matrix[:, _AT] // SLOT_NS
        ends = [*(np.flatnonzero(np.diff(slots)) + 1).tolist(), len(matrix)]
        first = 0
        for end in ends:
            slot = int(slots[first])
            self._turn(slot * SLOT_NS)
            folding.fold(
                matrix[first:end], types, reasons, sums, earned, _BOUNDS,
                self._bands[slot % SLOTS], self._countries[slot % SLOTS], seen,
            )  # fmt: skip
            first = end
        self._take(types.tolist(), reasons, sums.tolist(), earned)

    def _take(
        self,
        types: list[int],
        reasons: NDArray[np.int64],
        sums: list[int],
        earned: NDArray[np.int64],
    ) -> None:
        for number, count in enumerate(types):
            self.by_type[number] += count
        for into, counts in ((self.unfilled, reasons[0]), (self.rejected, reasons[1])):
            for reason in np.flatnonzero(counts).tolist():
                into[reason] = into.get(reason, 0) + int(counts[reason])
        self.volume += _whole(sums, folding.VOLUME)
        self.fees += _whole(sums, folding.FEES)
        self.withheld += _whole(sums, folding.WITHHELD) + _whole(sums, folding.RENT)
        self.contested += sums[folding.CONTESTED]
        if types[_SETTLED]:
            for operator in np.flatnonzero(earned.any(axis=1)).tolist():
                more = _whole(earned[operator].tolist(), 0)
                self.earned[operator] = self.earned.get(operator, 0) + more

    def _turn(self, at_ns: int) -> None:
        """Forget what is older than the window that ends now."""
        slot = at_ns // SLOT_NS
        for old in range(max(self._slot + 1, slot - SLOTS + 1), slot + 1):
            self._bands[old % SLOTS] = 0
            self._countries[old % SLOTS] = 0
        self._slot = max(self._slot, slot)

    def unfilled_by_reason(self) -> dict[str, int]:
        """Return how many bids ended unfilled, by the name of the reason, most frequent first."""
        return _named(self.unfilled, NAME_OF_NO_FILL)

    def rejected_by_reason(self) -> dict[str, int]:
        """Return how many commands were rejected, by reason."""
        return _named(self.rejected, NAME_OF_REJECTED)

    def medians_by_band(self) -> dict[str, int]:
        """Return the median unit price by latency band in ms ("0": best effort), bands with fills."""
        summed = self._bands.sum(axis=0, dtype=np.int64)
        return _medians({str(ms): summed[number] for number, ms in enumerate(BANDS_MS)})

    def medians_by_country(self) -> dict[str, int]:
        """Return the median unit price by the site's country ("" unknown)."""
        summed = self._by_country()
        return _medians({er.country_name(number) or "": each for number, each in summed.items()})

    def medians_by_jurisdiction(self) -> dict[str, int]:
        """Return the median unit price over the countries of each named set (schemas)."""
        summed = self._by_country()
        totals = {}
        for each in COUNTRY_SETS:
            totals[each.name] = np.zeros(BUCKETS, np.int64)
            for number in map(er.country_number, each.countries):
                if number in summed:
                    totals[each.name] += summed[number]
        return _medians(totals)

    def _by_country(self) -> dict[int, NDArray[np.int64]]:
        """Return each country's histogram of the window, by number; 677 of them take milliseconds to add."""
        used = np.flatnonzero(self._seen).tolist()
        summed = self._countries[:, used].sum(axis=0, dtype=np.int64)
        found = {number: summed[place] for place, number in enumerate(used)}
        return {number: each for number, each in found.items() if each.any()}

    def plain(self) -> dict[str, Any]:
        """Return everything as plain values, for `restore`."""
        made = {name: value for name, value in vars(self).items() if name[0] != "_"}
        return made | {
            # Sums may outgrow the 64 bits of msgpack: money goes round and round.
            "volume": str(self.volume),
            "earned": {operator: str(earned) for operator, earned in self.earned.items()},
            "slot": self._slot,
            "bands": self._bands.tobytes(),
            "countries": _packed(self._countries),
        }

    @classmethod
    def restore(cls, plain: dict[str, Any]) -> "Aggregates":
        """Make aggregates that are equal to those that gave the plain values."""
        made = cls()
        for name in [name for name in vars(made) if name[0] != "_"]:
            setattr(made, name, plain[name])
        made.volume = int(plain["volume"])
        made.earned = {operator: int(earned) for operator, earned in plain["earned"].items()}
        made._slot = plain["slot"]
        made._bands = np.frombuffer(plain["bands"], np.int32).reshape(made._bands.shape).copy()
        for country, raw in plain["countries"]:
            made._countries[:, country] = np.frombuffer(raw, np.int32).reshape(SLOTS, BUCKETS)
            made._seen[country] = True
        return made


def _packed(countries: NDArray[np.int32]) -> list[tuple[int, bytes]]:
    used = np.flatnonzero(countries.any(axis=(0, 2))).tolist()
    return [(country, countries[:, country].tobytes()) for country in used]


def _whole(parts: list[int], at: int) -> int:
    """Put a sum's low and high part together."""
    return parts[at] + (parts[at + 1] << folding.LOW_BITS)


def _named(counts: dict[int, int], names: dict[int, str]) -> dict[str, int]:
    by_count = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return {names[number]: count for number, count in by_count}


def _medians(histograms: dict[str, NDArray[np.int64]]) -> dict[str, int]:
    found = {name: median(histogram) for name, histogram in histograms.items()}
    return {name: value for name, value in found.items() if value is not None}
