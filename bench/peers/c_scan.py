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
        bits = np.left_shift(np.int64(1), offers["precision"]) | np.left_shift(
            np.int64(256), offers["contract"]
        )
        narrow = [
            offers[name].astype(np.int32)
            for name in (
                "site", "available", "ttft_us", "context_limit", "tokens_per_second", "cold_start_us",
                "deal", "owner",
            )
        ]  # fmt: skip
        masks = [
            offers["capabilities"].astype(np.uint32),
            np.left_shift(np.int64(1), offers["hardware"]).astype(np.uint32),
            bits.astype(np.uint32),
        ]
        wide = [
            offers[name]
            for name in ("prefill_ns_per_token", "ask_in", "ask_out", "ask_second", "priority")
        ]
        sites = book.admitted.shape[1]
        self._kept: list[Any] = [
            book.starts.astype(np.int64), *narrow, *masks, *wide, book.path_us.astype(np.int32),
            book.admitted.astype(np.uint8), book.deal_buyers.astype(np.uint8),
        ]  # fmt: skip
        scratch = np.zeros(sites, np.int32)
        self._words = np.array(
            [each.ctypes.data for each in self._kept]
            + [sites, book.deal_buyers.shape[1], scratch.ctypes.data],
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
