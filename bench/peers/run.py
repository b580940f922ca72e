"""Ask the core and every peer the same questions; compare all answers; time the peers."""

import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np

from bench.peers.book import Answer, Array, Book, Question, questions
from bench.peers.c_same import SamePeer
from bench.peers.c_scan import ScanPeer
from bench.peers.c_source import Skipped
from bench.peers.databases import DuckdbPeer, PostgresPeer, SqlitePeer
from bench.peers.numpy_scan import NumpyPeer
from bench.peers.polars_frames import PolarsPeer
from bench.rates import FRAME_NS, Frames, Rates
from matching_core.event_rows import as_rows
from matching_core.market import Market
from schemas import records

_AGENT: Final = 4_000  # its bids are numbered apart from those of the workload
_FILL: Final = records.EVENT_TYPES.index("fill")
_ROUNDS: Final = 7  # of which the median counts, where a round is short enough to be disturbed
# Questions in a timed round, at most: the slow ones get as many as a few seconds hold.
ASKED: Final = {
    "c_same": 8_192, "c_scan": 4_096, "numpy": 1_024, "polars": 512, "duckdb": 256, "sqlite": 512,
    "postgres": 512,
}  # fmt: skip


class Peer(Protocol):
    """Something that answers questions on the book that it was made of."""

    def answers(self, questions: list[Question]) -> list[Answer]:
        """Answer them in order."""

    def close(self) -> None:
        """Give back what it holds."""


MAKERS: Final[dict[str, Callable[[Market, Book], Peer]]] = {
    "c_same": SamePeer,
    "c_scan": lambda _, book: ScanPeer(book),
    "numpy": lambda _, book: NumpyPeer(book),
    "polars": lambda _, book: PolarsPeer(book),
    "duckdb": lambda _, book: DuckdbPeer(book),
    "sqlite": lambda _, book: SqlitePeer(book),
    "postgres": lambda _, book: PostgresPeer(book),
}


def ask_core(market: Market, questions: list[Question]) -> list[Answer]:
    """Ask the market itself, as bids at the time it stands at; the book is afterwards as before.

    After each fill the site reports the slots that it had, with the fill accounted for: so every
    question meets the same book. Money stays held and the fills stay open, which no answer depends on.
    """
    book = market.book()
    keys = book["site"] << 16 | book["offer"]
    order = np.argsort(keys)
    refresh = np.zeros(1, records.REFRESH_RECORD)
    answered = []
    for question in questions:
        bid = question.record.copy()
        number = market.last_bid(question.buyer, _AGENT) + 1
        bid["bid"] = number
        rows = as_rows(
            market.apply_frame(records.BID, bid, question.buyer, _AGENT, market.at_ns)
        ).copy()
        fill = rows[rows["type"] == _FILL]
        if not len(fill):
            answered.append(Answer())
            continue
        site, offer = int(fill["site"][0]), int(fill["offer"][0])
        answered.append(Answer(site, offer, int(fill["price"][0])))
        place = order[np.searchsorted(keys, site << 16 | offer, sorter=order)]
        stood = book[place]
        refresh["site"], refresh["offer"] = site, offer
        refresh["fills_seen"], refresh["slots"] = fill["ordinal"][0], stood["available"]
        for name in ("ttft_us", "prefill_ns_per_token", "tokens_per_second"):
            refresh[name] = stood[name]
        refresh["ttl_us"] = (int(stood["expires_at_ns"]) - market.at_ns) // 1000
        market.apply_frame(records.REFRESH, refresh, 0, 0, market.at_ns)
    return answered


def compare(
    market: Market,
    book: Book,
    asked: list[Question],
    answers: list[Answer],
    names: tuple[str, ...],
    share: float,
) -> dict[str, dict[str, Any]]:
    """Return per peer its rate, or why it was skipped. Every answer must be `answers`.

    `share` of ASKED is asked. Raises AssertionError at the first answer that differs.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        try:
            begun = time.perf_counter()
            peer = MAKERS[name](market, book)
        except Skipped as why:
            found[name] = {"skipped": str(why)}
            continue
        loaded = time.perf_counter() - begun
        try:
            found[name] = {
                **_time(name, peer, asked, answers, share),
                "load_s": round(loaded, 2),
            }
        finally:
            peer.close()
    return found


def _time(
    name: str, peer: Peer, questions: list[Question], answers: list[Answer], share: float
) -> dict[str, Any]:
    asked = questions[: max(16, int(ASKED[name] * share))]
    expected = answers[: len(asked)]
    given = peer.answers(asked[: len(expected)])  # also warms caches and prepares statements
    for place, (right, said) in enumerate(zip(expected, given, strict=True)):
        assert said == right, f"{name}: question {place}: {said}, the core says {right}"
    figures: dict[str, Any] = {"answers_equal": len(given)}
    if isinstance(peer, SamePeer | ScanPeer):
        seconds = []
        for _ in range(_ROUNDS):
            peer.answers(asked, timed=True)
            seconds.append(peer.seconds)
        spent = float(np.median(seconds))
    else:
        begun = time.perf_counter()
        peer.answers(asked)
        spent = time.perf_counter() - begun
    return figures | {"asked": len(asked), "auctions_per_s": round(len(asked) / spent, 1)}


def scan_latency(book: Book, questions: list[Question]) -> dict[str, Any]:
    """Return the times of single answers of the C scan, ns, as `percentiles` has them."""
    try:
        peer = ScanPeer(book)
    except Skipped as why:
        return {"skipped": str(why)}
    peer.answers(questions[:256])
    peer.answers(questions)
    return percentiles(peer.ns)


def beside_c(rates: Rates, book: Book, frames: Frames, rounds: int) -> dict[str, Any]:
    """Let the core and its C take turns on frames that each sees for the first time.

    Neither finds in the caches what it or the other has just fetched for the same bids; a third of a
    turn's frames come before those that are timed, for C begins with fresh copies of what it writes:
    it meets the market's tables as they stand at its turn. The median turn counts.
    """
    size = len(frames) // (2 * rounds)
    warm = size // 3
    core, beside = [], []
    for turn in range(rounds):
        own, other = (frames[(2 * turn + n) * size :][:size] for n in range(2))
        for buyer, batch in own[:warm]:
            rates.apply(records.BID, batch, buyer, FRAME_NS)
        before = rates.market.counts()["auctions"]
        spent = sum(rates.apply(records.BID, batch, buyer, FRAME_NS) for buyer, batch in own[warm:])
        core.append((rates.market.counts()["auctions"] - before) / spent)
        peer = SamePeer(rates.market, book)
        peer.answers(questions(rates.market, book, other[:warm]), timed=True)
        asked = questions(rates.market, book, other[warm:])
        peer.answers(asked, timed=True)
        beside.append(len(asked) / peer.seconds)
    return {
        "core_auctions_per_s": round(float(np.median(core)), 1),
        "auctions_per_s": round(float(np.median(beside)), 1),
    }


def percentiles(ns: Array) -> dict[str, int]:
    """Return the latencies that are reported of one auction each, in ns."""
    return {
        f"p{name}_ns": int(np.percentile(ns, at))
        for name, at in (("50", 50), ("99", 99), ("999", 99.9))
    }
