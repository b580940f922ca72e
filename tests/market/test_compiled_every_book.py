"""Every book of 3 offers × 3 bids, through both engines (RELIABILITY A2).

Asks and ceilings 0 … 3, card 2, all partitions of the six into owner groups; offers first (§6a) and
bids first (§6b). That is 2 × 64 × 64 × 203 books. They run one after another through one market: a
book is six commands, and two seconds later, at the first command of the next, all of it has expired.

CI runs card 2, all 1.66 million of them; --long the cards 0, 1 and 3 and every order of arrival.
"""

import itertools

import pytest

from matching_core.market import Market
from matching_core.reference import ReferenceMarket
from schemas import commands as c

PRICES = range(4)
BOOK_NS = 2_000_000_000
SECOND_US = 1_000_000
OFFERS_FIRST, BIDS_FIRST = (0, 1, 2, 3, 4, 5), (3, 4, 5, 0, 1, 2)
OPERATORS, BUYERS = "ABC", "XYZ"
SPLIT = 29  # parts of one order, each of 7 partitions: workers share them evenly


def partitions(size):
    """Yield every partition of `size` things as the number of each one's group: 0, then at most new."""

    def extend(groups):
        if len(groups) == size:
            yield tuple(groups)
            return
        for group in range(max(groups, default=-1) + 2):
            yield from extend([*groups, group])

    return extend([])


def books():
    """Yield (partition, asks, ceilings) of all books."""
    triples = list(itertools.product(PRICES, repeat=3))
    for partition in partitions(6):
        yield partition, triples, triples


def opening(card):
    yield c.Model(
        at=0, model="m", family="f", params_m=1, context_limit=1, card_in=0, card_out=0,
        card_second=card,
    )  # fmt: skip
    yield c.Metro(at=0, metro="t", lat=0, lon=0, country="FR", population=1)
    yield c.Rules(at=0, rent_ppm_per_s=0)
    for name in OPERATORS:
        yield c.Operator(at=0, operator=name)
        yield c.Site(at=0, site=name, operator=name, tier="central", lat=0, lon=0)
        yield c.Rtt(at=0, site=name, metro="t", p99_us=1)
    for name in BUYERS:
        yield c.Buyer(at=0, buyer=name)
        yield c.Deposit(at=0, role="buyer", member=name, transfer=1, amount=10**12)
        yield c.Campaign(
            at=0, campaign="c", buyer=name, models=(c.CampaignModel(model="m"),),
            latency_budget_us=9, max_unit_price=0,
        )  # fmt: skip


def groups_of(partition, at):
    for name, group in zip(OPERATORS, partition[:3], strict=True):
        yield c.Operator(at=at, operator=name, group=f"g{group}")
    for name, group in zip(BUYERS, partition[3:], strict=True):
        yield c.Buyer(at=at, buyer=name, group=f"g{group}")


def one_book(at, number, order, asks, ceilings):
    for place in order:
        if place < 3:
            yield c.Offer(
                at=at, site=OPERATORS[place], offer=1, model="m", hardware="cpu", ask_in=0,
                ask_out=0, ask_second=asks[place], slots=1, ttft_us=0, context_limit=1,
                ttl_us=SECOND_US,
            )  # fmt: skip
        else:
            yield c.Bid(
                at=at, buyer=BUYERS[place - 3], bid=number, campaign="c", origin="t", tokens_in=0,
                tokens_out=1, lease_us=SECOND_US, max_price=ceilings[place - 3],
                rest_us=SECOND_US if order[0] >= 3 or order[5] < 3 else 0,
            )  # fmt: skip


def run(order, card, chosen):
    """Run books through both engines; return how many, and how many units filled."""
    market, reference = Market(), ReferenceMarket()
    for command in opening(card):
        assert market.apply_command(command) == reference.apply(command) == []
    at = number = filled = 0
    for partition, asks_of, ceilings_of in chosen:
        at += BOOK_NS
        for command in groups_of(partition, at):
            assert market.apply_command(command) == reference.apply(command)
        for asks, ceilings in itertools.product(asks_of, ceilings_of):
            at += BOOK_NS
            number += 1
            for command in one_book(at, number, order, asks, ceilings):
                expected = reference.apply(command)
                got = market.apply_command(command)
                assert got == expected, f"{partition=} {asks=} {ceilings=} {order=} {card=}"
                filled += sum(type(event).__name__ == "Fill" for event in expected)
        assert market.digest() == reference.digest()
    return number, filled


def in_parts(order, card, part):
    """Run one of SPLIT parts and hold its size: no book may be left out unnoticed."""
    chosen = list(itertools.islice(books(), part, None, SPLIT))
    number, filled = run(order, card, chosen)
    assert number == len(chosen) * 64 * 64
    return number, filled


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(SPLIT))
@pytest.mark.parametrize("order", [OFFERS_FIRST, BIDS_FIRST], ids=["offers-first", "bids-first"])
def test_every_book_of_three_offers_and_three_bids(order, part):
    number, filled = in_parts(order, 2, part)
    assert filled > number // 2


def test_the_partitions_are_all():
    """Bell's number of six is 203."""
    every = list(partitions(6))
    assert len(every) == len(set(every)) == 203


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("part", range(SPLIT))
@pytest.mark.parametrize("card", [0, 1, 3])
@pytest.mark.parametrize("order", [OFFERS_FIRST, BIDS_FIRST], ids=["offers-first", "bids-first"])
def test_every_book_with_other_cards(order, card, part):
    in_parts(order, card, part)


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("sides", sorted(set(itertools.permutations("ooobbb"))), ids="".join)
def test_every_book_in_every_order_of_arrival(sides):
    """All 20 ways to interleave the two sides; within a side the prices are in all orders anyway."""
    offers, bids = iter((0, 1, 2)), iter((3, 4, 5))
    order = tuple(next(offers if side == "o" else bids) for side in sides)
    run(order, 2, itertools.islice(books(), 0, None, 7))
