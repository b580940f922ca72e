"""A row of events is a function of its event (matching_core/event_rows.py)."""

import numpy as np

from matching_core import columns as k
from matching_core.event_rows import as_rows
from matching_core.market import Market
from tests.market.generator import commands

SEEDS, COMMANDS = range(12), 220
KINDS = 11  # none, and ten kinds of events


def test_no_word_of_a_row_is_left_from_an_event_before():
    """Goal: two markets whose buffers held other things give the same rows, word for word."""
    seen = set()
    for seed in SEEDS:
        one, other = Market(), Market()
        for command in commands(seed, COMMANDS):
            one.columns[k.EVENTS].fill(-1)
            other.columns[k.EVENTS].fill(77)
            rows = one.apply(command)
            assert np.array_equal(rows, other.apply(command))
            seen |= set(as_rows(rows)["type"].tolist())
    assert seen == set(range(1, KINDS)), seen
