"""Fills end in the order of their times whatever their terms (kernels/waits.py).

The compiled core keeps what waits in runs and, where it fits behind none, in a heap. Both engines are
given the same market files; the terms are drawn from fewer and from more values than there are runs,
so that an entry finds a run of its own terms, an empty one, another's, and none.
"""

import random

import pytest

from matching_core import columns as k
from matching_core.market import Market
from tests.market.book import Book

SEEDS = range(6)
STEPS = 150
FEW = (500, 1_000, 2_000)
MANY = tuple(range(100, 4_000, 150))
assert len(FEW) < k.RUNS < len(MANY)


def play(book, seed, terms):
    """Sell, start, complete and release at random; returns the sizes that the heap of leases had."""
    rng = random.Random(f"{seed} {terms}")
    book.world(card=20)
    book.ok("rules", settle_us=700, deliver_us=900, dispute_us=1_100, tolerance_ppm=0)
    for operator in "AB":
        book.offer(operator, 2, slots=65_535)
    last, in_heap = 0, set()
    for _ in range(STEPS):
        book.at += rng.choice((0, 0, 1_000, 50_000))
        act = rng.random()
        if act < 0.6:
            sold = book.bid("X", 10, lease_us=rng.choice(terms), quantity=rng.randrange(1, 4))
            last += sum(event.__class__.__name__ == "Fill" for event in sold)
        elif last:
            fill = rng.randrange(max(1, last - 20), last + 1)
            told = {"role": "buyer", "member": "X", "tokens_in": 0, "tokens_out": 1}
            if act < 0.7:
                book.send("release", buyer="X", fill=fill)
            elif act < 0.85:
                book.send("start", operator="A", fill=fill)
            elif act < 0.95:
                book.send("complete", fill=fill, **told)
            else:
                told |= {"role": "operator", "member": "A", "tokens_out": 0}
                book.send("complete", fill=fill, **told)
        if isinstance(book.market, Market):
            in_heap.add(int(book.market.columns.s[k.LEASE_HEAP + 2]))
    book.wait(10_000)
    return in_heap


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("terms", [FEW, MANY], ids=["few", "many"])
def test_fills_end_in_the_same_order_whatever_their_terms(seed, terms):
    """Promise A2. Goal: runs and heap give one order, that of (due, fill)."""
    compiled, reference = Book("compiled"), Book("reference")
    in_heap = play(compiled, seed, terms)
    play(reference, seed, terms)
    assert compiled.output == reference.output
    assert compiled.market.digest() == reference.market.digest()
    assert (max(in_heap) > 0) == (terms is MANY)


def test_the_next_time_is_known_though_the_earliest_lease_was_started():
    """The core never says that nothing is due when something is, nor runs on a time that is gone."""
    book = Book("compiled").world()
    book.ok("rules", settle_us=5_000, deliver_us=9_000)
    book.offer("A", 1, slots=9)
    book.bid("X", 10, lease_us=1_000)
    book.bid("X", 10, lease_us=2_000)
    first = book.at + 1_000_000
    market = book.market
    assert isinstance(market, Market)
    assert market.next_due_ns() == first
    book.ok("start", operator="A", fill=1)
    assert market.next_due_ns() == first + 1_000_000
