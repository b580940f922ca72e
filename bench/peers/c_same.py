"""C with the core's own index and search, on the core's own tables: `c_same.c`."""

from importlib import import_module
from typing import Any, Final

import numpy as np

from bench.peers.book import Answer, Array, Book, Question
from bench.peers.c_source import Skipped, build, call
from matching_core import columns as k
from matching_core.lines import as_lines
from matching_core.market import Market
from schemas.lists import band_of_budget

# What C writes: slots taken and who is sold out, views that were missing, which offers are fresh.
WRITTEN: Final = ("ASKS", "SHELVES", "DIRECTORY", "WORDS", "VIEWS", "VIEW_RANGES")
# Numbers that stand beside the kernels that use them, by module.
BESIDE: Final = {
    "words": ("PRECISION_BIT", "CONTRACT_BIT", "LACKS_BIT", "COLD_START", "SOLD_OUT", "NOBODY"),
    "index": ("WASTED_MAX",),
    "search": ("AHEAD", "GATHER", "FRESH"),
    "views": ("PLACE_BITS",),
    "few": ("FROM_STALL",),
    "near": ("BANDS_US",),
}  # fmt: skip


def _numbers() -> dict[str, Any]:
    """Return every number of matching_core/columns.py, and those of BESIDE.

    Raises:
        Skipped: the core has another layout than c_same.c was written for.
    """
    named = dict(vars(k))
    try:
        for module, names in BESIDE.items():
            found = import_module(f"matching_core.kernels.{module}")
            named |= {name: getattr(found, name) for name in names}
    except (ImportError, AttributeError) as why:
        raise Skipped(f"the core's layout is not that of c_same.c: {why}") from why
    return {name: value for name, value in named.items() if name.isupper() and name[0] != "_"}


def _header(named: dict[str, Any]) -> str:
    lines = [
        f"#define {name} INT64_C({value})"
        for name, value in named.items()
        if isinstance(value, int)
    ]
    lines += [
        f"#define {name} {{{', '.join(map(str, value))}}}"
        for name, value in named.items()
        if name == "BANDS_US"
    ]
    return "\n".join(["#include <stdint.h>", *lines])


class SamePeer:
    """Answer questions with the core's algorithm in C; Skipped without a compiler.

    It reads the market's tables where they stand, so no command may be applied while it lives. What
    it writes it has of its own: WRITTEN and the scalars.
    """

    def __init__(self, market: Market, book: Book) -> None:
        named = _numbers()
        self._library = build("c_same.c", _header(named))
        self._sites = market.columns.narrow(k.ASKS)[:, k.ASK_SITE]
        self._numbers = market.columns.short(k.OFFERS)[:, k.OFFER_NUMBER]
        self._s = market.columns.s.copy()
        self._kept = {named[name]: as_lines(market.columns[named[name]]) for name in WRITTEN}
        for at, table in self._kept.items():
            self._s[at] = table.ctypes.data
        self.ns = np.zeros(0, np.int64)
        self.seconds = 0.0

    def answers(self, questions: list[Question], *, timed: bool = False) -> list[Answer]:
        """Answer them in one call from Python.

        `timed`: take the winners' slots, as the core does; without it the book rests, and every answer
        is stamped into `ns`.
        """
        bids = self._bids(questions)
        found = np.zeros((len(questions), 2), np.int64)
        if not timed:
            self.ns = np.zeros(len(questions), np.int64)
        stamps = 0 if timed else self.ns
        self.seconds = call(self._library, self._s, bids, len(questions), found, stamps, int(timed))
        sites, numbers = self._sites, self._numbers
        return [
            Answer(int(sites[row]), int(numbers[row]), price)
            if row else Answer()
            for row, price in found.tolist()
        ]  # fmt: skip

    def close(self) -> None:
        """Nothing is held."""

    @staticmethod
    def _bids(questions: list[Question]) -> Array:
        bids = np.zeros((len(questions), k.REST_ROW), np.int64)
        for row, question in zip(bids, questions, strict=True):
            row[k.REST_BUYER], row[k.REST_CAMPAIGN] = question.buyer, question.rules.campaign
            row[k.REST_ORIGIN] = question.origin
            row[k.REST_TOKENS_IN], row[k.REST_TOKENS_OUT] = question.tokens_in, question.tokens_out
            row[k.REST_LEASE_US], row[k.REST_PRICE] = question.lease_us, question.max_price
            row[k.REST_BUDGET] = question.budget_us
            row[k.REST_BAND] = band_of_budget(question.budget_us)
            row[k.REST_UNITS] = 1
        return bids
