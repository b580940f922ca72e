"""What the public sees: the tape of fills without names, and the book without asks. Pure.

Nothing here depends on an ask, except a price that a fill really had (promise A6).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from matching_core import event_rows as er
from schemas.lists import BAND_BEST_EFFORT, BANDS_MS
from schemas.records import BOOK_RECORD, EVENT_TYPES, TAPE_RECORD

_FILL: Final = EVENT_TYPES.index("fill")
_TAPE_COLUMNS: Final = ("seq", "at", "price", "index", "model", "tokens_in", "tokens_out")
_TAPE_PACKED: Final = {
    "band": (er.BAND_SHIFT, 15),
    "tier": (er.TIER_SHIFT, 255),
    "hardware": (er.HARDWARE_SHIFT, 255),
    "precision": (er.PRECISION_SHIFT, 255),
    "contested": (er.CONTESTED_BIT, 1),
}
# Two letters of every country's number, zeros for unknown.
_COUNTRIES: Final = np.array([(er.country_name(n) or "").encode() for n in range(677)], "S2")
_COUNTRY_MASK: Final = 0xFFFF

BOUNDS_US: Final = np.array([1000 * bound for bound in BANDS_MS[:BAND_BEST_EFFORT]], np.int64)
NO_BAND: Final = 255  # the metro cannot reach the site
CAPACITY_MAX: Final = 5
ROWS_PER_TICK_MAX: Final = 16_384  # half a megabyte a second
REFRESH_TICKS: Final = 30  # everything is said again within so many ticks, for whoever came late


def tape(rows: NDArray[np.void]) -> tuple[int, NDArray[np.void]]:
    """Return (number of the first, `TAPE_RECORD[n]`) of the fills among rows `EVENT_ROW[n]`.

    Fills are numbered 1, 2, … in order of the exchange, so the number shows any gap on the tape.
    """
    fills = np.flatnonzero(rows["type"] == _FILL)
    made = np.zeros(len(fills), TAPE_RECORD)
    if len(fills) == 0:
        return 0, made
    for name in _TAPE_COLUMNS:
        made[name] = rows[name][fills]
    attributes = rows["attributes"][fills]
    for name, (shift, mask) in _TAPE_PACKED.items():
        made[name] = (attributes >> shift) & mask
    made["country"] = _COUNTRIES[(attributes >> er.COUNTRY_SHIFT) & _COUNTRY_MASK]
    return int(rows["fill"][fills[0]]), made


def capacity_class(slots: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the class of a number of open slots: 0 none, 1: 1–3, 2: 4–15, … 5: 256 and more."""
    bits = np.ceil(np.log2(slots + 1)).astype(np.int64)
    return np.asarray(np.minimum((bits + 1) // 2, CAPACITY_MAX), np.uint8)


class PublicBook:
    """Says what changed in the public book since it was last asked.

    Memory: one byte per (site, model) that ever had an offer and metro.
    """

    def __init__(self) -> None:
        self._row_of: dict[int, int] = {}  # site << 32 | model → row of the arrays below
        self._keys = np.zeros(0, np.int64)
        self._capacity = np.zeros(0, np.uint8)  # as said last
        self._hardware = np.zeros(0, np.uint32)
        self._bands = np.zeros((0, 0), np.uint8)
        self._start = 0

    def changes(
        self,
        book: NDArray[np.void],
        rtt_us: NDArray[np.int64],
        margin_us: NDArray[np.int64],
        at_ns: int,
    ) -> NDArray[np.void]:
        """Return `BOOK_RECORD[n]`: all metros of each (site, model) that changed or is due again.

        Args:
            book: the live offers (site, model, hardware, available, ttft_us, cold_start_us, deal).
            rtt_us: p99 by (metro, site), negative where unreachable.
            margin_us: the verifier's margin by site.
            at_ns: the market's time.
        """
        # A deal is private terms of two members: no public matter.
        book = book[(book["deal"] == 0) & (book["available"] > 0)]
        pairs = (book["site"] << 32) | book["model"]
        self._grow(np.unique(pairs).tolist(), rtt_us.shape[0])
        rows = np.array([self._row_of[pair] for pair in pairs.tolist()], np.int64)
        count = len(self._keys)
        capacity = capacity_class(np.bincount(rows, book["available"], count).astype(np.int64))
        hardware = np.zeros(count, np.uint32)
        np.bitwise_or.at(hardware, rows, np.left_shift(1, book["hardware"]).astype(np.uint32))
        bands = self._bands_now(book, rows, rtt_us, margin_us)
        changed = (capacity != self._capacity) | (hardware != self._hardware)
        changed |= (bands != self._bands).any(axis=1)
        return self._say(self._due(changed), capacity, hardware, bands, at_ns)

    def _grow(self, pairs: list[int], metros: int) -> None:
        new = [pair for pair in pairs if pair not in self._row_of]
        for pair in new:
            self._row_of[pair] = len(self._row_of)
        self._keys = np.concatenate([self._keys, np.array(new, np.int64)])
        self._capacity = np.concatenate([self._capacity, np.zeros(len(new), np.uint8)])
        self._hardware = np.concatenate([self._hardware, np.zeros(len(new), np.uint32)])
        old = self._bands
        if new or metros > old.shape[1]:
            self._bands = np.full((len(self._keys), metros), NO_BAND, np.uint8)
            self._bands[: old.shape[0], : old.shape[1]] = old

    def _bands_now(
        self,
        book: NDArray[np.void],
        rows: NDArray[np.int64],
        rtt_us: NDArray[np.int64],
        margin_us: NDArray[np.int64],
    ) -> NDArray[np.uint8]:
        """Return the band that each pair's fastest offer reaches from each metro."""
        nowhere = np.iinfo(np.int64).max // 4
        fastest = np.full(len(self._keys), nowhere, np.int64)
        np.minimum.at(fastest, rows, book["ttft_us"] + book["cold_start_us"])
        sites = self._keys >> 32
        rtt = rtt_us[:, sites].T  # (pair, metro)
        latency = (fastest + margin_us[sites])[:, None] + rtt
        bands = np.searchsorted(BOUNDS_US, latency, side="left").astype(np.uint8)
        bands[(rtt < 0) | (fastest == nowhere)[:, None]] = NO_BAND
        bands[:, 0] = NO_BAND  # handle 0 is no metro
        return np.asarray(bands)

    def _due(self, changed: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the rows to say: those that changed and the next of the standing round."""
        count = len(changed)
        if count == 0:
            return np.zeros(0, np.int64)
        due = changed.copy()
        due[np.arange(self._start, self._start - (-count // REFRESH_TICKS)) % count] = True
        rows = np.flatnonzero(due)
        # From where the last one ended, so that what is over the limit comes first next time.
        rows = np.concatenate([rows[rows >= self._start], rows[rows < self._start]])
        rows = rows[: max(ROWS_PER_TICK_MAX // self._bands.shape[1], 1)]
        self._start = (int(rows[-1]) + 1) % count
        return rows

    def _say(
        self,
        rows: NDArray[np.int64],
        capacity: NDArray[np.uint8],
        hardware: NDArray[np.uint32],
        bands: NDArray[np.uint8],
        at_ns: int,
    ) -> NDArray[np.void]:
        known = (bands[rows] != NO_BAND) | (self._bands[rows] != NO_BAND)
        place, metro = np.nonzero(known)
        row = rows[place]
        made = np.zeros(len(row), BOOK_RECORD)
        made["at"] = at_ns
        made["site"] = self._keys[row] >> 32
        made["model"] = self._keys[row] & 0xFFFFFFFF
        made["metro"] = metro
        now = bands[row, metro]
        there = now != NO_BAND
        made["band"] = np.where(there, now, 0)
        made["capacity"] = np.where(there, capacity[row], 0)
        made["hardware"] = np.where(there, hardware[row], 0)
        self._capacity[rows] = capacity[rows]
        self._hardware[rows] = hardware[rows]
        self._bands[rows] = bands[rows]
        return made
