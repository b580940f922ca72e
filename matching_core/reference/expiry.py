"""What is due at the start of every command, accepted or not (MARKET.md §6, Expiries)."""

from matching_core.reference.auction import capacity_arrives
from matching_core.reference.lifecycle import release, settle_by_default, settle_overdue
from matching_core.reference.state import OfferKey, State
from schemas import events as e


def expire(state: State) -> None:
    """Let everything happen that is due at or before `state.at`, with now = that `at`."""
    # First offers, by due time, then priority number.
    for key in state.offer_expiries.due(state.at):
        state.remove_offer(key)
        state.emit(e.OfferExpired, site=key[0], offer=key[1])
    # Then resting bids, by due time, then arrival.
    for bid in state.bid_expiries.due(state.at):
        state.end_resting(state.resting[bid], "expired")
    # Then leases, by due time, then fill number. When all due leases are released, 6b runs once for
    # each offer that now has one of their names, by priority number.
    concerned: set[OfferKey] = set()
    for number in state.leases.due(state.at):
        concerned.add(state.fills[number].offer)
        release(state, state.fills[number])
    standing = [state.offers[key] for key in sorted(concerned) if key in state.offers]
    for offer in sorted(standing, key=lambda offer: offer.priority):
        capacity_arrives(state, offer.key)
    # Then settlements and deliveries together, then disputes.
    for number in state.settlements.due(state.at):
        settle_overdue(state, state.fills[number])
    for number in state.disputes.due(state.at):
        settle_by_default(state, state.fills[number])
