"""What the rule protects (MARKET.md §10, first point; promises A3 and A4), on random small books.

Method: run a book, change one thing that must not matter, run it again, compare. Prices 0 to 9 and
four owners of whom two are one group, so that the changed thing is often the best rival.
"""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import events as e
from tests.market.book import Book, fills

seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=80, deadline=None)
OPERATORS = "ABCD"  # D is of A's group
BUYERS = "XYZW"  # W is of X's group


def _book(card):
    book = Book().world(card=card, operators=OPERATORS, buyers=BUYERS)
    book.ok("operator", operator="D", group="A")
    book.ok("buyer", buyer="W", group="X")
    return book


def _asks(rng, count):
    return [(rng.choice(OPERATORS), rng.randint(0, 9)) for _ in range(count)]


def _clear_bid(card, asks, ceiling, **bid):
    """Offer the asks in order, then let X bid; return its fill or None."""
    book = _book(card)
    for operator, ask in asks:
        book.offer(operator, ask)
    return next(iter(fills(book.bid("X", ceiling, **bid))), None)


def _clear_offer(card, ceilings, ask, slots=1):
    """Let bids rest in order, then let A offer; return the fills."""
    book = _book(card)
    for buyer, ceiling in ceilings:
        book.rest(buyer, ceiling)
    return fills(book.offer("A", ask, slots=slots))


def _group(operator):
    return {"D": "A", "W": "X"}.get(operator, operator)


def _surplus(fill: e.Fill):
    return fill.score + fill.cost - fill.price


@quick
@given(seed=seeds)
def test_an_offer_of_another_group_never_lowers_the_buyers_surplus(seed):
    rng = random.Random(seed)
    card, asks, ceiling = rng.randint(0, 9), _asks(rng, rng.randint(1, 4)), rng.randint(0, 9)
    before = _clear_bid(card, asks, ceiling)
    if before is None:
        return
    others = [operator for operator in OPERATORS if _group(operator) != _group(before.operator)]
    after = _clear_bid(card, [*asks, (rng.choice(others), rng.randint(0, 9))], ceiling)
    assert after is not None
    assert _surplus(after) >= _surplus(before)


@quick
@given(seed=seeds)
def test_a_bid_of_another_group_never_lowers_the_operators_margin(seed):
    rng = random.Random(seed)
    card, ask = rng.randint(0, 9), rng.randint(0, 6)
    ceilings = [(rng.choice(BUYERS), rng.randint(0, 9)) for _ in range(rng.randint(1, 4))]
    before = _clear_offer(card, ceilings, ask)
    if not before:
        return
    others = [buyer for buyer in BUYERS if _group(buyer) != _group(before[0].buyer)]
    after = _clear_offer(card, [*ceilings, (rng.choice(others), rng.randint(0, 9))], ask)
    assert after[0].price - after[0].cost >= before[0].price - before[0].cost


@quick
@given(seed=seeds)
def test_with_a_rival_the_winners_own_ask_does_not_move_its_price(seed):
    """Where cost ≤ card: an operator gains nothing by shading an ask that still wins."""
    rng = random.Random(seed)
    card, asks, ceiling = rng.randint(0, 9), _asks(rng, rng.randint(2, 4)), rng.randint(0, 9)
    before = _clear_bid(card, asks, ceiling)
    if before is None or before.rival_score is None or before.cost > card:
        return
    place = [n for n, (operator, _) in enumerate(asks) if f"s-{operator}" == before.site]
    mine = place[before.offer - 1]
    other_ask = rng.randint(0, card)
    changed = [*asks[:mine], (before.operator, other_ask), *asks[mine + 1 :]]
    after = _clear_bid(card, changed, ceiling)
    if after is None or (after.site, after.offer) != (before.site, before.offer):
        return
    assert after.price == before.price


@quick
@given(seed=seeds)
def test_an_operators_own_second_offer_never_moves_its_price(seed):
    """Promise A4: rivals are other owners. No gain or loss by splitting one's capacity."""
    rng = random.Random(seed)
    card, asks, ceiling = rng.randint(0, 9), _asks(rng, rng.randint(1, 4)), rng.randint(0, 9)
    before = _clear_bid(card, asks, ceiling)
    if before is None:
        return
    own = [operator for operator in OPERATORS if _group(operator) == _group(before.operator)]
    after = _clear_bid(card, [*asks, (rng.choice(own), rng.randint(0, 9))], ceiling)
    assert after is not None
    if (after.site, after.offer) == (before.site, before.offer):
        assert after.price == before.price


@quick
@given(seed=seeds)
def test_a_buyers_own_second_bid_never_moves_its_price_for_one_slot(seed):
    rng = random.Random(seed)
    card, ask = rng.randint(0, 9), rng.randint(0, 6)
    ceilings = [(rng.choice(BUYERS), rng.randint(0, 9)) for _ in range(rng.randint(1, 4))]
    before = _clear_offer(card, ceilings, ask)
    if not before:
        return
    own = [buyer for buyer in BUYERS if _group(buyer) == _group(before[0].buyer)]
    after = _clear_offer(card, [*ceilings, (rng.choice(own), rng.randint(0, 9))], ask)
    if (after[0].buyer, after[0].bid) == (before[0].buyer, before[0].bid):
        assert after[0].price == before[0].price


@quick
@given(seed=seeds)
def test_a_buyers_own_group_never_serves_it(seed):
    """Promise A4, second half: with buyer A among the bidders, no fill within a group."""
    rng = random.Random(seed)
    book = _book(rng.randint(0, 9))
    book.ok("buyer", buyer="A")
    book.ok("deposit", role="buyer", member="A", transfer=1, amount=10**6)
    book.ok("campaign", buyer="A", campaign="c")
    for _ in range(12):
        if rng.random() < 0.5:
            book.offer(rng.choice(OPERATORS), rng.randint(0, 5), slots=rng.randint(1, 2))
        else:
            book.rest(rng.choice("AXYZ"), rng.randint(0, 9), quantity=rng.randint(1, 2))
    for fill in fills(book.events):
        assert _group(fill.operator) != _group(fill.buyer)


@quick
@given(seed=seeds)
def test_below_the_value_an_uncontested_price_does_not_depend_on_the_ceiling(seed):
    rng = random.Random(seed)
    card, asks, ceiling = rng.randint(0, 6), _asks(rng, rng.randint(1, 3)), rng.randint(0, 9)
    before = _clear_bid(card, asks, ceiling)
    if before is None or before.contested or card > before.score + before.cost:
        return
    after = _clear_bid(card, asks, ceiling + rng.randint(1, 9))
    assert after is not None
    assert after.price == before.price


@quick
@given(card=st.integers(0, 9), ask=st.integers(0, 9), ceiling=st.integers(0, 9))
def test_an_uncontested_pair_trades_at_the_same_price_whoever_came_last(card, ask, ceiling):
    if ask > card:
        return
    bid_last = _clear_bid(card, [("A", ask)], ceiling)
    offer_last = _clear_offer(card, [("X", ceiling)], ask)
    assert [fill.price for fill in offer_last] == ([] if bid_last is None else [bid_last.price])


@quick
@given(seed=seeds)
def test_an_ineligible_entry_changes_no_fill(seed):
    """Entries that fail a rule: another model, too slow, too dear, no slot, own group."""
    rng = random.Random(seed)
    card, asks, ceiling = rng.randint(0, 9), _asks(rng, rng.randint(1, 4)), rng.randint(0, 9)
    before = _clear_bid(card, asks, ceiling)
    book = _book(card)
    book.ok("model", model="other")
    for operator, ask in asks:
        book.offer(operator, ask)
    bad: dict[str, Any] = rng.choice(
        [{"model": "other"}, {"ttft_us": 5000}, {"slots": 0}, {"cold_start_us": 1},
         {"context_limit": 1}]
    )  # fmt: skip
    book.ok(
        "offer", site=f"s-{rng.choice(OPERATORS)}", offer=99, ask_second=rng.randint(0, 9), **bad
    )
    events = book.bid("X", ceiling, tokens_in=1)
    after = next(iter(fills(events)), None)
    if before is None:
        assert after is None
        return
    assert after is not None
    changed = {"seq", "tokens_in"}
    assert _without(after, changed) == _without(before, changed)


@quick
@given(seed=seeds)
def test_an_ineligible_bid_at_rest_changes_no_fill(seed):
    rng = random.Random(seed)
    card, ask = rng.randint(0, 9), rng.randint(0, 6)
    ceilings = [(rng.choice(BUYERS), rng.randint(0, 9)) for _ in range(rng.randint(1, 4))]
    before = _clear_offer(card, ceilings, ask)
    book = _book(card)
    for buyer, ceiling in ceilings:
        book.rest(buyer, ceiling)
    bad = rng.choice([{"latency_budget_us": 1}, {"tokens_in": 9000}, {"max_price": ask - 1}])
    if bad.get("max_price", 0) >= 0:
        book.rest(rng.choice(BUYERS), bad.pop("max_price", 99), bid=99, **bad)
    after = fills(book.offer("A", ask))
    assert [_without(fill, {"seq"}) for fill in after] == [
        _without(fill, {"seq"}) for fill in before
    ]


def _without(fill, fields):
    return {field: getattr(fill, field) for field in fill.__struct_fields__ if field not in fields}


@quick
@given(seed=seeds)
def test_cost_price_value_and_ceiling_stand_in_this_order(seed):
    """Promise A3, both directions, deals and markdowns and time included."""
    rng = random.Random(seed)
    book = _book(rng.randint(0, 9))
    ceilings: dict[tuple[str, int], int] = {}
    book.ok("deal", deal="d", operator="B", buyers=["X", "Y"])
    for buyer in BUYERS:
        models = [{"model": "m", "markdown": rng.randint(0, 2)}]
        time_value = rng.choice((0, 150))
        book.ok("campaign", buyer=buyer, campaign="t", models=models, time_value=time_value)
    for _ in range(14):
        if rng.random() < 0.4:
            operator = rng.choice(OPERATORS)
            deal = "d" if operator == "B" and rng.random() < 0.5 else ""
            book.offer(operator, rng.randint(0, 5), slots=rng.randint(1, 2), deal=deal)
        else:
            buyer, ceiling = rng.choice(BUYERS), rng.randint(0, 9)
            book.rest(buyer, ceiling, quantity=rng.randint(1, 2), campaign=rng.choice("ct"))
            bid = book.commands[-1]
            ceilings[buyer, bid.bid] = ceiling
    for fill in fills(book.events):
        value = fill.score + fill.cost
        assert fill.cost <= fill.price <= value <= ceilings[fill.buyer, fill.bid]
