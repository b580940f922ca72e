"""Explain, as it is defined (MARKET.md §7): really run the auction with the campaign changed.

Every answer is what a copy of the market did with another campaign or another bid; nothing is
computed from offers. Numbers are found by halving, lists by trying all changes of one entry, then all
of two. That is slow and obvious: the oracle of matching_core/explain.py.
"""

import copy
import itertools
from collections.abc import Callable, Iterator

from matching_core.reference.auction import best
from matching_core.reference.commands import arriving
from matching_core.reference.eligibility import eligible
from matching_core.reference.expiry import expire
from matching_core.reference.market import ReferenceMarket
from matching_core.reference.state import State
from matching_core.reference.terms import reachable_latency, score
from schemas import commands as c
from schemas import events as e
from schemas import explanation as x
from schemas import limits

Made = Callable[..., x.Change]  # a change of one constraint, without what it comes to


def explain(market: ReferenceMarket, bid: c.Bid, *, rounded: bool = False) -> x.Explanation | None:
    """Explain a bid that `market` is about to get; None when it will be rejected.

    `rounded`: as its buyer is told it. The market stays as it is.
    """
    events = _run(market, None, bid)
    if any(isinstance(event, e.Rejected) and event.command == "bid" for event in events):
        return None
    campaign = market._state.campaigns[bid.buyer, bid.campaign]  # noqa: SLF001  # same package
    tokens = bid.tokens_in + bid.tokens_out
    prices = _prices(events, bid)
    constraints: tuple[x.ConstraintPrice, ...] = ()
    if prices:
        constraints = tuple(
            x.price_of(
                name,
                prices,
                _prices(_run(market, *x.left_out(name, campaign, bid)), bid),
                tokens,
                rounded=rounded,
            )
            for name in x.PRICED
            if x.is_set(name, campaign, bid)
        )
    changes: list[x.Change] = []
    if len(prices) < bid.quantity:
        changes = [
            change
            for name in x.CONSTRAINTS
            if name == x.CEILING or x.is_set(name, campaign, bid)
            if (change := _smallest(market, bid, campaign, name, len(prices), rounded=rounded))
        ]
        changes.sort(key=x.smallest_first)
    return x.Explanation(
        buyer=bid.buyer,
        agent=bid.agent,
        bid=bid.bid,
        campaign=bid.campaign,
        quantity=bid.quantity,
        tokens=tokens,
        prices=prices,
        constraints=constraints,
        changes=tuple(changes[:1] if rounded else changes),
        reason=_reason(events, bid),
        rounded=rounded,
    )


# ----------------------------------------------------------------------------- really running
def _run(market: ReferenceMarket, campaign: c.Campaign | None, bid: c.Bid) -> list[e.AnyEvent]:
    """Return the events of a bid in a copy of the market in which its campaign is another."""
    other = copy.deepcopy(market)
    if campaign is not None:
        other._state.campaigns[bid.buyer, bid.campaign] = campaign  # noqa: SLF001
    return other.apply(bid)


def _prices(events: list[e.AnyEvent], bid: c.Bid) -> tuple[int, ...]:
    return tuple(
        event.price
        for event in events
        if isinstance(event, e.Fill) and (event.buyer, event.agent, event.bid) == _name(bid)
    )


def _reason(events: list[e.AnyEvent], bid: c.Bid) -> str:
    for event in events:
        if isinstance(event, e.Unfilled) and (event.buyer, event.agent, event.bid) == _name(bid):
            return event.reason
    return ""


def _name(bid: c.Bid) -> tuple[str, int, int]:
    return bid.buyer, bid.agent, bid.bid


def _fills_more(
    market: ReferenceMarket, campaign: c.Campaign, bid: c.Bid, change: x.Change, filled: int
) -> bool:
    return len(_prices(_run(market, *x.changed(change, campaign, bid)), bid)) > filled


# ----------------------------------------------------------------------------- the smallest change
def _smallest(
    market: ReferenceMarket,
    bid: c.Bid,
    campaign: c.Campaign,
    name: str,
    filled: int,
    *,
    rounded: bool,
) -> x.Change | None:
    """Return the smallest change of one constraint that fills one unit more, with its price."""

    def made(value: int | None = None, entries: tuple[str, ...] = (), size: int = 0) -> x.Change:
        return x.Change(
            constraint=name, price=0, pusd_per_token=0, size=size, value=value, entries=entries
        )

    def fills(change: x.Change) -> bool:
        return _fills_more(market, campaign, bid, change, filled)

    if name in {x.CEILING, x.LATENCY, x.SPEED, x.TRUST}:
        found = _number(market, bid, campaign, made, fills, rounded=rounded)
    else:
        found = _entries(market, bid, campaign, made, fills)
    if found is None:
        return None
    prices = _prices(_run(market, *x.changed(found, campaign, bid)), bid)
    price = prices[filled]
    per_token = x.pusd_per_token(price, bid.tokens_in + bid.tokens_out)
    return x.Change(
        constraint=name,
        price=x.round_up(price) if rounded else price,
        pusd_per_token=x.round_up(per_token) if rounded else per_token,
        size=found.size,
        value=found.value,
        entries=found.entries,
    )


def _number(
    market: ReferenceMarket,
    bid: c.Bid,
    campaign: c.Campaign,
    made: Made,
    fills: Callable[[x.Change], bool],
    *,
    rounded: bool,
) -> x.Change | None:
    """Halve the way from the number that is set to the loosest one."""
    name = made().constraint
    # What is due as the bid comes may give money back to its buyer.
    affordable = _at_the_bid(market, bid).buyers[bid.buyer].available // bid.quantity
    old, loosest = {
        x.CEILING: (x.ceiling_of(campaign, bid), min(affordable, limits.PRICE_NUSD_MAX)),
        x.LATENCY: (x.budget_of(campaign, bid), limits.LATENCY_US_MAX),
        x.SPEED: (campaign.min_tokens_per_second, 0),
        x.TRUST: (campaign.min_trust, 0),
    }[name]
    if not fills(made(loosest)):
        return None
    new = loosest
    if name != x.CEILING or old < loosest:  # a ceiling beyond the buyer's money comes down to it
        near = old
        while abs(new - near) > 1:
            middle = (near + new) // 2
            if fills(made(middle)):
                new = middle
            else:
                near = middle
    weight = x.CONSTRAINTS[name].weight
    size = abs(new - old) * weight if name == x.TRUST else x.size_of_number(old, new)
    if rounded and name in {x.CEILING, x.LATENCY} and new > old:
        new = min(x.round_up(new), loosest)
    elif rounded and name == x.SPEED:
        new = x.round_down(new)
    return made(new, size=size)


def _entries(
    market: ReferenceMarket,
    bid: c.Bid,
    campaign: c.Campaign,
    made: Made,
    fills: Callable[[x.Change], bool],
) -> x.Change | None:
    """Try all changes of one entry, then all of two …, then the constraint left out."""
    name = made().constraint
    weight = x.CONSTRAINTS[name].weight
    switch = name in {"cold", "peering"}
    whole = made(size=weight * (1 if switch else x.ENTRIES_OF_A_LIST))
    if not fills(whole):
        return None
    if switch:
        return whole
    universe = sorted(_universe(market, campaign, name))
    for count in range(1, len(universe) + 1):
        found = [
            change
            for entries in itertools.combinations(universe, count)
            if fills(change := made(None, entries, weight * count))
        ]
        if found:
            return min(found, key=lambda change: _best_admitted(market, bid, campaign, change))
    return whole


def _universe(market: ReferenceMarket, campaign: c.Campaign, name: str) -> Iterator[str]:
    """Yield what can be added to a list, or taken from it, to any effect."""
    constraint = x.CONSTRAINTS[name]
    field = constraint.fields[0]
    listed: tuple[str, ...] = getattr(campaign, field)
    state = market._state  # noqa: SLF001
    if constraint.requires:
        yield from listed
        return
    found: dict[str, None] = {}
    for offer in state.offers.values():
        site = state.sites[offer.terms.site].command
        operator = state.operators[site.operator].command
        values: tuple[str | None, ...] = {
            "residency": (site.country,),
            "data_residency": site.data_countries,
            "sovereignty": operator.control,
            "tier": (site.tier,),
            "operator": (site.operator,),
            "hardware": (offer.terms.hardware,),
            "precision": (offer.terms.precision,),
            "contract": (offer.terms.contract,),
        }[name]
        found.update(dict.fromkeys(value for value in values if value is not None))
    yield from (value for value in found if name == x.OPERATOR or value not in listed)


def _at_the_bid(market: ReferenceMarket, bid: c.Bid) -> State:
    """Return the state that the bid's auctions find: what was due has happened."""
    state = copy.deepcopy(market)._state  # noqa: SLF001
    state.seq += 1
    state.at = bid.at
    state.events = []
    expire(state)
    return state


def _best_admitted(
    market: ReferenceMarket, bid: c.Bid, campaign: c.Campaign, change: x.Change
) -> tuple[int, int, int]:
    """Return what orders the best offer that a change admits, best first (MARKET.md §5)."""
    state = _at_the_bid(market, bid)
    plain = arriving(state, bid)
    state.campaigns[bid.buyer, bid.campaign], other = x.changed(change, campaign, bid)
    loose = arriving(state, other)
    admitted = [
        offer
        for offer in state.offers.values()
        if state.live(offer) and eligible(state, loose, offer) and not eligible(state, plain, offer)
    ]
    offer = best(state, loose, admitted)
    assert offer is not None, "a change that fills admits an offer"
    return (-score(state, loose, offer), reachable_latency(state, loose, offer), offer.priority)
