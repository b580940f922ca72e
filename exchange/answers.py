"""Answers to hot frames: one STATUS per record, then the fills that its bids got.

Column work on whole frames; the one thing made record by record is the token of a fill. What the
buyer may not see (cost, score, an uncontested rival) is not copied at all (MARKET.md §8).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from exchange.sealer import Sealer
from matching_core import event_rows as er
from schemas import records
from schemas.records import EVENT_TYPES, FILL_RECORD, STATUS_RECORD

_FILL: Final = EVENT_TYPES.index("fill")
_RESTING: Final = EVENT_TYPES.index("resting")
_UNFILLED: Final = EVENT_TYPES.index("unfilled")
_REJECTED: Final = EVENT_TYPES.index("rejected")
_COPIED: Final = (
    "seq", "index", "unit", "fill", "bid", "at", "lease_until", "price", "ordinal", "operator",
    "site", "model", "campaign", "origin", "adapter", "tokens_in", "tokens_out", "latency_us",
    "offer", "agent",
)  # fmt: skip


def fill_records(rows: np.ndarray, tokens: Sealer) -> np.ndarray:
    """Return the buyer's copies `FILL_RECORD[n]` of fill rows `EVENT_ROW[n]`, tokens included."""
    fills = np.zeros(len(rows), FILL_RECORD)
    for name in _COPIED:
        fills[name] = rows[name]
    attributes = rows["attributes"]
    fills["hardware"] = (attributes >> er.HARDWARE_SHIFT) & 255
    fills["precision"] = (attributes >> er.PRECISION_SHIFT) & 255
    fills["contract"] = (attributes >> er.CONTRACT_SHIFT) & 255
    fills["tier"] = (attributes >> er.TIER_SHIFT) & 255
    contested = (attributes >> er.CONTESTED_BIT) & 1
    fills["contested"] = contested
    fills["cold"] = (attributes >> er.COLD_BIT) & 1
    fills["resting"] = (attributes >> er.RESTING_BIT) & 1
    # Uncontested, the rival's score would tell an ask that decided nothing.
    fills["rival_score"] = rows["rival_score"] * contested
    fills["token"] = tokens.make_all(rows)
    return fills


def statuses(
    kind: int,
    batch: np.ndarray,
    matrix: NDArray[np.int64],
    seq: int,
    sender: tuple[int, int],
    tokens: Sealer,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (`STATUS_RECORD[n]`, `FILL_RECORD[m]`) of a frame's accepted records.

    `batch` are the `n` records as numbered `seq`, `seq` + 1, …; `matrix` their events; `sender` the
    (buyer's handle, agent number) of a frame of bids. Events of others in it (expiries, resting
    bids that filled) are passed over: the feed tells their owners.
    """
    count = len(batch)
    answers = np.zeros(count, STATUS_RECORD)
    answers["number"] = np.arange(seq, seq + count, dtype=np.uint64)
    fills = np.zeros(0, FILL_RECORD)
    if len(matrix) == 0:
        return answers, fills
    rows = er.as_rows(matrix)
    types = rows["type"]
    place = rows["seq"] - seq
    rejected = np.flatnonzero(types == _REJECTED)
    answers["code"][place[rejected]] = rows["reason"][rejected]
    if kind != records.BID:
        return answers, fills
    own = rows["bid"] == batch["bid"].astype(np.int64)[place]
    own &= (rows["buyer"] == sender[0]) & (rows["agent"] == sender[1])
    # A rejected record has no outcome: a number used twice may be that of a bid that ends just now.
    own &= answers["code"][place] == 0
    arrived = (rows["attributes"] >> er.RESTING_BIT) & 1 == 0
    filled = np.flatnonzero((types == _FILL) & own & arrived)
    if len(filled):
        fills = fill_records(rows[filled], tokens)
        answers["fills"] = np.bincount(place[filled], minlength=count)
    rests = np.flatnonzero((types == _RESTING) & own)
    answers["resting"][place[rests]] = rows["quantity"][rests]
    ended = np.flatnonzero((types == _UNFILLED) & own)
    answers["ended"][place[ended]] = rows["quantity"][ended]
    answers["reason"][place[ended]] = rows["reason"][ended]
    return answers, fills
