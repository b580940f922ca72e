"""The smallest things of the core, timed by `pytest tests/bench/test_micro.py --benchmark-enable`.

Without that they run once, like any test; nothing is said about time.
"""

import numpy as np
import pytest

from bench.rates import FRAME_NS, refresh_frame
from bench.workload import make
from schemas import records


@pytest.fixture(scope="module")
def opened():
    workload = make(2_000, 400, sites=200, models=5)
    return workload, workload.open()[0]


def test_a_frame_of_256_bids(opened, benchmark):
    workload, market = opened
    frames = iter(workload.bids)

    def one():
        buyer, batch = next(frames)
        at_ns = market.at_ns + FRAME_NS
        return len(market.apply_frame(records.BID, batch, buyer, 0, at_ns))

    assert benchmark.pedantic(one, rounds=20, warmup_rounds=3) > 0


def test_a_frame_of_256_refreshes(opened, benchmark):
    workload, market = opened
    rng = np.random.default_rng(1)

    def given():
        return (refresh_frame(market, workload.offers, 256, rng),), {}

    def one(batch):
        rejected = market.apply_frame(records.REFRESH, batch, 0, 0, market.at_ns)
        return len(rejected)

    assert benchmark.pedantic(one, setup=given, rounds=20) >= 0


def test_digesting_the_state(opened, benchmark):
    _, market = opened
    assert len(benchmark.pedantic(market.digest, rounds=1)) == 64
