"""Rates of the core on workload W: auctions in frames, refreshes, offers with their cancels, a mix."""

import hashlib
import time
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench.workload import FRAME, Workload
from matching_core import columns as k
from matching_core.event_rows import as_rows
from matching_core.market import Market
from matching_core.tables import Columns
from schemas import records
from schemas.records import EVENT_TYPES

Array = npt.NDArray[Any]
Frames = list[tuple[int, Array]]
FRAME_NS: Final = 5_000_000  # market time per frame of bids: 200 frames until leases are in balance
LEASE_FRAMES: Final = 200
ROUNDS: Final = 5  # the median of so many rounds counts
UPDATES: Final = 1_024  # records in a frame of updates


class Rates:
    """Apply frames to one market, keep the time of each and a digest of all events."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.kinds: dict[str, int] = {}
        self._digest = hashlib.sha256()

    def apply(self, kind: int, batch: Array, member: int, step_ns: int) -> float:
        """Apply one frame `step_ns` after the last command; returns its seconds."""
        at_ns = self.market.at_ns + step_ns
        begun = time.perf_counter()
        matrix = self.market.apply_frame(kind, batch, member, 0, at_ns)
        spent = time.perf_counter() - begun
        self._digest.update(matrix.tobytes())
        numbers, counts = np.unique(as_rows(matrix)["type"], return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            self.kinds[EVENT_TYPES[number]] = self.kinds.get(EVENT_TYPES[number], 0) + count
        return spent

    def digest(self) -> str:
        """Return SHA-256 of all events so far."""
        return self._digest.hexdigest()

    def auctions(self, frames: Frames) -> float:
        """Return auctions/s over frames of bids: units cleared, whatever came of them."""
        rates = []
        for part in _parts(frames):
            before = self.market.counts()["auctions"]
            spent = sum(self.apply(records.BID, batch, buyer, FRAME_NS) for buyer, batch in part)
            rates.append((self.market.counts()["auctions"] - before) / spent)
        return float(np.median(rates))

    def refreshes(self, offers: Array, frames: int, rng: np.random.Generator) -> float:
        """Return refreshes/s: slots and times reported anew, the fills made so far accounted for."""
        made = [refresh_frame(self.market, offers, UPDATES, rng) for _ in range(frames)]
        return _rate([self.apply(records.REFRESH, batch, 0, 0) for batch in made], UPDATES)

    def offers_and_cancels(self, offers: Array, frames: int, rng: np.random.Generator) -> float:
        """Return pairs/s of an `offer` under a name that does not stand and its `offer_cancel`.

        First as many offers of the book are cancelled as stand in a frame; then one frame of offers
        puts them in again and one of cancels takes another draw out, so that the book keeps its size.
        """
        size = min(UPDATES, len(offers) // 4)
        out = rng.choice(len(offers), size, replace=False)
        self.apply(records.OFFER_CANCEL, _cancels(offers[out]), 0, 0)
        spent = []
        for _ in range(frames):
            back = np.ascontiguousarray(offers[out])
            others = np.setdiff1d(rng.choice(len(offers), 2 * size, replace=False), out)
            gone = rng.permutation(others)[:size]
            spent.append(
                self.apply(records.OFFER, back, 0, 0)
                + self.apply(records.OFFER_CANCEL, _cancels(offers[gone]), 0, 0)
            )
            out = gone
        self.apply(records.OFFER, np.ascontiguousarray(offers[out]), 0, 0)
        return _rate(spent, size)

    def mixed(self, frames: Frames, offers: Array, rng: np.random.Generator) -> float:
        """Return operations/s of a stream of frames of bids and of refreshes in turn, one to one."""
        spent = []
        for buyer, batch in frames:
            reports = refresh_frame(self.market, offers, FRAME, rng)
            spent.append(
                self.apply(records.BID, batch, buyer, FRAME_NS)
                + self.apply(records.REFRESH, reports, 0, 0)
            )
        return _rate(spent, 2 * FRAME)


def refresh_frame(market: Market, offers: Array, count: int, rng: np.random.Generator) -> Array:
    """Draw offers that report: what they had, the latest fills seen but for some still on their way."""
    drawn = offers[rng.integers(0, len(offers), count)]
    batch = np.zeros(count, records.REFRESH_RECORD)
    for name in ("site", "offer", "slots", "prefill_ns_per_token", "ttl_us"):
        batch[name] = drawn[name]
    batch["ttft_us"] = rng.integers(1_000, 9_000, count)
    batch["tokens_per_second"] = rng.integers(20, 200, count)
    made = market.fills_made(batch["site"], batch["offer"])
    batch["fills_seen"] = np.maximum(made - rng.integers(0, 2, count), 0)
    return batch


def memory(workload: Workload, market: Market) -> dict[str, float]:
    """Return what the core keeps per standing offer, and reads of one that it judges.

    `bytes_per_offer`: all tables of this market less all tables of the same market without offers,
    whole, with what they have in reserve: rows, names, index, place among expiries. What is scratch is
    left out. `bytes_per_candidate`: what the search reads of an offer that its bitmaps let through: its
    place on the shelf and its asks.
    """
    without, _ = replace(workload, offers=workload.offers[:0]).open()
    kept = _bytes(market) - _bytes(without)
    found = {"bytes_per_offer": round(kept / market.counts()["offers"], 1)}
    on_shelf = sum(Columns()[at].itemsize for at in (k.SHELF_SITES, k.SHELF_OFFERS))
    return found | {"bytes_per_candidate": 8 * k.ASK_ROW + on_shelf}


def _bytes(market: Market) -> int:
    return sum(t.nbytes for t in market.snapshot().values() if isinstance(t, np.ndarray))


def _cancels(offers: Array) -> Array:
    batch = np.zeros(len(offers), records.OFFER_CANCEL_RECORD)
    batch["site"], batch["offer"] = offers["site"], offers["offer"]
    return batch


def _parts(frames: Frames) -> list[Frames]:
    size = max(1, len(frames) // ROUNDS)
    return [
        frames[first : first + size] for first in range(0, size * min(ROUNDS, len(frames)), size)
    ]


def _rate(spent: list[float], operations: int) -> float:
    """Return operations per second of the median round."""
    rounds = np.array_split(np.array(spent), min(ROUNDS, len(spent)))
    return float(np.median([operations * len(each) / each.sum() for each in rounds]))
