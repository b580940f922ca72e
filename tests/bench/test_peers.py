"""What stands beside the core answers as it does: without that a ratio compares two different things."""

import pytest

from bench.peers.book import questions, read_book
from bench.peers.c_source import Skipped
from bench.peers.run import MAKERS, ask_core
from tests.bench.books import random_bids, random_market

SEEDS = range(1, 13)
QUICK = ("numpy", "c_scan", "c_same", "sqlite")


def make(name, market, book):
    try:
        return MAKERS[name](market, book)
    except Skipped as why:
        pytest.skip(str(why))


def check(name, seed, bids):
    print(f"seed {seed}: pytest tests/bench/test_peers.py -k '{name}'")
    market = random_market(seed)
    book = read_book(market)
    asked = questions(market, book, random_bids(seed, bids))
    assert len(asked) == 2 * bids
    peer = make(name, market, book)
    try:
        given = peer.answers(asked)
    finally:
        peer.close()
    answers = ask_core(market, asked)
    assert given == answers
    return answers


@pytest.mark.parametrize("name", QUICK)
def test_a_peer_answers_as_the_core_on_books_with_deals_groups_ties_and_every_rule(name):
    """Goal: winner and price, on 12 small books where prices and latencies meet often."""
    answers = [answer for seed in SEEDS for answer in check(name, seed, 60)]
    assert 0.2 < sum(answer.site > 0 for answer in answers) / len(answers) < 0.9


@pytest.mark.parametrize("name", ["polars", "duckdb"])
def test_a_frame_or_column_engine_answers_as_the_core(name):
    check(name, 1, 40)
    check(name, 2, 40)


def test_postgresql_answers_as_the_core():
    check("postgres", 3, 60)


def test_asking_the_core_leaves_the_book_as_it_was():
    market = random_market(5)
    before = market.book()
    asked = questions(market, read_book(market), random_bids(5, 60))
    first = ask_core(market, asked)
    after = market.book()
    assert all(
        (before[name] == after[name]).all() for name in before.dtype.names if name != "slots"
    )
    assert ask_core(market, asked) == first
