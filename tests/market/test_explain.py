"""Explain: what is answered is what really happens with one constraint changed (MARKET.md §7)."""

import copy
import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matching_core.explain import Explainer, after, expire_ahead
from matching_core.market import Market
from matching_core.reference import ReferenceMarket
from matching_core.reference.explain import explain as explain_by_running
from schemas import events as e
from schemas import explanation as x
from schemas.commands import AnyCommand, Bid, Campaign
from tests.market.explain_books import book
from tests.market.generator import market_files
from tests.market.large_books import World

SEEDS = range(150)
LARGE_SEEDS, LARGE_BIDS, FILLED = (0, 2, 4), 200, 5


def compiled(commands: list[AnyCommand]) -> Market:
    market = Market()
    for command in commands:
        market.apply(command)
    return market


def reference(commands: list[AnyCommand]) -> ReferenceMarket:
    market = ReferenceMarket()
    for command in commands:
        market.apply(command)
    return market


def explained(market: Market, bid: Bid, *, rounded: bool = False) -> x.Explanation | None:
    """Explain a bid on a compiled market, then apply it; the events must be those of one apply."""
    frame = market.to_frame(bid)
    assert frame is not None
    _, records, buyer, agent, _ = frame
    ahead = expire_ahead(market, bid.at)
    found = Explainer(market).explain(records[0], buyer, agent, rounded=rounded)
    events = market.events(after(ahead, market.apply(bid)))
    if found is not None:
        reasons = [
            event.reason
            for event in events
            if isinstance(event, e.Unfilled) and (event.buyer, event.bid) == (bid.buyer, bid.bid)
        ]
        found = msgspec.structs.replace(found, reason=(reasons or [""])[0])
    return found


def sent(market: ReferenceMarket, campaign: Campaign, bid: Bid) -> list[int]:
    """Return the prices of a bid in a copy of the market in which its campaign is another."""
    other = copy.deepcopy(market)
    other._state.campaigns[bid.buyer, bid.campaign] = campaign
    events = other.apply(bid)
    return [ev.price for ev in events if isinstance(ev, e.Fill) and ev.buyer == bid.buyer]


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), rounded=st.booleans())
def test_the_compiled_answer_is_that_of_really_running_the_changed_auction(seed, rounded):
    """Every constraint kind, fills and unfilled bids, exact and as told to the buyer."""
    commands, bid = book(seed)
    expected = explain_by_running(reference(commands), bid, rounded=rounded)
    assert explained(compiled(commands), bid, rounded=rounded) == expected


@settings(deadline=None, max_examples=15)
@given(commands=market_files(count_max=60), place=st.integers(0, 10**6))
def test_it_is_so_on_books_in_motion(commands, place):
    """Books of the general generator: halts, expiries due as the bid comes, slots in flight."""
    bids = [number for number, command in enumerate(commands) if isinstance(command, Bid)]
    if not bids:
        return
    at = bids[place % len(bids)]
    bid = commands[at]
    assert isinstance(bid, Bid)
    expected = explain_by_running(reference(commands[:at]), bid)
    assert explained(compiled(commands[:at]), bid) == expected


@pytest.mark.parametrize("seed", LARGE_SEEDS)
def test_what_filled_bids_are_told_is_so_on_books_of_several_shelves(seed):
    """Of a filled bid's offers only those are looked at that bounds leave: they must be all that matter."""
    world = World(seed)
    explainer = Explainer(world.market)
    filled, bound = 0, 0
    for _ in range(LARGE_BIDS):
        world.change()
        bid = world.bid()
        frame = world.market.to_frame(bid)
        assert frame is not None
        expire_ahead(world.market, bid.at)
        found = explainer.explain(frame[1][0], frame[2], frame[3])
        if found is not None and found.prices:
            assert found == explain_by_running(world.reference, bid)
            filled += 1
            bound += sum(any(each.nusd) for each in found.constraints)
        world.apply(bid)
        if filled == FILLED:
            break
    assert filled == FILLED
    assert bound


@settings(deadline=None, max_examples=30)
@given(commands=market_files(count_max=80))
def test_explaining_changes_neither_events_nor_state(commands):
    """Goal: the follower explains and stays the exchange's equal, event for event."""
    plain, watched = Market(), Market()
    explainer = Explainer(watched)
    for command in commands:
        expected = plain.apply(command)
        if not isinstance(command, Bid):
            assert np.array_equal(watched.apply(command), expected)
            continue
        frame = watched.to_frame(command)
        assert frame is not None
        ahead = expire_ahead(watched, command.at)
        explainer.explain(frame[1][0], frame[2], frame[3])
        assert np.array_equal(after(ahead, watched.apply(command)), expected)
    assert watched.digest() == plain.digest()
    watched.audit()


@pytest.mark.parametrize("seed", SEEDS)
def test_what_the_buyer_is_told_holds_when_it_does_it(seed):
    """The rounded change fills one unit more, at the price that is told or less."""
    commands, bid = book(seed)
    market = reference(commands)
    told = explained(compiled(commands), bid, rounded=True)
    if told is None or told.counter_offer is None:
        return
    change = told.counter_offer
    campaign = market._state.campaigns[bid.buyer, bid.campaign]
    other, changed = x.changed(change, campaign, bid)
    prices = sent(market, other, changed)
    assert len(prices) > len(told.prices)
    assert prices[len(told.prices)] <= change.price


def test_the_books_show_every_constraint_binding_and_every_counter_offer():
    """Else the tests above would promise what they never met."""
    missing = {("binds", name) for name in x.PRICED} | {("helps", name) for name in x.CONSTRAINTS}
    missing |= {("left out", name) for name in ("residency", "data_residency", "sovereignty")}
    missing |= {("left out", "cold"), ("left out", "peering"), ("partly", ""), ("no money", "")}
    for seed in range(10_000):
        commands, bid = book(seed)
        found = explained(compiled(commands), bid)
        if found is None:
            continue
        missing -= {("binds", each.constraint) for each in found.constraints if any(each.nusd)}
        for change in found.changes:
            missing.discard(("helps", change.constraint))
            if change.value is None and not change.entries:
                missing.discard(("left out", change.constraint))
            if found.reason == "insufficient_funds":
                missing.discard(("no money", ""))
        if 0 < len(found.prices) < bid.quantity:
            missing.discard(("partly", ""))
        if not missing:
            return
    pytest.fail(f"never seen: {sorted(missing)}")


# ----------------------------------------------------------------------------- sizes and rounding
def test_rounding_up_keeps_two_digits_and_never_falls_short():
    rng = random.Random(5)
    for _ in range(2_000):
        number = rng.randint(-(10 ** rng.randint(0, 15)), 10 ** rng.randint(0, 15))
        up = x.round_up(number)
        assert up >= number
        assert len(str(abs(up)).rstrip("0")) <= 2
        assert abs(up - number) * 10 <= max(abs(number), 1)
    assert [x.round_up(n) for n in (0, 99, 100, 101, 1234, 9951, -1290)] == [
        0, 99, 100, 110, 1300, 10_000, -1200,
    ]  # fmt: skip
    assert [x.round_down(n) for n in (0, 7, 99, 199, 1290)] == [0, 7, 99, 190, 1200]


def test_money_and_time_come_before_preferences_and_those_before_law():
    """The order of "smallest" as the document states it."""

    def change(name, size):
        return x.Change(constraint=name, price=0, pusd_per_token=0, size=size)

    pricier = change("ceiling", x.size_of_number(100, 150))
    slower = change("latency", x.size_of_number(100_000, 104_000))
    doubled = change("ceiling", x.size_of_number(100, 200))
    card = change("hardware", x.PREFERENCE_WEIGHT)
    far = change("ceiling", x.size_of_number(100, 301))
    country = change("residency", x.LAW_WEIGHT)
    unknown = change("residency", x.LAW_WEIGHT * x.ENTRIES_OF_A_LIST)
    order = [slower, pricier, doubled, card, far, country, unknown]
    shuffled = random.Random(1).sample(order, len(order))
    assert sorted(shuffled, key=x.smallest_first) == order
