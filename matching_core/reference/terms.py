"""Cost, card, latency, value and score of a bid and an offer (MARKET.md §5)."""

from matching_core.reference.state import BidState, Card, OfferState, State
from schemas.lists import BANDS_MS, band_of_budget


def ceil_div(a: int, b: int) -> int:
    """Divide and round up (MARKET.md §1)."""
    return -(-a // b)


def charge(bid: BidState, per_in: int, per_out: int, per_second: int) -> int:
    """Return what the bid's tokens and lease cost at these unit prices, n$."""
    tokens = ceil_div(bid.command.tokens_in * per_in + bid.command.tokens_out * per_out, 1000)
    return tokens + ceil_div(per_second * bid.command.lease_us, 10**6)


def cost(bid: BidState, offer: OfferState) -> int:
    """Return what the operator asks."""
    return charge(bid, offer.terms.ask_in, offer.terms.ask_out, offer.terms.ask_second)


def card_of(state: State, bid: BidState, offer: OfferState) -> Card:
    """Return the card of the offer's model and the bid's band, else of the model."""
    model = offer.terms.model
    band_ms = BANDS_MS[band_of_budget(bid.budget_us)]
    prices = state.price_cards.get((model, band_ms), state.models[model])
    return Card(prices.card_in, prices.card_out, prices.card_second)


def card(state: State, bid: BidState, offer: OfferState) -> int:
    """Return the exchange's reference price for this bid."""
    prices = card_of(state, bid, offer)
    return charge(bid, prices.card_in, prices.card_out, prices.card_second)


def must_load_adapter(bid: BidState, offer: OfferState) -> bool:
    """Tell whether the bid names an adapter that is not resident."""
    return bid.command.adapter != "" and bid.command.adapter not in offer.terms.adapters


def latency(state: State, bid: BidState, offer: OfferState) -> int | None:
    """Return the p99 latency in µs; None when the site cannot be reached from the origin."""
    rtt = state.rtts.get((offer.terms.site, bid.command.origin))
    if rtt is None or rtt.p99_us is None:
        return None
    return (
        rtt.p99_us
        + state.sites[offer.terms.site].latency_margin_us
        + offer.terms.ttft_us
        + bid.command.tokens_in * offer.terms.prefill_ns_per_token // 1000
        + offer.terms.cold_start_us
        + (offer.terms.adapter_load_us if must_load_adapter(bid, offer) else 0)
    )


def reachable_latency(state: State, bid: BidState, offer: OfferState) -> int:
    """Return the latency of a pair that passed rule 19."""
    latency_us = latency(state, bid, offer)
    assert latency_us is not None
    return latency_us


def value(state: State, bid: BidState, offer: OfferState) -> int:
    """Return the most the buyer would pay for this offer, which must be of a campaign's model."""
    markdown = next(m.markdown for m in bid.campaign.models if m.model == offer.terms.model)
    wait = ceil_div(bid.campaign.time_value * reachable_latency(state, bid, offer), 1000)
    return bid.max_price - markdown - wait


def score(state: State, bid: BidState, offer: OfferState) -> int:
    """Return what the buyer would gain at the operator's ask."""
    return value(state, bid, offer) - cost(bid, offer)


def alone(state: State, bid: BidState, offer: OfferState) -> int:
    """Return the price of an uncontested pair: the card anchors what has no rival (§6)."""
    at_most = min(value(state, bid, offer), card(state, bid, offer))
    return max(cost(bid, offer), at_most)
