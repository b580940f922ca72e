"""What a dashboard counts of a batch of events, in one pass over its rows.

A row has 256 bytes and NumPy walks all of them anew for each column asked for; here each is read once.
Sums of money are kept as two numbers, the low 32 bits apart, so that no batch can overflow them.
"""

from typing import Final

from matching_core import event_rows as er
from matching_core.jit import Array, kernel
from schemas.records import EVENT_TYPES

# Sums: low and high part of the price of fills, of what settlements gave the exchange and withheld, of
# what releases paid; then how many fills were contested.
VOLUME, FEES, WITHHELD, RENT = range(0, 8, 2)
CONTESTED: Final = 8
SUMS: Final = 9
LOW_BITS: Final = 32
PICO: Final = 1000  # pico-dollars of a nano-dollar

_FILL, _UNFILLED, _REJECTED, _SETTLED, _RELEASED = (
    EVENT_TYPES.index(name) for name in ("fill", "unfilled", "rejected", "settled", "released")
)
_TYPE, _REASON, _PRICE, _COST, _SCORE, _PAID, _EARNED, _OPERATOR, _IN, _OUT, _ATTRIBUTES = (
    er.COLUMNS.index(name)
    for name in (
        "type", "reason", "price", "cost", "score", "paid", "earned", "operator", "tokens_in",
        "tokens_out", "attributes",
    )
)  # fmt: skip
_LOW: Final = (1 << LOW_BITS) - 1
_BAND_MASK: Final = 15
_COUNTRY_MASK: Final = 0xFFFF


@kernel
def fold(
    rows: Array, types: Array, reasons: Array, sums: Array, earned: Array, bounds: Array,
    bands: Array, countries: Array, seen: Array,
) -> None:  # fmt: skip
    """Count rows int64[n, EVENT_WORDS].

    Args:
        rows: of one slot of the rolling histograms.
        types: int64[types], counted up.
        reasons: int64[2, numbers]: of bids that ended unfilled, and of rejections; counted up.
        sums: int64[9], columns as above; added to.
        earned: int64[operators + 1, 2], low and high part of what settlements gave each; added to.
        bounds: int64[buckets], the least unit price of each bucket, never descending.
        bands, countries: int32[…, buckets], the slot's histograms; counted up.
        seen: uint8[countries], 1 where a country has anything.
    """
    last = bounds.shape[0] - 1
    for place in range(rows.shape[0]):
        row = rows[place]
        kind = row[_TYPE]
        types[kind] += 1
        if kind == _FILL:
            price, attributes = row[_PRICE], row[_ATTRIBUTES]
            sums[VOLUME] += price & _LOW
            sums[VOLUME + 1] += price >> LOW_BITS
            sums[CONTESTED] += (attributes >> er.CONTESTED_BIT) & 1
            # A price has at most 48 bits: times 1,000 it fits; tokens are at least one.
            unit = price * PICO // (row[_IN] + row[_OUT])
            low, high = 0, last
            while low < high:
                middle = (low + high + 1) >> 1
                if bounds[middle] <= unit:
                    low = middle
                else:
                    high = middle - 1
            country = (attributes >> er.COUNTRY_SHIFT) & _COUNTRY_MASK
            bands[(attributes >> er.BAND_SHIFT) & _BAND_MASK, low] += 1
            countries[country, low] += 1
            seen[country] = 1
        elif kind == _UNFILLED:
            reasons[0, row[_REASON]] += 1
        elif kind == _REJECTED:
            reasons[1, row[_REASON]] += 1
        elif kind == _SETTLED:
            sums[FEES] += row[_COST] & _LOW
            sums[FEES + 1] += row[_COST] >> LOW_BITS
            sums[WITHHELD] += row[_SCORE] & _LOW
            sums[WITHHELD + 1] += row[_SCORE] >> LOW_BITS
            earned[row[_OPERATOR], 0] += row[_EARNED] & _LOW
            earned[row[_OPERATOR], 1] += row[_EARNED] >> LOW_BITS
        elif kind == _RELEASED:
            sums[RENT] += row[_PAID] & _LOW
            sums[RENT + 1] += row[_PAID] >> LOW_BITS
