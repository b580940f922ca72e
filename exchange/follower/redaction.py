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

from exchange.kernels import copy
from exchange.sealer import Sealer
from matching_core import event_rows as er
from schemas.records import EVENT_RECORD, EVENT_TYPES, TOKEN_BYTES
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
_TOKEN: Final = "token"  # noqa: S105  # the field's name
_FILL: Final = EVENT_TYPES.index("fill")
# Which copies carry one; it is sealed, not copied.
_TOLD_TOKENS: Final = {key for key, fields in VIEWS.items() if _TOKEN in fields}
assert all(kind == EVENT_TYPES[_FILL] for kind, _ in _TOLD_TOKENS)


class Copies(NamedTuple):
    """One role's copies of a batch, by member, each member's in order of (seq, index)."""

    member: NDArray[np.int64]  # handle of whose copy it is, ascending
    records: NDArray[np.void]  # EVENT_RECORD[n]


class _Role(NamedTuple):
    """What `exchange.kernels.copy` is told of a role."""

    column: int
    spans: NDArray[np.int64]
    moves: NDArray[np.int64]


def _move(field: str, role: str) -> tuple[int, ...]:
    """Return the move that makes a field of a copy."""
    assert EVENT_RECORD.fields is not None
    dtype, offset = EVENT_RECORD.fields[field][:2]
    if field in _PACKED:
        shift, mask = _PACKED[field]
        return offset, dtype.itemsize, er.COLUMNS.index("attributes"), shift, mask, 0
    source = _FIGURE[role] if field == "figure" else _COLUMN.get(field, field)
    contested_only = int(field == "rival_score")
    column = er.COLUMNS.index(source)
    return offset, dtype.itemsize, column, 0, copy.ALL_BITS, contested_only


def _role(role: str) -> _Role:
    """Make the moves of all types from the table."""
    moves: list[tuple[int, ...]] = []
    spans = np.zeros((len(EVENT_TYPES), 2), np.int64)
    for number, kind in enumerate(EVENT_TYPES):
        fields = VIEWS.get((kind, role))
        spans[number] = len(moves)
        if fields is not None:
            moves += [_move(field, role) for field in (*ALWAYS, *fields) if field != _TOKEN]
            spans[number, 1] = len(moves)
    return _Role(er.COLUMNS.index(role), spans, np.array(moves, np.int64))


_ROLES: Final = {role: _role(role) for role in ROLES}
assert EVENT_RECORD.fields is not None
_TOKEN_OFFSET: Final = int(EVENT_RECORD.fields[_TOKEN][1])
_NO_TOKENS: Final = np.zeros((0, TOKEN_BYTES), np.uint8)


def copies(rows: NDArray[np.void], role: str, tokens: TokenMaker | Sealer) -> Copies:
    """Return the copies that members of one role get of rows `EVENT_ROW[n]`."""
    matrix = rows.view(np.int64).reshape(-1, er.EVENT_WORDS)
    column, spans, moves = _ROLES[role]
    starts = np.zeros(int(matrix[:, column].max(initial=0)) + 2, np.int64)
    count = copy.place_copies(matrix, column, spans, starts)
    made = np.zeros((count, EVENT_RECORD.itemsize), np.uint8)
    member = np.zeros(count, np.int64)
    if count:
        sealed = _NO_TOKENS
        if (EVENT_TYPES[_FILL], role) in _TOLD_TOKENS:
            sealed = tokens.make_all(rows[rows["type"] == _FILL])
        copy.write_copies(matrix, column, spans, moves, starts, sealed, _TOKEN_OFFSET, member, made)
    return Copies(member, made.view(EVENT_RECORD)[:, 0])
