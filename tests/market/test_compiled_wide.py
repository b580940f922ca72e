"""Two-word arithmetic of the kernels against Python's integers, which have no words."""

import itertools
import random

import numba
import numpy as np
import pytest

from matching_core.digest import ended_term
from matching_core.kernels import wide
from schemas import limits

EDGES = sorted(
    {0, 1, 2, 3, 999, 1000, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**47, 2**48 - 1, 2**48,
     2**62 - 1, 2**62, 2**63 - 2, 2**63 - 1, 10**6, 10**12, 10**18}
)  # fmt: skip
DIVISORS = [number for number in EDGES if number > 0]


# As kernels call them: they have no entry for Python of their own.
@numba.njit
def multiply(a, b):
    return wide.multiply(a, b)


@numba.njit
def multiply_divide(a, b, divisor):
    return wide.multiply_divide(a, b, divisor)


@numba.njit
def multiply_divide_up(a, b, divisor):
    return wide.multiply_divide_up(a, b, divisor)


@numba.njit
def add_ended(s, sums_at, fill, buyer, operator, paid):
    wide.add_ended(s, sums_at, fill, buyer, operator, paid)


def test_products_are_exact():
    for a, b in itertools.product(EDGES, EDGES):
        high, low = multiply(a, b)
        assert (int(high) << 64) + int(low) == a * b


def test_quotients_are_exact_and_rounded_as_named():
    for a, b, divisor in itertools.product(EDGES, EDGES, DIVISORS):
        if a * b // divisor >= 2**63 - 1:
            continue
        assert multiply_divide(a, b, divisor) == a * b // divisor
        assert multiply_divide_up(a, b, divisor) == -(-a * b // divisor)


@pytest.mark.parametrize("seed", range(3))
def test_quotients_of_money_are_exact(seed):
    """Operands as the market has them: prices, rates, times, tokens at their limits and below."""
    rng = random.Random(seed)
    print(f"seed {seed}")
    for _ in range(20_000):
        price = rng.randrange(limits.PRICE_NUSD_MAX + 1) >> rng.randrange(48)
        divisor = 1 + (rng.randrange(2**58) >> rng.randrange(58))
        part = rng.randrange(divisor)
        assert multiply_divide(price, part, divisor) == price * part // divisor
        ppm = rng.randrange(limits.PPM + 1)
        held_us = rng.randrange(62_000_000)
        exact = -(-price * ppm * held_us // 10**12)
        assert multiply_divide_up(price, ppm * held_us, 10**12) == exact


def test_the_sum_over_ended_fills_is_the_digests():
    sums = np.zeros((1, 1), np.uint64)
    s = np.array([sums.ctypes.data, 1], np.int64)
    total = 0
    for ended in ((1, 1, 1, 0), (2, 3, 4, 5), (2**40, 2**31, 7, 2**48), (3, 1, 2, 12)):
        with np.errstate(over="ignore"):
            add_ended(s, 0, *ended)
        total = (total + ended_term(*ended)) % 2**64
        assert int(sums[0, 0]) == total


def test_what_only_kernels_call_refuses_python():
    if numba.config.DISABLE_JIT:
        pytest.skip("nothing is compiled: all of it is Python")
    with pytest.raises(TypeError, match="multiply is for kernels only"):
        wide.multiply(1, 2)
