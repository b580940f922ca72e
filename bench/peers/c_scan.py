"""C, split by model: `c_scan.c` over columns of one model's offers."""

from typing import Any

import numpy as np

from bench.peers.book import Answer, Array, Book, Question
from bench.peers.c_source import build, call

# The words of `question_t`, all int64.
QUESTION = np.dtype(
    [(name, "<i8") for name in (
        "campaign", "buyer", "origin", "tokens_in", "tokens_out", "lease_us", "budget_us", "max_price",
        "time_value", "capabilities", "hardware", "precisions", "contracts", "speed", "accept_cold",
        "count",
    )] + [(name, "<i8", (4,)) for name in ("model", "markdown", "card")]
)  # fmt: skip

# The words of `terms_t`: a cache line.
TERMS = np.dtype(
    [(name, "<i8") for name in (
        "ask_in", "ask_out", "ask_second", "prefill_ns_per_token", "priority",
    )] + [(name, "<i4") for name in ("cold_start_us", "deal", "owner")] + [("unused", "<i4", (3,))]
)  # fmt: skip
assert TERMS.itemsize == 64


def _lines(count: int) -> Array:
    """Return TERMS[count] of zeros that begins where a cache line does."""
    memory = np.zeros((count + 1) * TERMS.itemsize, np.uint8)
    skip = -memory.ctypes.data % TERMS.itemsize
    return memory[skip : skip + count * TERMS.itemsize].view(TERMS)


def _and_eight_more(column: Array) -> Array:
    """Return the column with room for a vector that begins at its last row."""
    return np.concatenate([column, np.zeros(8, column.dtype)])


def pack(questions: list[Question]) -> Array:
    """Return questions as the C struct's array."""
    packed = np.zeros(len(questions), QUESTION)
    for place, question in enumerate(questions):
        rules, into = question.rules, packed[place]
        for name in (
            "buyer",
            "origin",
            "tokens_in",
            "tokens_out",
            "lease_us",
            "budget_us",
            "max_price",
        ):
            into[name] = getattr(question, name)
        for name in (
            "campaign", "time_value", "capabilities", "hardware", "precisions", "contracts", "speed",
        ):  # fmt: skip
            into[name] = getattr(rules, name)
        into["accept_cold"], into["count"] = rules.cold, len(rules.models)
        for at, (model, markdown) in enumerate(rules.models):
            into["model"][at], into["markdown"][at] = model, markdown
            into["card"][at] = question.cards[at]
    return packed


class ScanPeer:
    """Answer questions by the compiled scan; Skipped without a compiler. `ns`: time of each answer."""

    def __init__(self, book: Book) -> None:
        self._library = build("c_scan.c")
        self._book = book
        offers = book.offers
        one = np.int64(1)
        first = one << offers["hardware"]
        first |= (offers["available"] < 1).astype(np.int64) << 29
        first |= (offers["cold_start_us"] > 0).astype(np.int64) << 30
        second = ~offers["capabilities"] & 255
        second |= one << (8 + offers["precision"]) | one << (16 + offers["contract"])
        narrow = [
            _and_eight_more(column.astype(np.uint32))
            for column in (
                first, second, offers["context_limit"], offers["tokens_per_second"], offers["site"],
                offers["ttft_us"],
            )
        ]  # fmt: skip
        # What a float loses of an ask is far below the margin that c_scan.c leaves.
        narrow += [
            _and_eight_more((offers[name] / unit).astype(np.float32))
            for name, unit in (("ask_in", 1e3), ("ask_out", 1e3), ("ask_second", 1e6))
        ]
        terms = _lines(len(offers["model"]))
        for name in terms.dtype.names or ():
            if name != "unused":
                terms[name] = offers[name]
        sites = book.admitted.shape[1]
        self._kept: list[Any] = [
            book.starts.astype(np.int64), *narrow, terms, book.path_us.astype(np.int32),
            book.admitted.astype(np.uint8), book.deal_buyers.astype(np.uint8),
        ]  # fmt: skip
        scratch = np.zeros(sites, np.int32)
        self._words = np.array(
            [each.ctypes.data for each in self._kept]
            + [sites, book.deal_buyers.shape[1], int(offers["deal"].any()), scratch.ctypes.data],
            np.int64,
        )
        self._kept.append(scratch)
        self.ns = np.zeros(0, np.int64)
        self.seconds = 0.0

    def answers(self, questions: list[Question], *, timed: bool = False) -> list[Answer]:
        """Answer them in one call from Python; without `timed` also stamp every answer into `ns`."""
        packed = pack(questions)
        found = np.zeros((len(questions), 2), np.int64)
        if not timed:
            self.ns = np.zeros(len(questions), np.int64)
        stamps = 0 if timed else self.ns
        self.seconds = call(self._library, self._words, packed, len(questions), found, stamps)
        site, offer = self._book.offers["site"], self._book.offers["offer"]
        return [
            Answer(int(site[row]), int(offer[row]), price) if row >= 0 else Answer()
            for row, price in found.tolist()
        ]

    def close(self) -> None:
        """Nothing is held."""
