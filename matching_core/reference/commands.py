"""What an accepted command does (MARKET_FILE.md, Commands). Each is known to be acceptable."""

from functools import singledispatch

import msgspec

from matching_core.reference import lifecycle
from matching_core.reference.auction import bid_arrives, capacity_arrives
from matching_core.reference.rejects import account
from matching_core.reference.state import (
    LEASED,
    BidState,
    BuyerState,
    NameState,
    OfferState,
    OperatorState,
    Rules,
    SiteState,
    State,
)
from schemas import commands as c
from schemas import events as e
from schemas.limits import NS_PER_US, RELEASE_GRACE_NS


@singledispatch
def execute(command: c.Command, state: State) -> None:
    """Change the state as the command says, and emit its events."""
    raise AssertionError(f"no rule for {type(command).__name__} at command {state.seq}")


# ----------------------------------------------------------------------------- members and money
@execute.register
def _(command: c.Operator, state: State) -> None:
    if command.operator in state.operators:
        state.operators[command.operator].command = command
    else:
        number = len(state.operators) + 1
        state.operators[command.operator] = OperatorState(command, number)


@execute.register
def _(command: c.Buyer, state: State) -> None:
    if command.buyer in state.buyers:
        state.buyers[command.buyer].command = command
    else:
        state.buyers[command.buyer] = BuyerState(command, len(state.buyers) + 1)


@execute.register
def _(command: c.Deposit, state: State) -> None:
    _transfer(state, command, command.amount)


@execute.register
def _(command: c.Withdraw, state: State) -> None:
    _transfer(state, command, -command.amount)


def _transfer(state: State, command: c.Deposit | c.Withdraw, amount: int) -> None:
    found = account(state, command.role, command.member)
    assert found is not None
    if isinstance(found, BuyerState):
        found.available += amount
    else:
        found.balance += amount
    found.last_transfer = command.transfer
    state.deposits += amount


# ----------------------------------------------------------------------------- reference data
@execute.register
def _(command: c.Rules, state: State) -> None:
    given = {
        field: value
        for field, value in msgspec.structs.asdict(command).items()
        if field != "at" and value is not msgspec.UNSET
    }
    old = {field: getattr(state.rules, field) for field in Rules.__slots__}
    state.rules = Rules(**(old | given))


@execute.register
def _(command: c.Model, state: State) -> None:
    state.models[command.model] = command


@execute.register
def _(command: c.PriceCard, state: State) -> None:
    state.price_cards[command.model, command.band] = command


@execute.register
def _(command: c.Metro, state: State) -> None:
    state.metros[command.metro] = command


@execute.register
def _(command: c.Site, state: State) -> None:
    if command.site in state.sites:
        state.sites[command.site].command = command
    else:
        state.sites[command.site] = SiteState(command)


@execute.register
def _(command: c.SiteTrust, state: State) -> None:
    site = state.sites[command.site]
    if command.trust is not msgspec.UNSET:
        site.trust = command.trust
    if command.latency_margin_us is not msgspec.UNSET:
        site.latency_margin_us = command.latency_margin_us


@execute.register
def _(command: c.Rtt, state: State) -> None:
    state.rtts[command.site, command.metro] = command


@execute.register
def _(command: c.Deal, state: State) -> None:
    state.deals[command.deal] = command


@execute.register
def _(command: c.Adapter, state: State) -> None:
    state.adapters[command.adapter] = command


# ----------------------------------------------------------------------------- halts
@execute.register
def _(command: c.Halt, state: State) -> None:
    state.halts.add((command.scope, command.name, command.by))
    if command.scope == "buyer":
        for bid in [bid for bid in state.resting.values() if bid.command.buyer == command.name]:
            state.end_resting(bid, "halted")


@execute.register
def _(command: c.Resume, state: State) -> None:
    state.halts.discard((command.scope, command.name, command.by))


# ----------------------------------------------------------------------------- offers
@execute.register
def _(command: c.Offer, state: State) -> None:
    key = (command.site, command.offer)
    state.names.setdefault(key, NameState()).see(command.fills_seen)
    state.offers[key] = OfferState(command, priority=state.seq, expires_at_ns=0)
    _renew(state, state.offers[key], command.ttl_us)
    capacity_arrives(state, key)


@execute.register
def _(command: c.Refresh, state: State) -> None:
    key = (command.site, command.offer)
    offer = state.offers[key]
    state.names[key].see(command.fills_seen)
    offer.terms = msgspec.structs.replace(
        offer.terms,
        slots=command.slots,
        ttft_us=command.ttft_us,
        prefill_ns_per_token=command.prefill_ns_per_token,
        tokens_per_second=command.tokens_per_second,
    )
    _renew(state, offer, command.ttl_us)
    capacity_arrives(state, key)


@execute.register
def _(command: c.Renew, state: State) -> None:
    for (site, _), offer in state.offers.items():
        if site == command.site:
            _renew(state, offer, command.ttl_us)


def _renew(state: State, offer: OfferState, ttl_us: int) -> None:
    offer.expires_at_ns = state.at + NS_PER_US * ttl_us
    state.offer_expiries.put(offer.key, offer.expires_at_ns, offer.priority)


@execute.register
def _(command: c.OfferCancel, state: State) -> None:
    state.remove_offer((command.site, command.offer))


@execute.register
def _(command: c.OffersCancel, state: State) -> None:
    for key in [key for key in state.offers if key[0] == command.site]:
        state.remove_offer(key)


# ----------------------------------------------------------------------------- campaigns and bids
@execute.register
def _(command: c.Campaign, state: State) -> None:
    state.campaigns[command.buyer, command.campaign] = command


@execute.register
def _(command: c.CampaignEnd, state: State) -> None:
    for bid in list(state.resting.values()):
        if (bid.command.buyer, bid.command.campaign) == (command.buyer, command.campaign):
            state.end_resting(bid, "cancelled")
    del state.campaigns[command.buyer, command.campaign]


@execute.register
def _(command: c.Bid, state: State) -> None:
    state.buyers[command.buyer].last_bids[command.agent] = command.bid
    bid_arrives(state, arriving(state, command))


def arriving(state: State, command: c.Bid) -> BidState:
    """Return an acceptable bid with what it takes from its campaign filled in (MARKET.md §4)."""
    campaign = state.campaigns[command.buyer, command.campaign]
    budget_us, max_price = command.latency_budget_us, command.max_price
    if budget_us is None:
        budget_us = campaign.latency_budget_us
    if max_price is None:
        max_price = campaign.max_unit_price * (command.tokens_in + command.tokens_out) // 1000
    return BidState(
        command=command,
        campaign=campaign,
        budget_us=budget_us,
        max_price=max_price,
        units_left=command.quantity,
        due_ns=state.at + NS_PER_US * command.rest_us,
        arrival=state.seq,
    )


@execute.register
def _(command: c.BidCancel, state: State) -> None:
    bid = state.resting[command.buyer, command.agent, command.bid]
    state.end_resting(bid, "cancelled")


@execute.register
def _(command: c.BidsCancel, state: State) -> None:
    for bid in list(state.resting.values()):
        if (bid.command.buyer, bid.command.agent) == (command.buyer, command.agent):
            state.end_resting(bid, "cancelled")


# ----------------------------------------------------------------------------- fills
@execute.register
def _(command: c.Start, state: State) -> None:
    lifecycle.start(state, state.fills[command.fill])


@execute.register
def _(command: c.Decline, state: State) -> None:
    lifecycle.decline(state, state.fills[command.fill], command.reason)


@execute.register
def _(command: c.Release, state: State) -> None:
    fill = state.fills[command.fill]
    fill.lease_until = min(fill.lease_until, state.at + RELEASE_GRACE_NS)
    state.leases.put(fill.fill, fill.lease_until, fill.fill)
    state.emit(e.Releasing, fill=fill.fill, lease_until=fill.lease_until)


@execute.register
def _(command: c.Complete, state: State) -> None:
    fill = state.fills[command.fill]
    if fill.state == LEASED:  # an operator that completes has started at that moment
        lifecycle.start(state, fill)
    figure = lifecycle.figure(fill, command.tokens_in, command.tokens_out)
    lifecycle.complete(state, fill, command.role, figure)


@execute.register
def _(command: c.Resolve, state: State) -> None:
    fill = state.fills[command.fill]
    lifecycle.settle(state, fill, by="exchange", paid=command.amount, part=command.amount)


@execute.register
def _(_command: c.Clock, _state: State) -> None:
    """Nothing but expiries, and those have been."""
