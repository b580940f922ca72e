"""The ledger by its plain definition: one event at a time, Python integers, dictionaries.

`rows.py` computes the same with columns and writes it; this says what must be there, for `verify`.
Handles stand for names in both; all of it is keyed as the tables are.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from exchange.follower.event_files import ROLE_BUYER, Batch
from exchange.ledger.accounts import (
    AVAILABLE,
    BALANCE,
    FEES,
    HELD,
    OF_THE_EXCHANGE,
    OUTSIDE,
    SPAN_BITS,
    STEP,
    WITHHELD,
)
from matching_core import event_rows as er
from schemas.records import EVENT_TYPES

Fact = tuple[Any, ...]

# The columns of each table in the order in which facts have them.
FILL_COLUMNS: Final = (
    "seq", "index", "fill", "at_ns", "buyer", "agent", "bid", "unit", "operator", "site", "offer",
    "ordinal", "model", "campaign", "origin", "adapter", "tokens_in", "tokens_out", "price", "cost",
    "score", "latency_us", "lease_until", "rival_score", "has_rival", "hardware", "precision",
    "contract", "tier", "band", "contested", "cold", "resting", "country",
)  # fmt: skip
SETTLEMENT_COLUMNS: Final = (
    "seq", "index", "fill", "at_ns", "outcome", "reason", "buyer", "operator", "price", "paid",
    "fee", "earned", "withheld", "refund",
)  # fmt: skip
DISPUTE_COLUMNS: Final = (
    "seq", "index", "fill", "at_ns", "buyer", "operator", "buyer_figure", "operator_figure",
)  # fmt: skip
TRANSFER_COLUMNS: Final = ("seq", "at_ns", "role", "member", "transfer", "amount")


class Fold:
    """What the ledger must hold after the batches that were added."""

    def __init__(self) -> None:
        self.accounts: dict[int, int] = dict.fromkeys(OF_THE_EXCHANGE, 0)
        self.postings: dict[int, dict[tuple[int, int], int]] = {}  # by span
        self.participants: dict[tuple[str, int], Fact] = {}
        self.names: dict[tuple[str, int], Fact] = {}
        self.facts: dict[str, list[Fact]] = {}
        self.drop_facts()

    def drop_facts(self) -> None:
        """Forget fills, settlements, disputes and transfers: they were compared."""
        self.facts = {"fills": [], "settlements": [], "disputes": [], "transfers": []}

    def add(self, batch: Batch) -> None:
        """Fold one batch."""
        for name in batch.names:
            if name.kind in {"buyer", "operator"}:
                self.participants[name.kind, name.handle] = (name.name, name.group, name.seq)
                for kind in (AVAILABLE, HELD) if name.kind == "buyer" else (BALANCE,):
                    self.accounts.setdefault(name.handle * STEP + kind, 0)
            else:
                self.names[name.kind, name.handle] = (
                    name.name, name.owner, name.country, name.tier, name.seq
                )  # fmt: skip
        for seq, at, role, member, transfer, amount in batch.money.tolist():
            word = "buyer" if role == ROLE_BUYER else "operator"
            self.facts["transfers"].append((seq, at, word, member, transfer, amount))
            own = member * STEP + (AVAILABLE if role == ROLE_BUYER else BALANCE)
            self._move(seq, OUTSIDE, own, amount)
        columns = batch.events.dtype.names or ()
        for row in batch.events.tolist():
            event = dict(zip(columns, row, strict=True))
            happened = _HAPPENED.get(EVENT_TYPES[event["type"]])
            if happened is not None:
                happened(self, event)

    def _move(self, seq: int, giver: int, taker: int, amount: int) -> None:
        """Move n$ (negative: the other way); moving nothing touches nothing."""
        if amount == 0:
            return
        self.accounts[giver] -= amount
        self.accounts[taker] += amount
        pairs = self.postings.setdefault(seq >> SPAN_BITS, {})
        pairs[taker, giver] = pairs.get((taker, giver), 0) + amount
        pairs[giver, taker] = pairs.get((giver, taker), 0) - amount

    def _fill(self, event: dict[str, int]) -> None:
        bits = event["attributes"]
        self.facts["fills"].append((
            event["seq"], event["index"], event["fill"], event["at"],
            *(event[name] for name in FILL_COLUMNS[4:23]),
            event["rival_score"], bool(bits >> er.RIVAL_BIT & 1),
            bits >> er.HARDWARE_SHIFT & 255, bits >> er.PRECISION_SHIFT & 255,
            bits >> er.CONTRACT_SHIFT & 255, bits >> er.TIER_SHIFT & 255,
            bits >> er.BAND_SHIFT & 15, bool(bits >> er.CONTESTED_BIT & 1),
            bool(bits >> er.COLD_BIT & 1), bool(bits >> er.RESTING_BIT & 1),
            er.country_name(bits >> er.COUNTRY_SHIFT & 0xFFFF) or "--",
        ))  # fmt: skip
        buyer = event["buyer"] * STEP
        self._move(event["seq"], buyer + AVAILABLE, buyer + HELD, event["price"])

    def _settled(self, event: dict[str, int]) -> None:
        self._end(
            event, event["reason"], event["paid"], event["cost"], event["earned"], event["score"]
        )

    def _released(self, event: dict[str, int]) -> None:
        self._end(event, 0, event["paid"], 0, 0, event["paid"])

    def _declined(self, event: dict[str, int]) -> None:
        self._end(event, event["reason"], 0, 0, 0, 0)

    def _end(
        self, event: dict[str, int], reason: int, paid: int, fee: int, earned: int, withheld: int
    ) -> None:
        seq, price = event["seq"], event["price"]
        refund = price - paid
        self.facts["settlements"].append((
            seq, event["index"], event["fill"], event["at"], event["type"], reason, event["buyer"],
            event["operator"], price, paid, fee, earned, withheld, refund,
        ))  # fmt: skip
        buyer = event["buyer"] * STEP
        for taker, amount in (
            (buyer + AVAILABLE, refund),
            (event["operator"] * STEP + BALANCE, earned),
            (FEES, fee),
            (WITHHELD, withheld),
        ):
            self._move(seq, buyer + HELD, taker, amount)

    def _disputed(self, event: dict[str, int]) -> None:
        self.facts["disputes"].append((
            event["seq"], event["index"], event["fill"], event["at"], event["buyer"],
            event["operator"], event["cost"], event["score"],
        ))  # fmt: skip


_HAPPENED: Final[dict[str, Callable[[Fold, dict[str, int]], None]]] = {
    "fill": Fold._fill,  # noqa: SLF001  # its own table
    "settled": Fold._settled,  # noqa: SLF001
    "released": Fold._released,  # noqa: SLF001
    "declined": Fold._declined,  # noqa: SLF001
    "disputed": Fold._disputed,  # noqa: SLF001
}


def core_accounts(rows: Iterable[tuple[Any, ...]]) -> dict[str, dict[str, int]]:
    """Return what the core itself says of everybody's money, from the rows of its digest.

    What units at rest hold is counted as available: the ledger posts what changed hands.
    """
    available: dict[str, int] = {}
    held: dict[str, int] = {}
    balance: dict[str, int] = {}
    exchange: dict[str, int] = {}
    for kind, *row in rows:
        match kind:
            case "money":
                exchange = {"fees": row[0], "withheld": row[1], "outside": -row[2]}
            case "operator":
                balance[row[0]] = row[3]
            case "buyer":
                available[row[0]] = row[2]
                held[row[0]] = 0
            case "rest":
                available[row[0]] += row[11] * row[12]  # max_price × units_left
            case "open":
                held[row[1]] += row[9]
            case _:
                pass
    return {"available": available, "held": held, "balance": balance, "": exchange}
