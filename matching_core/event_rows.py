"""Events as the compiled core writes them: one row of 64-bit integers each.

A matrix `int64[n, EVENT_WORDS]` is what kernels fill; `as_rows` views the same memory with a name
for each column. A column that an event does not have is 0, so a row is a function of its event.
Handles are the core's own (0 = none). Everything the exchange, the follower and the ledger know of
an event stands in its row; what each party may see of it is decided where it is sent.
"""

from typing import Final

import numpy as np

COLUMNS: Final = (
    "seq", "index", "at", "type",  # type: place in schemas.records.EVENT_TYPES
    "reason",  # number of schemas.reasons; of a decline: place in DECLINE_REASONS; settled: by
    "command",  # rejected: type of the hot frame, or 64 + place in schemas.commands.COMMANDS
    "buyer", "agent", "bid", "unit", "quantity",
    "operator", "site", "offer", "ordinal", "model", "campaign", "origin", "adapter",
    "fill", "tokens_in", "tokens_out",
    "attributes",  # packed, see below
    "price",
    "cost", "score", "rival_score", "latency_us", "lease_until",
    "paid", "refund",  # released, settled
    "earned",
)  # fmt: skip
EVENT_WORDS: Final = len(COLUMNS)
EVENT_ROW: Final = np.dtype([(name, "<i8") for name in COLUMNS])

# Columns that carry a second meaning in events which have no use for the first.
#   settled:  fee = cost, withheld = score             disputed: buyer_figure = cost,
#   disputed: operator_figure = score                  (price stays the fill's price in all of them)

# `attributes` of a fill, from the lowest bit: hardware 8, precision 8, contract 8, tier 8,
# country 16 (26 × first letter + second + 1, 0 = unknown), band 4, contested 1, cold 1, resting 1,
# has_rival 1.
HARDWARE_SHIFT: Final = 0
PRECISION_SHIFT: Final = 8
CONTRACT_SHIFT: Final = 16
TIER_SHIFT: Final = 24
COUNTRY_SHIFT: Final = 32
BAND_SHIFT: Final = 48
CONTESTED_BIT: Final = 52
COLD_BIT: Final = 53
RESTING_BIT: Final = 54
RIVAL_BIT: Final = 55

assert EVENT_WORDS == 32  # 256 bytes: four cache lines, and segment files stay aligned


def as_rows(matrix: np.ndarray) -> np.ndarray:
    """View `int64[n, EVENT_WORDS]` as a structured array `EVENT_ROW[n]` of the same memory."""
    return matrix.view(EVENT_ROW)[:, 0]


def country_number(country: str | None) -> int:
    """Return the number of a two-letter country, 1 … 676; 0 for unknown."""
    if country is None:
        return 0
    return 26 * (ord(country[0]) - 65) + ord(country[1]) - 64


def country_name(number: int) -> str | None:
    """Return the two letters of a country's number; None for 0, unknown."""
    if number == 0:
        return None
    first, second = divmod(number - 1, 26)
    return chr(65 + first) + chr(65 + second)
