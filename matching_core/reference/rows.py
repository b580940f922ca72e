"""The state as rows of the digest (`matching_core.digest` says what stands in each)."""

from collections.abc import Iterator

from matching_core.digest import OFFER_FIELDS_LEFT_OUT, Row, struct_fields
from matching_core.reference.state import State


def rows(state: State) -> Iterator[Row]:
    """Yield every row of the digest, in its order."""
    yield ("market", state.seq, state.at, state.fills_made, state.ended_sum)
    rules = state.rules
    yield (
        "rules", rules.take_rate_ppm, rules.rent_ppm_per_s, rules.tolerance_ppm,
        rules.settle_us, rules.deliver_us, rules.dispute_us,
    )  # fmt: skip
    yield ("money", state.fees, state.withheld, state.deposits)
    yield from _members(state)
    yield from _reference_data(state)
    yield from _book(state)
    yield from _fills(state)


def _members(state: State) -> Iterator[Row]:
    for _, operator in sorted(state.operators.items()):
        fields = struct_fields(operator.command)
        yield ("operator", *fields, operator.balance, operator.last_transfer)
    for _, buyer in sorted(state.buyers.items()):
        last_bids = tuple(sorted(buyer.last_bids.items()))
        fields = struct_fields(buyer.command)
        yield ("buyer", *fields, buyer.available, buyer.last_transfer, last_bids)


def _reference_data(state: State) -> Iterator[Row]:
    for _, model in sorted(state.models.items()):
        yield ("model", *struct_fields(model))
    for _, price_card in sorted(state.price_cards.items()):
        yield ("price_card", *struct_fields(price_card))
    for _, adapter in sorted(state.adapters.items()):
        yield ("adapter", *struct_fields(adapter))
    for _, metro in sorted(state.metros.items()):
        yield ("metro", *struct_fields(metro))
    for _, site in sorted(state.sites.items()):
        yield ("site", *struct_fields(site.command), site.trust, site.latency_margin_us)
    for _, rtt in sorted(state.rtts.items()):
        if rtt.p99_us is not None:
            yield ("rtt", *struct_fields(rtt))
    for _, deal in sorted(state.deals.items()):
        yield ("deal", *struct_fields(deal))
    for halt in sorted(state.halts):
        yield ("halt", *halt)


def _book(state: State) -> Iterator[Row]:
    for _, campaign in sorted(state.campaigns.items(), key=lambda item: item[0]):
        yield ("campaign", *struct_fields(campaign))
    for _, offer in sorted(state.offers.items()):
        fields = struct_fields(offer.terms, without=OFFER_FIELDS_LEFT_OUT)
        yield ("offer", *fields, offer.priority, offer.expires_at_ns)
    for (site, number), name in sorted(state.names.items()):
        yield ("name", site, number, name.fills_made, name.fills_seen, tuple(name.in_flight))
    for bid in state.resting.values():
        request = bid.command
        yield (
            "rest", request.buyer, request.agent, request.bid, request.campaign, request.origin,
            request.origin_asn, request.tokens_in, request.tokens_out, request.adapter,
            request.lease_us, bid.budget_us, bid.max_price, bid.units_left, bid.next_unit,
            bid.due_ns,
        )  # fmt: skip


def _fills(state: State) -> Iterator[Row]:
    for _, fill in sorted(state.fills.items()):
        bid, (site, offer), card, rules = fill.bid, fill.offer, fill.card, fill.rules
        yield (
            "open", fill.fill, bid.buyer, bid.agent, bid.bid, fill.unit, fill.operator, site, offer,
            fill.ordinal, fill.price, fill.state, fill.lease_until, fill.started_at,
            fill.first_complete_at, fill.disputed_at, fill.buyer_figure, fill.operator_figure,
            fill.filled_at, bid.tokens_in, bid.tokens_out, card.card_in, card.card_out,
            card.card_second, rules.take_rate_ppm, rules.rent_ppm_per_s, rules.tolerance_ppm,
            rules.settle_us, rules.deliver_us, rules.dispute_us,
        )  # fmt: skip
