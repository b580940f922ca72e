"""Promises about the follower's totals: exact, and the same however the rows are cut into batches."""

from itertools import pairwise

import numpy as np
import pytest

from exchange.follower import aggregates
from exchange.follower.aggregates import BUCKETS, SLOT_NS, SLOTS, Aggregates, bucket, median
from matching_core import event_rows as er
from schemas.reasons import NO_FILL, REJECTED
from schemas.records import EVENT_TYPES

REASONS = {"unfilled": tuple(NO_FILL.values()), "rejected": tuple(REJECTED.values())}


def rows_of(seed, count):
    """Draw rows of all types over a few minutes, amounts up to the largest that there are."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(count, er.EVENT_ROW)
    rows["seq"] = 1 + np.arange(count)
    rows["at"] = np.sort(rng.integers(0, 2 * SLOTS * SLOT_NS, count))
    rows["type"] = rng.integers(1, len(EVENT_TYPES), count)
    for name, reasons in REASONS.items():
        kind = rows["type"] == EVENT_TYPES.index(name)
        rows["reason"][kind] = rng.choice(reasons, kind.sum())
    for name in ("price", "cost", "score", "paid", "earned"):
        rows[name] = rng.integers(0, 2**48, count) >> rng.integers(0, 48, count)
    rows["operator"] = rng.integers(1, 40, count)
    rows["tokens_in"] = rng.integers(0, 2**20, count)
    rows["tokens_out"] = rng.integers(1, 2**20, count)
    rows["attributes"] = (
        (rng.integers(0, 7, count) << er.BAND_SHIFT)
        | (rng.integers(0, 677, count) << er.COUNTRY_SHIFT)
        | (rng.integers(0, 2, count) << er.CONTESTED_BIT)
    )
    return rows


def of_type(rows, name):
    return [row for row in rows if row["type"] == EVENT_TYPES.index(name)]


@pytest.mark.parametrize("seed", range(3))
def test_totals_are_the_sums_of_the_rows(seed):
    rows = rows_of(seed, 3_000)
    made = Aggregates()
    made.add(rows)
    fills, settled = of_type(rows, "fill"), of_type(rows, "settled")
    assert made.by_type == np.bincount(rows["type"], minlength=len(EVENT_TYPES)).tolist()
    assert made.volume == sum(int(row["price"]) for row in fills)
    assert made.contested == sum(int(row["attributes"]) >> er.CONTESTED_BIT & 1 for row in fills)
    assert made.fees == sum(int(row["cost"]) for row in settled)
    released = sum(int(row["paid"]) for row in of_type(rows, "released"))
    assert made.withheld == released + sum(int(row["score"]) for row in settled)
    for operator in range(1, 40):
        mine = [int(row["earned"]) for row in settled if row["operator"] == operator]
        assert made.earned.get(operator, 0) == sum(mine)
    for name, counts in (("unfilled", made.unfilled), ("rejected", made.rejected)):
        ended = [int(row["reason"]) for row in of_type(rows, name)]
        assert counts == {reason: ended.count(reason) for reason in set(ended)}


@pytest.mark.parametrize("seed", range(3))
def test_the_medians_are_of_the_last_minute_alone(seed):
    rows = rows_of(seed, 3_000)
    made = Aggregates()
    made.add(rows)
    newest = int(rows["at"][-1]) // SLOT_NS
    recent = [row for row in of_type(rows, "fill") if row["at"] // SLOT_NS > newest - SLOTS]
    for number, name in enumerate(made.medians_by_band()):
        mine = [row for row in recent if row["attributes"] >> er.BAND_SHIFT & 15 == number]
        histogram = np.zeros(BUCKETS, np.int64)
        for row in mine:
            unit = int(row["price"]) * 1000 // (int(row["tokens_in"]) + int(row["tokens_out"]))
            histogram[bucket(np.array([unit]))[0]] += 1
        assert made.medians_by_band()[name] == median(histogram)


@pytest.mark.parametrize("seed", range(3))
def test_however_rows_are_cut_and_over_a_restart_the_totals_are_the_same(seed):
    rows = rows_of(seed, 2_000)
    whole, cut = Aggregates(), Aggregates()
    whole.add(rows)
    rng = np.random.default_rng(seed)
    edges = [0, *sorted(rng.integers(0, len(rows), 30).tolist()), len(rows)]
    for first, end in pairwise(edges):
        cut.add(rows[first:end])
        cut = Aggregates.restore(cut.plain())
    assert cut.plain() == whole.plain()


def test_the_bounds_of_buckets_are_where_a_logarithm_puts_them():
    prices = np.unique(np.concatenate([aggregates._BOUNDS + step for step in (-1, 0, 1)]))
    prices = np.concatenate([prices[prices >= 0], np.arange(5_000), [2**34 - 1, 2**34, 2**58]])
    found = np.searchsorted(aggregates._BOUNDS, prices, side="right") - 1
    assert np.maximum(found, 0).tolist() == bucket(prices).tolist()
