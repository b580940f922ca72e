"""The ranges of hot records, checked in place on the bytes of a frame.

The market file's decoder checks a command by its types; a frame never becomes such an object. The
same limits therefore stand here once more, as rows of integers that one compiled loop walks over
every record: (offset, bytes, lowest, highest, "not given" allowed, code when it is wrong). A test
holds them against the Structs of `schemas.commands`, field by field.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exchange.kernels.admit import FIELD_WORDS, HIGHEST, LOWEST, check_fields
from schemas import limits, lists, records
from schemas.reasons import REFUSED

FIELD: Final = REFUSED["field"]
HANDLE: Final = REFUSED["handle"]
LEASE: Final = REFUSED["lease"]
__all__ = ["HIGHEST", "LOWEST", "RANGES", "FieldTable", "Range"]


class Range(NamedTuple):
    """What a field may be. `handle`: the kind whose highest handle is the upper bound."""

    lowest: int
    highest: int
    none: bool = False
    handle: str = ""
    code: int = FIELD


def _handle(kind: str, *, required: bool) -> Range:
    return Range(1 if required else 0, 0, handle=kind, code=HANDLE)


_SITE: Final = _handle("site", required=True)
_OFFER: Final = Range(1, limits.OFFER_MAX)
_UNIT_PRICE: Final = Range(0, limits.UNIT_PRICE_PUSD_MAX)
_LATENCY: Final = Range(0, limits.LATENCY_US_MAX)
_TOKENS: Final = Range(0, limits.TOKENS_MAX)
_NUMBER: Final = Range(1, limits.NUMBER_MAX)
_TTL: Final = Range(1, limits.TTL_US_MAX)
_REPORT: Final = {
    "fills_seen": Range(0, limits.FILLS_SEEN_MAX),
    "site": _SITE,
    "offer": _OFFER,
    "slots": Range(0, limits.SLOTS_MAX),
    "ttft_us": _LATENCY,
    "prefill_ns_per_token": Range(0, limits.PREFILL_NS_PER_TOKEN_MAX),
    "tokens_per_second": Range(0, limits.TOKENS_PER_SECOND_MAX),
    "ttl_us": _TTL,
}

# Every field of every hot command but those named `reserved`.
RANGES: Final[dict[int, dict[str, Range]]] = {
    records.OFFER: {
        **_REPORT,
        "ask_in": _UNIT_PRICE,
        "ask_out": _UNIT_PRICE,
        "ask_second": Range(0, limits.SECOND_PRICE_NUSD_MAX),
        "model": _handle("model", required=True),
        "deal": _handle("deal", required=False),
        "adapter_set": _handle("adapter_set", required=False),
        "context_limit": Range(1, limits.CONTEXT_LIMIT_MAX),
        "cold_start_us": _LATENCY,
        "adapter_load_us": _LATENCY,
        "capabilities": Range(0, 2 ** len(lists.CAPABILITIES) - 1),
        "hardware": Range(0, len(lists.HARDWARE) - 1),
        "precision": Range(0, len(lists.PRECISIONS) - 1),
        "contract": Range(0, len(lists.CONTRACTS) - 1),
    },
    records.REFRESH: _REPORT,
    records.RENEW: {"site": _SITE, "ttl_us": _TTL},
    records.OFFER_CANCEL: {"site": _SITE, "offer": _OFFER},
    records.OFFERS_CANCEL: {"site": _SITE},
    records.BID: {
        "bid": _NUMBER,
        "max_price": Range(0, limits.PRICE_NUSD_MAX, none=True),
        "campaign": _handle("campaign", required=True),
        "origin": _handle("metro", required=True),
        "origin_asn": Range(0, limits.ASN_MAX),
        "tokens_in": _TOKENS,
        "tokens_out": _TOKENS,
        "adapter": _handle("adapter", required=False),
        "rest_us": Range(0, limits.REST_US_MAX),
        "lease_us": Range(limits.WIRE_LEASE_US_MIN, limits.TTL_US_MAX, code=LEASE),
        "latency_budget_us": Range(0, limits.LATENCY_US_MAX, none=True),
        "quantity": Range(1, limits.QUANTITY_MAX),
        "flags": Range(0, records.FLAG_EXPLAIN),
    },
    records.BID_CANCEL: {"bid": _NUMBER},
    records.BIDS_CANCEL: {},
    records.START: {"fill": _NUMBER},
    records.COMPLETE: {
        "fill": _NUMBER,
        "tokens_in": _TOKENS,
        "tokens_out": _TOKENS,
        "ttft_us": _LATENCY,
    },
    records.RELEASE: {"fill": _NUMBER},
    records.DECLINE: {"fill": _NUMBER, "reason": Range(0, len(lists.DECLINE_REASONS) - 1)},
    records.RTT: {
        "site": _SITE,
        "metro": _handle("metro", required=True),
        "p99_us": Range(0, limits.LATENCY_US_MAX, none=True),
        "estimate": Range(0, 1),
    },
}


class FieldTable:
    """The ranges as the compiled loop reads them; handles' upper bounds follow the market."""

    def __init__(self) -> None:
        self._tables: dict[int, NDArray[np.int64]] = {}
        self._handles: list[tuple[NDArray[np.int64], str]] = []
        for kind, ranges in RANGES.items():
            fields = records.COMMAND_RECORDS[kind].fields
            assert fields is not None
            table = np.zeros((len(ranges), FIELD_WORDS), np.int64)
            for row, (name, span) in zip(table, ranges.items(), strict=True):
                dtype, offset = fields[name][:2]
                row[:] = offset, dtype.itemsize, span.lowest, span.highest, span.none, span.code
                if span.handle:
                    self._handles.append((row, span.handle))
            self._tables[kind] = table
        # Compiled or loaded now, not when the first frame of a session waits for it.
        self.check(records.START, np.zeros(1, records.START_RECORD))

    def set_handles(self, highest: dict[str, int]) -> None:
        """Take the highest handle given of each kind; above it a handle is unknown."""
        for row, kind in self._handles:
            row[HIGHEST] = highest.get(kind, 0)

    def table(self, kind: int) -> NDArray[np.int64]:
        """Return the ranges of a kind's fields as the kernels of exchange.kernels.admit read them."""
        return self._tables[kind]

    def check(self, kind: int, batch: np.ndarray) -> NDArray[np.int64]:
        """Return the refusal code of each record, `int64[n]`; 0 where every field is in range."""
        codes = np.zeros(len(batch), np.int64)
        octets = np.ascontiguousarray(batch).view(np.uint8).reshape(len(batch), -1)
        octets.flags.writeable = False  # as frames are: one machine code for all callers
        check_fields(octets, self._tables[kind], codes)
        return codes
