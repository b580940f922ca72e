"""Two-word arithmetic: products that do not fit 64 bits, divided exactly (MARKET.md §8).

Price × rent × time has up to 94 bits, price × metered tokens up to 106. A double would round, and
one bit is enough to break the digest. All operands are non-negative int64; the callers' limits make
every quotient fit (schemas/limits.py).
"""

import numpy as np

from matching_core.jit import Array, bits_table, i64, inner

_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_63 = np.uint64(63)
_1 = np.uint64(1)
_0 = np.uint64(0)


@inner
def multiply(a: int, b: int) -> tuple[np.uint64, np.uint64]:
    """Return a × b as (high, low) words."""
    x, y = np.uint64(a), np.uint64(b)
    x_low, x_high = x & _LOW, x >> _32
    y_low, y_high = y & _LOW, y >> _32
    low = x_low * y_low
    middle = x_high * y_low + (low >> _32)  # < 2^64: (2^32 - 1)^2 + 2^32 - 1
    other = x_low * y_high + (middle & _LOW)
    high = x_high * y_high + (middle >> _32) + (other >> _32)
    return high, (other << _32) | (low & _LOW)


@inner
def divide(high: np.uint64, low: np.uint64, divisor: int) -> tuple[int, int]:
    """Return quotient and remainder of a two-word number; needs high < divisor < 2^63.

    Shift and subtract, one bit a step (Knuth, TAOCP 2, 4.3.1, in base 2): 64 steps are 0.1 µs, four
    times per settlement, and nearly every real product has an empty high word.
    """
    d = np.uint64(divisor)
    if high == _0:
        return i64(low // d), i64(low % d)
    quotient = _0
    remainder = high
    for _ in range(64):
        remainder = (remainder << _1) | (low >> _63)
        low = low << _1
        quotient = quotient << _1
        if remainder >= d:
            remainder -= d
            quotient |= _1
    return i64(quotient), i64(remainder)


@inner
def multiply_divide(a: int, b: int, divisor: int) -> int:
    """Return a × b // divisor; the quotient must fit int64."""
    high, low = multiply(a, b)
    quotient, _ = divide(high, low, divisor)
    return quotient


@inner
def multiply_divide_up(a: int, b: int, divisor: int) -> int:
    """Return ceil(a × b / divisor); the quotient must fit int64."""
    high, low = multiply(a, b)
    quotient, remainder = divide(high, low, divisor)
    if remainder > 0:
        quotient += 1
    return quotient


@inner
def ceil_div(a: int, b: int) -> int:
    """Return ceil(a / b) of what fits one word."""
    return (a + b - 1) // b


@inner
def finalise(word: np.uint64) -> np.uint64:
    """Mix 64 bits (splitmix64's finaliser), as matching_core/digest.py does."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@inner
def add_ended(s: Array, sums_at: int, fill: int, buyer: int, operator: int, paid: int) -> None:
    """Add a fill that ended to the sum that stands for all of them in the digest."""
    word = finalise(np.uint64(fill))
    word = finalise(word ^ np.uint64(buyer))
    word = finalise(word ^ np.uint64(operator))
    word = finalise(word ^ np.uint64(paid))
    sums = bits_table(s, sums_at, 1)
    sums[0, 0] = sums[0, 0] + word
