"""The price rule against an oracle that states its definition and shares no code (oracle.py).

Goal: winner, price, rival and contested of one auction on random books. Prices 0 to 6, three owners
and two models, so that ties, own groups and markdowns meet in most books.
"""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import events as e
from tests.market import oracle
from tests.market.book import Book, fills

OWNERS = "ABC"
BUYERS = ("X", "Y", "Z", "A")
GROUPS = {"C": "A", "Z": "X"}


def _offer(rng, number):
    operator = rng.choice(OWNERS)
    return {
        "operator": operator, "group": GROUPS.get(operator, operator), "number": number,
        "model": rng.choice("mmn"), "slots": rng.choice((0, 1, 1, 2)), "deal": rng.random() < 0.2,
        "ask_in": rng.choice((0, 500, 1000)), "ask_out": rng.choice((0, 700, 2000)),
        "ask_second": rng.randint(0, 3), "latency_us": 10 + rng.choice((0, 0, 7, 5000)),
    }  # fmt: skip


def _bid(rng, number):
    buyer, campaign = rng.choice(BUYERS), rng.choice(sorted(MARKDOWNS))
    budget_us = rng.choice((10, 5000, 6000))
    band = 5 if budget_us <= 5000 else 10
    return {
        "buyer": buyer, "group": GROUPS.get(buyer, buyer), "number": number,
        "campaign": campaign, "markdowns": MARKDOWNS[campaign], "budget_us": budget_us,
        "cards": {model: CARDS[model, band] for model in "mn"}, "units": rng.choice((1, 1, 2)), "tokens_in": rng.randint(0, 2),
        "tokens_out": rng.randint(1, 2), "lease_us": rng.choice((1, 500_000, 1_000_000)),
        "max_price": rng.randint(0, 14), "time_value": TIME_VALUE[campaign],
    }  # fmt: skip


CARDS = {
    ("m", 5): (2000, 2000, 2), ("m", 10): (0, 3500, 4), ("n", 5): (500, 1500, 1),
    ("n", 10): (500, 1500, 1),
}  # fmt: skip
MARKDOWNS = {"both": {"m": 0, "n": 2}, "one": {"m": 1}, "waits": {"m": 0, "n": 0}}
TIME_VALUE = {"both": 0, "one": 0, "waits": 300}


def _open(engine):
    book = Book(engine).world(operators=OWNERS, buyers="")
    book.ok("operator", operator="C", group="A")
    for model, (card_in, card_out, card_second) in (("m", CARDS["m", 5]), ("n", CARDS["n", 5])):
        book.ok("model", model=model, card_in=card_in, card_out=card_out, card_second=card_second)
    card_in, card_out, card_second = CARDS["m", 10]
    book.ok(
        "price_card",
        model="m",
        band=10,
        card_in=card_in,
        card_out=card_out,
        card_second=card_second,
    )
    for buyer in BUYERS:
        book.ok("buyer", buyer=buyer, group=GROUPS.get(buyer, buyer))
        book.ok("deposit", role="buyer", member=buyer, transfer=1, amount=10**6)
        for campaign, markdowns in MARKDOWNS.items():
            models = [{"model": model, "markdown": less} for model, less in markdowns.items()]
            book.ok(
                "campaign", buyer=buyer, campaign=campaign, models=models,
                time_value=TIME_VALUE[campaign],
            )  # fmt: skip
    for operator in OWNERS:
        book.ok("deal", deal=f"d-{operator}", operator=operator, buyers=list(BUYERS))
    return book


def _send_offer(book, offer):
    return book.offer(
        offer["operator"], offer["ask_second"], offer=offer["number"], model=offer["model"],
        slots=offer["slots"], ask_in=offer["ask_in"], ask_out=offer["ask_out"],
        ttft_us=offer["latency_us"] - 10, deal=f"d-{offer['operator']}" if offer["deal"] else "",
    )  # fmt: skip


def _send_bid(book, bid, rest_us):
    return book.ok(
        "bid", buyer=bid["buyer"], bid=bid["number"], campaign=bid["campaign"],
        tokens_in=bid["tokens_in"], tokens_out=bid["tokens_out"], quantity=bid["units"],
        rest_us=rest_us, lease_us=bid["lease_us"], latency_budget_us=bid["budget_us"],
        max_price=bid["max_price"],
    )  # fmt: skip


def _sale(fill: e.Fill):
    return oracle.Sale(
        fill.offer, fill.bid, fill.price, fill.cost, fill.score, fill.rival_score, fill.contested
    )


def check_a_bid_arrives(engine, seed):
    rng = random.Random(seed)
    book = _open(engine)
    offers = [_offer(rng, number) for number in range(1, rng.randint(1, 5) + 1)]
    bid = _bid(rng, 1)
    for offer in offers:
        _send_offer(book, offer)
    events = _send_bid(book, bid, 0)
    assert [_sale(fill) for fill in fills(events)] == oracle.a_bid_arrives(bid, offers)


def check_capacity_arrives(engine, seed):
    rng = random.Random(seed)
    book = _open(engine)
    bids = [_bid(rng, number) for number in range(1, rng.randint(1, 5) + 1)]
    for bid in bids:
        _send_bid(book, bid, 60_000_000)
    offer = _offer(rng, 1) | {"slots": rng.choice((1, 2, 3))}
    events = _send_offer(book, offer)
    assert [_sale(fill) for fill in fills(events)] == oracle.capacity_arrives(offer, bids)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_an_arriving_bid_buys_as_the_rule_says(seed):
    check_a_bid_arrives("reference", seed)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_arriving_capacity_sells_as_the_rule_says(seed):
    check_capacity_arrives("reference", seed)
