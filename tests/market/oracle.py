"""The price rule of MARKET.md §5 and §6 as its sentences state it, for books of one auction.

It shares no code with the product. Where an engine computes, this searches: a rounded-up charge is
the smallest whole number that suffices, a winner is one that no other is better than, a price is
found by trying whole numbers one by one. Books are dictionaries of small numbers.

An offer: `group, number` (lower stands longer), `model, slots, deal, ask_in, ask_out, ask_second,
latency_us`. A bid: `group, number` (lower arrived earlier), `units, tokens_in, tokens_out, lease_us,
max_price, time_value, budget_us, markdowns` (by model, those it accepts) and `cards` (by model: per
token in, per token out, per second; of the bid's band).
"""

from fractions import Fraction
from itertools import count
from typing import Any, NamedTuple

Book = dict[str, Any]


class Sale(NamedTuple):
    """One unit sold."""

    offer: int
    bid: int
    price: int
    cost: int
    score: int
    rival_score: int | None
    contested: bool


def _whole(amount: Fraction) -> int:
    """Return the smallest whole number that is not less than the amount."""
    return next(n for n in count() if n >= amount)


def _charge(bid: Book, per_in: int, per_out: int, per_second: int) -> int:
    tokens = Fraction(bid["tokens_in"] * per_in + bid["tokens_out"] * per_out, 1000)
    return _whole(tokens) + _whole(Fraction(per_second * bid["lease_us"], 1_000_000))


def _cost(bid: Book, offer: Book) -> int:
    return _charge(bid, offer["ask_in"], offer["ask_out"], offer["ask_second"])


def _card(bid: Book, offer: Book) -> int:
    per_in, per_out, per_second = bid["cards"][offer["model"]]
    return _charge(bid, per_in, per_out, per_second)


def _value(bid: Book, offer: Book) -> int:
    waiting = _whole(Fraction(bid["time_value"] * offer["latency_us"], 1000))
    value: int = bid["max_price"] - bid["markdowns"][offer["model"]] - waiting
    return value


def _score(bid: Book, offer: Book) -> int:
    return _value(bid, offer) - _cost(bid, offer)


def _may_trade(bid: Book, offer: Book) -> bool:
    return (
        offer["model"] in bid["markdowns"]
        and offer["slots"] > 0
        and offer["group"] != bid["group"]
        and offer["latency_us"] <= bid["budget_us"]
        and _cost(bid, offer) <= _value(bid, offer)
    )


def _uncontested(bid: Book, offer: Book) -> int:
    """At the card; at the ask where that is above it; at the value where that is below it."""
    cost, card, value = _cost(bid, offer), _card(bid, offer), _value(bid, offer)
    if cost > card:
        return cost
    if value < card:
        return value
    return card


def _better(bid: Book, one: Book, other: Book) -> bool:
    if _score(bid, one) != _score(bid, other):
        return _score(bid, one) > _score(bid, other)
    if one["latency_us"] != other["latency_us"]:
        return bool(one["latency_us"] < other["latency_us"])
    return bool(one["number"] < other["number"])


def _best(bid: Book, offers: list[Book]) -> Book | None:
    for one in offers:
        if not any(_better(bid, other, one) for other in offers if other is not one):
            return one
    return None


def a_bid_arrives(bid: Book, offers: list[Book]) -> list[Sale]:
    """Return what each unit buys, one after another (§6a). The offers' slots are used up."""
    sales: list[Sale] = []
    for _ in range(bid["units"]):
        sale = _one_unit(bid, [offer for offer in offers if _may_trade(bid, offer)])
        if sale is None:
            break
        sales.append(sale)
        next(offer for offer in offers if offer["number"] == sale.offer)["slots"] -= 1
    return sales


def _one_unit(bid: Book, offers: list[Book]) -> Sale | None:
    winner = _best(bid, [offer for offer in offers if not offer["deal"]])
    deal = _best(bid, [offer for offer in offers if offer["deal"]])
    gain = None
    sale = None
    if winner is not None:
        others = [o for o in offers if not o["deal"] and o["group"] != winner["group"]]
        rival = _best(bid, others)
        alone = _uncontested(bid, winner)
        price = alone
        if rival is not None:
            # The most it could be paid so that the buyer still does no better with the rival.
            while _value(bid, winner) - price < _score(bid, rival):
                price -= 1
        rival_score = None if rival is None else _score(bid, rival)
        gain = _value(bid, winner) - price
        sale = Sale(
            winner["number"], bid["number"], price, _cost(bid, winner), _score(bid, winner),
            rival_score, price < alone,
        )  # fmt: skip
    if deal is not None and (gain is None or _score(bid, deal) >= gain):
        cost = _cost(bid, deal)
        return Sale(
            deal["number"], bid["number"], cost, cost, _score(bid, deal), None, contested=False
        )
    return sale


def capacity_arrives(offer: Book, bids: list[Book]) -> list[Sale]:
    """Return what each slot of an offer sells to bids at rest, in order (§6b)."""
    competing = [
        bid
        for bid in bids
        if _may_trade(bid, offer) and (offer["deal"] or _cost(bid, offer) <= _card(bid, offer))
    ]
    units = [bid for bid in competing for _ in range(bid["units"])]
    winners: list[Book] = []
    while units and len(winners) < offer["slots"]:
        top = max(_score(bid, offer) for bid in units)
        first = min(bid["number"] for bid in units if _score(bid, offer) == top)
        place = next(n for n, bid in enumerate(units) if bid["number"] == first)
        winners.append(units.pop(place))
    return [_one_slot(offer, bid, units) for bid in winners]


def _one_slot(offer: Book, bid: Book, losers: list[Book]) -> Sale:
    cost, score = _cost(bid, offer), _score(bid, offer)
    if offer["deal"]:
        return Sale(offer["number"], bid["number"], cost, cost, score, None, contested=False)
    rivals = [_score(loser, offer) for loser in losers if loser["group"] != bid["group"]]
    alone = _uncontested(bid, offer)
    price = alone
    if rivals:
        # The least it must pay so that the operator does no better with the rival.
        while price - cost < max(rivals):
            price += 1
    return Sale(
        offer["number"], bid["number"], price, cost, score, max(rivals, default=None), price > alone
    )
