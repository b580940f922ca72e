"""Who sees what of an event: one table, applied to whole batches (MARKET.md §8, end).

Each (type, role) names the fields of EVENT_RECORD that its copy carries; all others are zero. What
is not named is not copied, so a new column is secret until somebody writes it here. Besides these
a copy always says where it stands: seq, index, type, at. Nobody's copy has cost, score or value:
EVENT_RECORD has no such field.

Why what is left out is left out:
- fill, buyer: the rival's score only when contested (`rival_score` below): an uncontested one would
  tell an ask that decided nothing.
- fill, operator: neither rival nor token (it would serve itself), nor the buyer's names for things:
  `bid`, `agent`, `unit` and `campaign` number one buyer's requests, which is that buyer's trade.
- disputed: each side its own figure: the other's is how far one may overstate next time.
- settled: what the buyer paid beyond the operator's part (withheld) is between it and the exchange;
  what the exchange took of the part (fee) is between it and the operator.
- released: the rent is the buyer's matter; the operator learns that the slot is free.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exchange.sealer import Sealer
from matching_core import event_rows as er
from schemas.records import EVENT_RECORD, EVENT_TYPES
from schemas.token import TokenMaker

BUYER: Final = "buyer"
OPERATOR: Final = "operator"
ROLES: Final = (BUYER, OPERATOR)
ALWAYS: Final = ("seq", "index", "type", "at")

_BOUGHT: Final = (
    "fill", "lease_until", "price", "ordinal", "operator", "site", "offer", "model", "origin",
    "adapter", "tokens_in", "tokens_out", "latency_us", "hardware", "precision", "contract", "tier",
    "contested", "cold", "resting",
)  # fmt: skip
_OF_BID: Final = ("bid", "agent")
_BUYERS_FILL: Final = ("fill", "bid", "agent", "unit", "operator", "site", "offer", "price")
_OPERATORS_FILL: Final = ("fill", "operator", "site", "offer", "ordinal", "price")
# A rejected command's copy goes to whoever gave it and to nobody else; it names what it named.
_GIVEN: Final = ("command", "reason", "agent", "bid", "fill", "site", "offer")

VIEWS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("fill", BUYER): (*_BOUGHT, *_OF_BID, "unit", "campaign", "rival_score", "token"),
    ("fill", OPERATOR): _BOUGHT,
    ("resting", BUYER): (*_OF_BID, "campaign", "quantity"),
    ("unfilled", BUYER): (*_OF_BID, "campaign", "quantity", "reason"),
    ("rejected", BUYER): _GIVEN,
    ("rejected", OPERATOR): _GIVEN,
    ("offer_expired", OPERATOR): ("operator", "site", "offer"),
    ("releasing", BUYER): (*_BUYERS_FILL, "lease_until"),
    ("releasing", OPERATOR): (*_OPERATORS_FILL, "lease_until"),
    ("released", BUYER): (*_BUYERS_FILL, "paid", "refund"),
    ("released", OPERATOR): _OPERATORS_FILL,
    ("declined", BUYER): (*_BUYERS_FILL, "reason"),
    ("declined", OPERATOR): (*_OPERATORS_FILL, "reason"),
    ("disputed", BUYER): (*_BUYERS_FILL, "figure"),
    ("disputed", OPERATOR): (*_OPERATORS_FILL, "figure"),
    ("settled", BUYER): (*_BUYERS_FILL, "paid", "refund", "withheld", "by"),
    ("settled", OPERATOR): (*_OPERATORS_FILL, "fee", "earned", "by"),
}

_PACKED: Final = {
    "hardware": (er.HARDWARE_SHIFT, 255),
    "precision": (er.PRECISION_SHIFT, 255),
    "contract": (er.CONTRACT_SHIFT, 255),
    "tier": (er.TIER_SHIFT, 255),
    "contested": (er.CONTESTED_BIT, 1),
    "cold": (er.COLD_BIT, 1),
    "resting": (er.RESTING_BIT, 1),
}
# Where a field stands in the core's row when that is not the column of its name (event_rows.py).
_COLUMN: Final = {"by": "reason", "fee": "cost", "withheld": "score"}
_FIGURE: Final = {BUYER: "cost", OPERATOR: "score"}


class Copies(NamedTuple):
    """One role's copies of a batch, in order of (seq, index)."""

    member: NDArray[np.int64]  # handle of whose copy it is
    records: NDArray[np.void]  # EVENT_RECORD[n]


def copies(rows: NDArray[np.void], role: str, tokens: TokenMaker | Sealer) -> Copies:
    """Return the copies that members of one role get of rows `EVENT_ROW[n]`."""
    records = np.zeros(len(rows), EVENT_RECORD)
    member = np.zeros(len(rows), np.int64)
    types = rows["type"]
    for number in np.unique(types).tolist():
        fields = VIEWS.get((EVENT_TYPES[number], role))
        if fields is None:
            continue
        chosen = np.flatnonzero((types == number) & (rows[role] > 0))
        if len(chosen) == 0:
            continue
        own = rows[chosen]
        member[chosen] = own[role]
        part = np.zeros(len(chosen), EVENT_RECORD)
        for field in (*ALWAYS, *fields):
            part[field] = _value(own, field, role, tokens)
        records[chosen] = part
    mine = member > 0
    return Copies(member[mine], records[mine])


def _value(
    rows: NDArray[np.void], field: str, role: str, tokens: TokenMaker | Sealer
) -> NDArray[np.int64]:
    if field == "token":
        return np.asarray(tokens.make_all(rows))
    if field in _PACKED:
        shift, mask = _PACKED[field]
        return np.asarray((rows["attributes"] >> shift) & mask)
    if field == "rival_score":
        return np.asarray(rows["rival_score"] * ((rows["attributes"] >> er.CONTESTED_BIT) & 1))
    if field == "figure":
        return np.asarray(rows[_FIGURE[role]])
    return np.asarray(rows[_COLUMN.get(field, field)])
