"""The table of eligibility (MARKET.md §5): 20 rules, in order; the first that fails is the reason."""

# ruff: noqa: ARG001  # a rule of the table takes state, bid and offer, whichever of them it needs
from collections.abc import Callable
from typing import Final

from matching_core.reference.state import BidState, OfferState, State
from matching_core.reference.terms import cost, latency, must_load_adapter, value
from schemas.reasons import ELIGIBILITY_RULES


def _no_model(state: State, bid: BidState, offer: OfferState) -> bool:
    deal = offer.terms.deal
    return offer.terms.model in {m.model for m in bid.campaign.models} and (
        deal == "" or bid.command.buyer in state.deals[deal].buyers
    )


def _no_capacity(state: State, bid: BidState, offer: OfferState) -> bool:
    return state.available(offer) >= 1


def _cold(state: State, bid: BidState, offer: OfferState) -> bool:
    accepts = bid.campaign.accept_cold
    if offer.terms.cold_start_us > 0 and not accepts:
        return False
    if bid.command.adapter == "":
        return True
    if state.adapters[bid.command.adapter].model != offer.terms.model:
        return False
    can_load = offer.terms.adapter_load_us > 0 and accepts
    return not must_load_adapter(bid, offer) or can_load


def _own(state: State, bid: BidState, offer: OfferState) -> bool:
    return state.seller_group(offer) != state.buyer_group(bid)


# Unknown fails a rule that is set: an unknown country is None, unknown lists are empty.
def _residency(state: State, bid: BidState, offer: OfferState) -> bool:
    allowed = bid.campaign.residency
    return not allowed or state.sites[offer.terms.site].command.country in allowed


def _data_residency(state: State, bid: BidState, offer: OfferState) -> bool:
    allowed = bid.campaign.data_residency
    where = state.sites[offer.terms.site].command.data_countries
    return not allowed or (where != () and all(country in allowed for country in where))


def _sovereignty(state: State, bid: BidState, offer: OfferState) -> bool:
    allowed = bid.campaign.sovereignty
    control = state.operators[state.operator_of(offer)].command.control
    return not allowed or (control != () and all(country in allowed for country in control))


def _certification(state: State, bid: BidState, offer: OfferState) -> bool:
    has = state.sites[offer.terms.site].command.certifications
    return all(required in has for required in bid.campaign.certifications)


def _tier(state: State, bid: BidState, offer: OfferState) -> bool:
    return _allowed(state.sites[offer.terms.site].command.tier, bid.campaign.tiers)


def _operator(state: State, bid: BidState, offer: OfferState) -> bool:
    operator = state.operator_of(offer)
    denied = operator in bid.campaign.deny_operators
    return _allowed(operator, bid.campaign.allow_operators) and not denied


def _trust(state: State, bid: BidState, offer: OfferState) -> bool:
    return state.sites[offer.terms.site].trust >= bid.campaign.min_trust


def _capability(state: State, bid: BidState, offer: OfferState) -> bool:
    return all(required in offer.terms.capabilities for required in bid.campaign.capabilities)


def _hardware(state: State, bid: BidState, offer: OfferState) -> bool:
    return _allowed(offer.terms.hardware, bid.campaign.hardware)


def _precision(state: State, bid: BidState, offer: OfferState) -> bool:
    return _allowed(offer.terms.precision, bid.campaign.precisions)


def _contract(state: State, bid: BidState, offer: OfferState) -> bool:
    return _allowed(offer.terms.contract, bid.campaign.contracts)


def _speed(state: State, bid: BidState, offer: OfferState) -> bool:
    return offer.terms.tokens_per_second >= bid.campaign.min_tokens_per_second


def _peering(state: State, bid: BidState, offer: OfferState) -> bool:
    asn = bid.command.origin_asn
    peers = asn != 0 and asn in state.sites[offer.terms.site].command.asns
    return not bid.campaign.peering or peers


def _context(state: State, bid: BidState, offer: OfferState) -> bool:
    return bid.command.tokens_in + bid.command.tokens_out <= offer.terms.context_limit


def _latency(state: State, bid: BidState, offer: OfferState) -> bool:
    latency_us = latency(state, bid, offer)
    return latency_us is not None and latency_us <= bid.budget_us


def _price(state: State, bid: BidState, offer: OfferState) -> bool:
    return cost(bid, offer) <= value(state, bid, offer)


def _allowed(what: str, allowed: tuple[str, ...]) -> bool:
    return not allowed or what in allowed


Rule = Callable[[State, BidState, OfferState], bool]

# Reason, and when a live offer passes. A later rule may rely on the earlier ones.
RULES: Final[tuple[tuple[str, Rule], ...]] = (
    ("no_model", _no_model),
    ("no_capacity", _no_capacity),
    ("cold", _cold),
    ("own", _own),
    ("residency", _residency),
    ("data_residency", _data_residency),
    ("sovereignty", _sovereignty),
    ("certification", _certification),
    ("tier", _tier),
    ("operator", _operator),
    ("trust", _trust),
    ("capability", _capability),
    ("hardware", _hardware),
    ("precision", _precision),
    ("contract", _contract),
    ("speed", _speed),
    ("peering", _peering),
    ("context", _context),
    ("latency", _latency),
    ("price", _price),
)
assert tuple(reason for reason, _ in RULES) == ELIGIBILITY_RULES


def first_failed_rule(state: State, bid: BidState, offer: OfferState) -> int | None:
    """Return the place in `RULES` of the first rule that a live offer fails; None: eligible."""
    for place, (_, passes) in enumerate(RULES):
        if not passes(state, bid, offer):
            return place
    return None


def eligible(state: State, bid: BidState, offer: OfferState) -> bool:
    """Tell whether a live offer may serve the bid."""
    return first_failed_rule(state, bid, offer) is None
