"""What bids get: one result as an object, many as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from schemas import lists, records
from schemas.channel import RefusedError, RejectedError
from schemas.commands import Site
from schemas.reasons import NAME_OF_NO_FILL, NAME_OF_REFUSED, NAME_OF_REJECTED, REJECTED


@dataclass(frozen=True, slots=True)
class Fill:
    """One slot that was bought: what it is, what it costs, and how to use it.

    `token` admits one request of at most `tokens_in` and `tokens_out` tokens at `endpoint`, whose
    certificate has the SHA-256 `endpoint_sha256`, until `lease_until_ns` less two seconds. Prices in
    nano-dollars, times in nanoseconds since the Unix epoch by the exchange's clock.
    """

    fill: int
    bid: int
    unit: int
    operator: str
    site: str
    offer: int
    model: str
    hardware: str
    precision: str
    contract: str
    tier: str
    tokens_in: int
    tokens_out: int
    price_nusd: int
    contested: bool
    cold: bool
    resting: bool
    latency_us: int
    at_ns: int
    lease_until_ns: int
    token: bytes = field(repr=False)  # whoever reads it in a log could use it
    endpoint: str
    endpoint_sha256: str

    @property
    def usd_per_million_tokens(self) -> float:
        """The price per million declared tokens, for people."""
        tokens = self.tokens_in + self.tokens_out
        return self.price_nusd / 1000 / tokens if tokens else 0.0


class BidResult(NamedTuple):
    """What became of one bid. `reason` is "" unless units ended unfilled, or it was turned away.

    `refused`: it never reached the market, or the market rejected it; it used no bid number.
    """

    bid: int
    fills: tuple[Fill, ...]
    resting: int
    ended: int
    reason: str
    refused: bool

    @property
    def fill(self) -> Fill:
        """The first fill.

        Raises:
            UnfilledError: there is none.
        """
        if self.fills:
            return self.fills[0]
        raise UnfilledError(self)


class UnfilledError(Exception):
    """A bid got nothing: `result.reason` says how far the nearest offer came (MARKET.md §7)."""

    def __init__(self, result: BidResult) -> None:
        what = "rests" if result.resting else result.reason or "nothing"
        super().__init__(f"bid {result.bid} got no fill: {what}")
        self.result = result


@dataclass(frozen=True, slots=True)
class BidsResult:
    """What became of many bids, as arrays: no object per bid.

    `bids` u64[n] the numbers used, `statuses` STATUS_RECORD[n] beside them, `fills` FILL_RECORD[m] of
    all of them in order. Where `unknown` (bool[n]) is set the answer was lost: query the bid.
    """

    bids: np.ndarray
    statuses: np.ndarray
    fills: np.ndarray
    unknown: np.ndarray

    @property
    def bid_of_fill(self) -> np.ndarray:
        """For each fill the position of its bid: intp[m]."""
        return np.repeat(np.arange(len(self.statuses)), self.statuses["fills"])

    def reasons(self) -> dict[str, int]:
        """Count why units ended unfilled and bids were turned away, by name."""
        counts: dict[str, int] = {}
        ended = self.statuses[self.statuses["ended"] > 0]
        for number in np.unique(ended["reason"]).tolist():
            units = int(ended["ended"][ended["reason"] == number].sum())
            counts[NAME_OF_NO_FILL.get(number, str(number))] = units
        codes, how_many = np.unique(
            self.statuses["code"][self.statuses["code"] > 0], return_counts=True
        )
        for number, count in zip(codes.tolist(), how_many.tolist(), strict=True):
            counts[code_name(number)] = counts.get(code_name(number), 0) + count
        return counts


def code_name(code: int) -> str:
    """Return the name of a STATUS code: of a refusal (100–199) or a rejection (200–299)."""
    return NAME_OF_REFUSED.get(code) or NAME_OF_REJECTED.get(code) or str(code)


def bid_records(count: int) -> np.ndarray:
    """Return BID_RECORD[count] with the market's defaults: quantity 1, a lease of 5 s, the
    campaign's budget and price. To fill in: campaign, origin (handles), tokens_in, tokens_out.
    """
    batch = np.zeros(count, records.BID_RECORD)
    batch["quantity"] = 1
    batch["lease_us"] = 5_000_000
    batch["latency_budget_us"] = records.NONE_U32
    batch["max_price"] = records.NONE_U64
    return batch


def frame_bounds(quantities: np.ndarray, records_max: int, units_max: int) -> list[tuple[int, int]]:
    """Return [start, end) of frames of at most so many records and units, in order.

    Raises:
        ValueError: one record alone has more units than a frame may carry.
    """
    count = len(quantities)
    units = np.concatenate(([0], np.cumsum(quantities.astype(np.int64))))
    bounds = []
    start = 0
    while start < count:
        by_units = int(np.searchsorted(units, units[start] + units_max, side="right")) - 1
        end = min(count, start + records_max, by_units)
        if end == start:
            raise ValueError(f"bid {start} of the batch has more than {units_max} units")
        bounds.append((start, end))
        start = end
    return bounds


def fill_from(row: Mapping[str, Any], token: bytes, operator: str, model: str, site: Site) -> Fill:
    """Return a FILL record, as plain values by field, as an object, with what its handles stand for."""
    return Fill(
        fill=row["fill"], bid=row["bid"], unit=row["unit"], operator=operator, site=site.site,
        offer=row["offer"], model=model, hardware=lists.HARDWARE[row["hardware"]],
        precision=lists.PRECISIONS[row["precision"]], contract=lists.CONTRACTS[row["contract"]],
        tier=lists.TIERS[row["tier"]], tokens_in=row["tokens_in"], tokens_out=row["tokens_out"],
        price_nusd=row["price"], contested=bool(row["contested"]), cold=bool(row["cold"]),
        resting=bool(row["resting"]), latency_us=row["latency_us"], at_ns=row["at"],
        lease_until_ns=row["lease_until"], token=token, endpoint=site.endpoint,
        endpoint_sha256=site.endpoint_sha256,
    )  # fmt: skip


def accepted(status: np.void, *answers_no: int) -> bool:
    """Tell whether a command was accepted; codes in `answers_no` say no, others raise."""
    code = int(status["code"])
    if code == 0:
        return True
    if code in answers_no:
        return False
    if code in REJECTED.values():
        raise RejectedError(code, "")
    raise RefusedError(code, "")
