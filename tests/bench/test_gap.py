"""`bench gap`: the optimum is one, its prices are those of its core, and the figures repeat."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench import gap, gap_books
from matching_core.market_file import format_command


def best_by_trying_all(score):
    """Return the largest sum over all ways to give each bid a slot of its own or none."""
    bids, slots = score.shape
    best = 0
    for chosen in itertools.product(range(-1, slots), repeat=bids):
        used = [slot for slot in chosen if slot >= 0]
        if len(set(used)) == len(used):
            won = [score[bid, slot] for bid, slot in enumerate(chosen) if slot >= 0]
            if all(value >= 0 for value in won):
                best = max(best, sum(won))
    return best


@given(
    st.integers(1, 3).flatmap(
        lambda slots: st.lists(
            st.lists(st.integers(-1, 6), min_size=slots, max_size=slots), min_size=1, max_size=4
        )
    )
)
def test_the_assignment_is_the_best_of_all(rows):
    """Scores −1 (not eligible) to 6, four bids, three slots: every assignment is tried."""
    score = np.array(rows)
    bids, slots = gap.assign(score)
    assert len(set(slots.tolist())) == len(slots)
    assert int(score[bids, slots].sum()) == best_by_trying_all(score)
    low, high = gap.optimum(gap.Pairs(score, np.full(score.shape, 3)))
    assert low.welfare == high.welfare == best_by_trying_all(score)
    assert low.sellers_cost <= low.buyers_cost <= high.buyers_cost
    assert high.buyers_cost <= high.sellers_cost + high.welfare


def test_clearing_one_by_one_never_beats_the_optimum_and_repeats():
    first, second = gap.report(quick=True), gap.report(quick=True)
    assert first == second
    assert len(first["books"]) == 3
    assert 0.5 < first["welfare_ratio"] <= 1
    for book in first["books"]:
        assert book["sequential"]["fills"] > 0


def test_recorded_books_are_those_of_their_seeds():
    for name, slots in gap_books.SLOTS.items():
        recorded = (gap_books.FOLDER / f"{name}_1.jsonl").read_bytes()
        drawn = gap_books.book(slots, 1)
        assert recorded.count(b"\n") == len(drawn)
        assert recorded.startswith(format_command(drawn[0]))
