"""What a stretch of the journal writes into the ledger: a pure function of its batches.

    fill        held     ← available   price
    settled     available, balance, fees, withheld  ← held    refund, earned, fee, withheld
    released    withheld, available   ← held   paid (the rent), refund
    declined    available ← held      price
    deposit     available or balance  ← outside;   a withdrawal the other way

Flows are netted per span of 65,536 commands and pair of accounts before they are written, so the
ledger grows with the pairs that deal with each other and not with the requests they deal in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exchange.follower.event_files import ROLE_BUYER, Batch, NameRow
from exchange.ledger import accounts as ac
from exchange.ledger.copying import Table, dates
from matching_core import event_rows as er
from schemas.records import EVENT_TYPES

FILL: Final = EVENT_TYPES.index("fill")
RELEASED: Final = EVENT_TYPES.index("released")
DECLINED: Final = EVENT_TYPES.index("declined")
DISPUTED: Final = EVENT_TYPES.index("disputed")
SETTLED: Final = EVENT_TYPES.index("settled")
MEMBER_KINDS: Final = ("buyer", "operator")

_EVENT: Final = (("market", "bigint"), ("fill", "bigint"), ("seq", "bigint"), ("index", "integer"),
                 ("at_ns", "bigint"))  # fmt: skip
_OF_FILL: Final = (
    ("buyer", "bigint"), ("agent", "integer"), ("bid", "bigint"), ("unit", "integer"),
    ("operator", "bigint"), ("site", "bigint"), ("offer", "integer"), ("ordinal", "bigint"),
    ("model", "bigint"), ("campaign", "bigint"), ("origin", "bigint"), ("adapter", "bigint"),
    ("tokens_in", "integer"), ("tokens_out", "integer"), ("price", "bigint"), ("cost", "bigint"),
    ("score", "bigint"), ("rival_score", "bigint"), ("latency_us", "bigint"),
    ("lease_until", "bigint"),
)  # fmt: skip
# Packed in `attributes`: (column, type, shift, mask).
_PACKED: Final = (
    ("hardware", "smallint", er.HARDWARE_SHIFT, 255),
    ("precision", "smallint", er.PRECISION_SHIFT, 255),
    ("contract", "smallint", er.CONTRACT_SHIFT, 255),
    ("tier", "smallint", er.TIER_SHIFT, 255),
    ("band", "smallint", er.BAND_SHIFT, 15),
    ("contested", "boolean", er.CONTESTED_BIT, 1),
    ("cold", "boolean", er.COLD_BIT, 1),
    ("resting", "boolean", er.RESTING_BIT, 1),
    ("has_rival", "boolean", er.RIVAL_BIT, 1),
)
FILLS: Final = Table(
    "curb.fills",
    (*_EVENT, ("day", "date"), *_OF_FILL, *((name, kind) for name, kind, _, _ in _PACKED),
     ("country", "text")),
)  # fmt: skip
_MEMBERS: Final = (("buyer", "bigint"), ("operator", "bigint"))
_MONEY: Final = ("price", "paid", "fee", "earned", "withheld", "refund")
SETTLEMENTS: Final = Table(
    "curb.settlements",
    (*_EVENT, ("day", "date"), ("outcome", "smallint"), ("reason", "smallint"), *_MEMBERS,
     *((name, "bigint") for name in _MONEY)),
)  # fmt: skip
DISPUTES: Final = Table(
    "curb.disputes",
    (*_EVENT, *_MEMBERS, ("buyer_figure", "bigint"), ("operator_figure", "bigint")),
)

# Two letters of every country's number, '--' for unknown.
_COUNTRIES: Final = np.array(
    [(er.country_name(number) or "--").encode() for number in range(677)], "S2"
)


class Posting(NamedTuple):
    """What `account` gained from `counter` in a span, in n$."""

    span: int
    account: int
    counter: int
    amount: int


class Transfer(NamedTuple):
    """A deposit, or (negative) a withdrawal."""

    seq: int
    at_ns: int
    role: str
    member: int
    transfer: int
    amount: int


@dataclass(frozen=True, slots=True)
class LedgerRows:
    """All rows that a stretch of the journal adds."""

    names: list[NameRow]  # the last one per kind and handle
    transfers: list[Transfer]
    fills: NDArray[np.void]
    settlements: NDArray[np.void]
    disputes: NDArray[np.void]
    postings: list[Posting]  # both sides of every pair
    balances: list[tuple[int, int]]  # account, what it gained

    @property
    def days(self) -> list[int]:
        """Days (as PostgreSQL counts them) that fills or settlements fall on."""
        both = np.concatenate([self.fills["day"], self.settlements["day"]])
        return [int(day) for day in np.unique(both)]


def ledger_rows(market: int, batches: Sequence[Batch]) -> LedgerRows:
    """Return what the batches (in order, nothing of them written yet) add to a market's ledger."""
    events = np.concatenate([batch.events for batch in batches])
    money = np.concatenate([batch.money for batch in batches])
    newest = {(row.kind, row.handle): row for batch in batches for row in batch.names}
    postings, balances = net(flows(events, money))
    return LedgerRows(
        names=list(newest.values()),
        transfers=[
            Transfer(seq, at, MEMBER_KINDS[role - 1], member, transfer, amount)
            for seq, at, role, member, transfer, amount in money.tolist()
        ],
        fills=_fills(market, events[events["type"] == FILL]),
        settlements=_settlements(market, events),
        disputes=_disputes(market, events[events["type"] == DISPUTED]),
        postings=postings,
        balances=balances,
    )


# ----------------------------------------------------------------------------- what happened
def _common(table: Table, market: int, events: NDArray[np.void]) -> NDArray[np.void]:
    rows = table.rows(len(events))
    rows["market"] = market
    for name in ("fill", "seq", "index", "buyer", "operator"):
        rows[name] = events[name]
    rows["at_ns"] = events["at"]
    if "day" in (table.dtype.names or ()):
        rows["day"] = dates(events["at"])
    return rows


def _fills(market: int, events: NDArray[np.void]) -> NDArray[np.void]:
    rows = _common(FILLS, market, events)
    for name, _ in _OF_FILL:
        rows[name] = events[name]
    attributes = events["attributes"]
    for name, _, shift, mask in _PACKED:
        rows[name] = (attributes >> shift) & mask
    rows["country"] = _COUNTRIES[(attributes >> er.COUNTRY_SHIFT) & 0xFFFF]
    return rows


def _settlements(market: int, events: NDArray[np.void]) -> NDArray[np.void]:
    kinds = events["type"]
    ended = events[(kinds == SETTLED) | (kinds == RELEASED) | (kinds == DECLINED)]
    rows = _common(SETTLEMENTS, market, ended)
    kinds = ended["type"]
    rows["outcome"] = kinds
    rows["reason"] = np.where(kinds == RELEASED, 0, ended["reason"])
    for name, column in zip(_MONEY, _amounts(ended), strict=True):
        rows[name] = column
    return rows


def _disputes(market: int, events: NDArray[np.void]) -> NDArray[np.void]:
    rows = _common(DISPUTES, market, events)
    rows["buyer_figure"] = events["cost"]
    rows["operator_figure"] = events["score"]
    return rows


def _amounts(ended: NDArray[np.void]) -> tuple[NDArray[np.int64], ...]:
    """Return price, paid, fee, earned, withheld, refund of fills that ended (MARKET.md §8)."""
    settled = ended["type"] == SETTLED
    declined = ended["type"] == DECLINED
    price = ended["price"]
    paid = np.where(declined, 0, ended["paid"])
    fee = np.where(settled, ended["cost"], 0)  # event_rows: a second meaning of two columns
    earned = np.where(settled, ended["earned"], 0)
    withheld = np.where(settled, ended["score"], paid)  # a released fill's rent
    return price, paid, fee, earned, withheld, price - paid


# ----------------------------------------------------------------------------- what moved
class Flows(NamedTuple):
    """Money that moved: `amount` n$ from `giver` to `taker` by command `seq`."""

    seq: NDArray[np.int64]
    giver: NDArray[np.int64]
    taker: NDArray[np.int64]
    amount: NDArray[np.int64]


def flows(events: NDArray[np.void], money: NDArray[np.void]) -> Flows:
    """Return every movement of money in events and transfers; what moves nothing is left out."""
    parts: list[Flows] = []

    def add(rows: NDArray[np.void], giver: ArrayLike, taker: ArrayLike, amount: ArrayLike) -> None:
        columns = np.broadcast_arrays(rows["seq"], giver, taker, amount)
        moved = columns[3] > 0
        parts.append(Flows(*(column[moved].astype(np.int64) for column in columns)))

    fills = events[events["type"] == FILL]
    buyer = fills["buyer"] * ac.STEP
    add(fills, buyer + ac.AVAILABLE, buyer + ac.HELD, fills["price"])

    kinds = events["type"]
    ended = events[(kinds == SETTLED) | (kinds == RELEASED) | (kinds == DECLINED)]
    _, _, fee, earned, withheld, refund = _amounts(ended)
    held = ended["buyer"] * ac.STEP + ac.HELD
    add(ended, held, ended["buyer"] * ac.STEP + ac.AVAILABLE, refund)
    add(ended, held, ended["operator"] * ac.STEP + ac.BALANCE, earned)
    add(ended, held, ac.FEES, fee)
    add(ended, held, ac.WITHHELD, withheld)

    kind = np.where(money["role"] == ROLE_BUYER, ac.AVAILABLE, ac.BALANCE)
    own = money["member"] * ac.STEP + kind
    add(money, ac.OUTSIDE, own, money["amount"])
    add(money, own, ac.OUTSIDE, -money["amount"])
    return Flows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def net(moved: Flows) -> tuple[list[Posting], list[tuple[int, int]]]:
    """Net flows per span and pair of accounts; return both sides of each, and each account's gain."""
    if len(moved.seq) == 0:
        return [], []
    low = np.minimum(moved.giver, moved.taker)
    high = np.maximum(moved.giver, moved.taker)
    span = moved.seq >> ac.SPAN_BITS
    order = np.lexsort((high, low, span))
    span, low, high = span[order], low[order], high[order]
    gained_by_low = (moved.taker == np.minimum(moved.giver, moved.taker))[order]
    amount = moved.amount[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (span[1:] != span[:-1]) | (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    starts = np.flatnonzero(new)
    # Two halves of 32 bits: their sums fit int64 for any number of rows that fits in memory, while
    # 65,536 commands could move more than 2**63 n$ around in a circle.
    sign = np.where(gained_by_low, 1, -1)
    lower = np.add.reduceat(sign * (amount & 0xFFFFFFFF), starts).tolist()
    upper = np.add.reduceat(sign * (amount >> 32), starts).tolist()
    postings: list[Posting] = []
    gains: dict[int, int] = {}
    columns = (span[starts].tolist(), low[starts].tolist(), high[starts].tolist(), lower, upper)
    for in_span, first, second, lower_sum, upper_sum in zip(*columns, strict=True):
        gain = (upper_sum << 32) + lower_sum
        postings.append(Posting(in_span, first, second, gain))
        postings.append(Posting(in_span, second, first, -gain))
        gains[first] = gains.get(first, 0) + gain
        gains[second] = gains.get(second, 0) - gain
    return postings, sorted(gains.items())
