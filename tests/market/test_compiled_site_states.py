"""What a greeting tells an operator of its sites is what single queries say, offer by offer."""

import numpy as np
import pytest

from matching_core.market import Market
from tests.market.generator import commands


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_one_pass_over_all_sites_says_what_each_query_says(seed):
    market = Market()
    for command in commands(seed, 400):
        market.apply_command(command)
    sites = list(range(1, market.handle_count("site") + 1))
    states = market.site_states(sites)
    assert list(states) == sites
    told = []
    for site, offers in states.items():
        assert [offer for offer, _, _ in offers] == sorted({offer for offer, _, _ in offers})
        for offer, made, fills in offers:
            assert market.fills_made(np.array([site]), np.array([offer])).tolist() == [made]
            assert fills == sorted(fills)
            told += [(number, site, offer) for number in fills]
    open_fills = []
    for number in range(1, market.counts()["fills"] + 1):
        fill = market.fill_state(number)
        assert fill is not None
        if fill.state != "ended":
            open_fills.append((number, fill.site, fill.offer))
    assert sorted(told) == open_fills
    assert market.counts()["open_fills"] == len(told)
