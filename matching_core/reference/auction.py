"""One rule, two directions (MARKET.md §6): a bid arrives, or capacity arrives."""

from matching_core.reference.eligibility import RULES, eligible, first_failed_rule
from matching_core.reference.state import BidState, FillState, OfferKey, OfferState, State
from matching_core.reference.terms import (
    alone,
    card,
    card_of,
    cost,
    must_load_adapter,
    reachable_latency,
    score,
    value,
)
from schemas import commands as c
from schemas import events as e
from schemas.limits import NS_PER_US


# ----------------------------------------------------------------------------- §6a: a bid arrives
def bid_arrives(state: State, bid: BidState) -> None:
    """Clear the units of an arriving bid one after another on the changing book."""
    buyer = state.buyers[bid.command.buyer]
    if buyer.available < bid.max_price * bid.units_left:
        state.emit_unfilled(bid, "insufficient_funds")
        return
    while bid.units_left > 0:
        if not clear_unit(state, bid):
            break
    if bid.units_left == 0:
        return
    # The first unit that finds nothing ends it: the remaining units share one fate.
    if bid.command.rest_us == 0:
        state.emit_unfilled(bid, reason_of_no_fill(state, bid))
        return
    buyer.available -= bid.units_left * bid.max_price
    buyer.held += bid.units_left * bid.max_price
    state.resting[bid.key] = bid
    state.bid_expiries.put(bid.key, bid.due_ns, bid.arrival)
    name, agent, number = bid.key
    state.emit(e.Resting, buyer=name, agent=agent, bid=number, quantity=bid.units_left)


def clear_unit(state: State, bid: BidState) -> bool:
    """Auction one unit of an arriving bid; tell whether it filled."""
    offers = [o for o in state.offers.values() if state.live(o) and eligible(state, bid, o)]
    open_offers = [o for o in offers if o.terms.deal == ""]
    winner = best(state, bid, open_offers)
    price, rival_score, contested = 0, None, False
    if winner is not None:
        group = state.seller_group(winner)
        rival = best(state, bid, [o for o in open_offers if state.seller_group(o) != group])
        price = alone(state, bid, winner)
        if rival is not None:
            rival_score = score(state, bid, rival)
            # What the winner would have to ask to tie with its best rival.
            tie = value(state, bid, winner) - rival_score
            contested = tie < price
            price = min(price, tie)
    # Deals are first-price and no rivals.
    deal = best(state, bid, [o for o in offers if o.terms.deal != ""])
    if deal is not None and (
        winner is None or score(state, bid, deal) >= value(state, bid, winner) - price
    ):
        make_fill(
            state, bid, deal, cost(bid, deal), rival_score=None, contested=False, resting=False
        )
        return True
    if winner is None:
        return False
    make_fill(
        state, bid, winner, price, rival_score=rival_score, contested=contested, resting=False
    )
    return True


def best(state: State, bid: BidState, offers: list[OfferState]) -> OfferState | None:
    """Return the best of eligible offers: higher score, then lower latency, then priority (§5)."""
    return min(
        offers,
        key=lambda o: (-score(state, bid, o), reachable_latency(state, bid, o), o.priority),
        default=None,
    )


def reason_of_no_fill(state: State, bid: BidState) -> str:
    """Return the furthest that any live offer came (MARKET.md §7)."""
    furthest = 0  # no live offer at all: no_model
    for offer in state.offers.values():
        if state.live(offer):
            failed = first_failed_rule(state, bid, offer)
            assert failed is not None, "an eligible offer was left"
            furthest = max(furthest, failed)
    return RULES[furthest][0]


# ----------------------------------------------------------------------------- §6b: capacity arrives
def capacity_arrives(state: State, key: OfferKey) -> None:
    """Let resting bids compete for what an offer can sell, if it stands and is live."""
    offer = state.offers.get(key)
    if offer is None or not state.live(offer):
        return
    slots = state.available(offer)
    if slots < 1:
        return
    is_deal = offer.terms.deal != ""
    bids = [
        bid
        for bid in state.resting.values()
        if eligible(state, bid, offer) and (is_deal or cost(bid, offer) <= card(state, bid, offer))
    ]
    bids.sort(key=lambda bid: (-score(state, bid, offer), bid.arrival))
    units = [bid for bid in bids for _ in range(bid.units_left)]
    winners, losers = units[:slots], units[slots:]
    for bid in winners:
        if is_deal:
            price, rival_score, contested = cost(bid, offer), None, False
        else:
            price, rival_score, contested = _price_of_capacity(state, bid, offer, losers)
        make_fill(
            state, bid, offer, price, rival_score=rival_score, contested=contested, resting=True
        )


def _price_of_capacity(
    state: State, winner: BidState, offer: OfferState, losers: list[BidState]
) -> tuple[int, int | None, bool]:
    """Return price, the rival's score and contested for one winning unit of an open offer."""
    price = alone(state, winner, offer)
    group = state.buyer_group(winner)
    rival = next((bid for bid in losers if state.buyer_group(bid) != group), None)
    if rival is None:
        return price, None, False
    rival_score = score(state, rival, offer)
    tie = cost(winner, offer) + rival_score
    return max(price, tie), rival_score, tie > price


# ----------------------------------------------------------------------------- a fill is made
def make_fill(
    state: State,
    bid: BidState,
    offer: OfferState,
    price: int,
    *,
    rival_score: int | None,
    contested: bool,
    resting: bool,
) -> None:
    """Sell one slot to one unit: hold the price, number the fill, say what was bought."""
    assert cost(bid, offer) <= price <= value(state, bid, offer) <= bid.max_price
    assert state.available(offer) >= 1
    request, terms = bid.command, offer.terms
    buyer = state.buyers[request.buyer]
    if resting:  # the unit held max_price until now
        buyer.held -= bid.max_price
        buyer.available += bid.max_price
    assert buyer.available >= price
    buyer.available -= price
    buyer.held += price

    state.fills_made += 1
    ordinal = state.names[offer.key].fill()
    fill = FillState(
        fill=state.fills_made,
        bid=request,
        unit=bid.next_unit,
        operator=state.operator_of(offer),
        offer=offer.key,
        ordinal=ordinal,
        price=price,
        filled_at=state.at,
        lease_until=state.at + NS_PER_US * request.lease_us,
        card=card_of(state, bid, offer),
        rules=state.rules,
    )
    state.fills[fill.fill] = fill
    state.leases.put(fill.fill, fill.lease_until, fill.fill)
    bid.next_unit += 1
    bid.units_left -= 1
    if resting and bid.units_left == 0:
        state.remove_resting(bid)

    site: c.Site = state.sites[terms.site].command
    state.emit(
        e.Fill,
        fill=fill.fill,
        buyer=request.buyer,
        agent=request.agent,
        bid=request.bid,
        unit=fill.unit,
        operator=fill.operator,
        site=terms.site,
        offer=terms.offer,
        ordinal=ordinal,
        model=terms.model,
        hardware=terms.hardware,
        precision=terms.precision,
        contract=terms.contract,
        tier=site.tier,
        country=site.country,
        cold=terms.cold_start_us > 0 or must_load_adapter(bid, offer),
        tokens_in=request.tokens_in,
        tokens_out=request.tokens_out,
        price=price,
        cost=cost(bid, offer),
        score=score(state, bid, offer),
        rival_score=rival_score,
        contested=contested,
        latency_us=reachable_latency(state, bid, offer),
        lease_until=fill.lease_until,
        resting=resting,
    )
