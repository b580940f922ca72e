"""After the fill (MARKET.md §8): figures, rent, payment, and the ends of a fill."""

from matching_core.digest import ended_term
from matching_core.reference.state import DISPUTED, STARTED, FillState, State
from matching_core.reference.terms import ceil_div
from schemas import events as e
from schemas.limits import NS_PER_US, PPM


# ----------------------------------------------------------------------------- what is owed
def figure(fill: FillState, metered_in: int, metered_out: int) -> int:
    """Return what a side's metering makes of the price (§8, Figures)."""
    if metered_in == 0 and metered_out == 0:
        return 0
    tokens_in, card = fill.bid.tokens_in, fill.card
    declared = tokens_in * card.card_in + fill.bid.tokens_out * card.card_out
    if declared == 0:
        return fill.price
    metered = tokens_in * card.card_in + metered_out * card.card_out
    return min(fill.price, fill.price * metered // declared)


def rent(fill: FillState) -> int:
    """Return what holding the slot costs: until the lease's end or the first `complete` (§8)."""
    end = fill.lease_until
    if fill.first_complete_at is not None:
        end = min(end, fill.first_complete_at)
    held_us = (end - fill.filled_at) // NS_PER_US
    by_price = ceil_div(fill.price * fill.rules.rent_ppm_per_s * held_us, 10**12)
    by_card = ceil_div(fill.card.card_second * held_us, 10**6)
    return min(fill.price, by_price + by_card)


# ----------------------------------------------------------------------------- its states
def start(state: State, fill: FillState) -> None:
    """Leased → started: the lease is over, delivery is due."""
    fill.state = STARTED
    fill.started_at = state.at
    state.leases.drop(fill.fill)
    due_ns = state.at + NS_PER_US * fill.rules.deliver_us
    state.settlements.put(fill.fill, due_ns, fill.fill)


def complete(state: State, fill: FillState, role: str, figure_nusd: int) -> None:
    """Note a side's figure; with both, settle or dispute."""
    if role == "buyer":
        fill.buyer_figure = figure_nusd
    else:
        fill.operator_figure = figure_nusd
    if fill.buyer_figure is None or fill.operator_figure is None:
        fill.first_complete_at = state.at
        due_ns = state.at + NS_PER_US * fill.rules.settle_us
        state.settlements.put(fill.fill, due_ns, fill.fill)
        return
    smaller, larger = sorted((fill.buyer_figure, fill.operator_figure))
    if larger - smaller <= larger * fill.rules.tolerance_ppm // PPM:
        half = (smaller + larger) // 2
        settle(state, fill, by="both", paid=max(half, rent(fill)), part=half)
        return
    fill.state = DISPUTED
    fill.disputed_at = state.at
    state.settlements.drop(fill.fill)
    state.disputes.put(fill.fill, state.at + NS_PER_US * fill.rules.dispute_us, fill.fill)
    state.emit(
        e.Disputed,
        fill=fill.fill,
        buyer_figure=fill.buyer_figure,
        operator_figure=fill.operator_figure,
    )


# ----------------------------------------------------------------------------- its ends
def settle_overdue(state: State, fill: FillState) -> None:
    """Settle a started fill whose other side, or both, stayed silent."""
    if fill.buyer_figure is not None:
        by, part = "buyer", fill.buyer_figure
    elif fill.operator_figure is not None:
        by, part = "operator", fill.operator_figure
    else:
        by, part = "nobody", 0
    settle(state, fill, by=by, paid=max(part, rent(fill)), part=part)


def settle_by_default(state: State, fill: FillState) -> None:
    """Settle a dispute nobody resolved: the buyer pays the larger, the operator earns the smaller."""
    assert fill.buyer_figure is not None
    assert fill.operator_figure is not None
    smaller, larger = sorted((fill.buyer_figure, fill.operator_figure))
    settle(state, fill, by="default", paid=max(larger, rent(fill)), part=smaller)


def settle(state: State, fill: FillState, *, by: str, paid: int, part: int) -> None:
    """Pay: the operator's part less the fee; the rest of what the buyer pays is withheld (§8)."""
    assert 0 <= part <= paid <= fill.price
    fee = part * fill.rules.take_rate_ppm // PPM
    earned = part - fee
    state.operators[fill.operator].balance += earned
    state.fees += fee
    _end(state, fill, paid=paid, withheld=paid - part)
    state.emit(
        e.Settled,
        fill=fill.fill,
        buyer=fill.bid.buyer,
        operator=fill.operator,
        paid=paid,
        fee=fee,
        earned=earned,
        withheld=paid - part,
        refund=fill.price - paid,
        by=by,
    )


def release(state: State, fill: FillState) -> None:
    """End a lease that nobody used: the rent is paid and withheld, the slot returns by §3."""
    paid = rent(fill)
    state.names[fill.offer].release(fill.ordinal)
    _end(state, fill, paid=paid, withheld=paid)
    state.emit(e.Released, fill=fill.fill, paid=paid, refund=fill.price - paid)


def decline(state: State, fill: FillState, reason: str) -> None:
    """End a fill that the operator does not serve: the whole hold returns, the slot does not."""
    _end(state, fill, paid=0, withheld=0)
    state.emit(e.Declined, fill=fill.fill, reason=reason)


def _end(state: State, fill: FillState, *, paid: int, withheld: int) -> None:
    """Dissolve the hold and forget all of the fill but its members."""
    buyer, operator = state.buyers[fill.bid.buyer], state.operators[fill.operator]
    buyer.held -= fill.price
    buyer.available += fill.price - paid
    state.withheld += withheld
    del state.fills[fill.fill]
    state.leases.drop(fill.fill)
    state.settlements.drop(fill.fill)
    state.disputes.drop(fill.fill)
    state.ended[fill.fill] = (fill.bid.buyer, fill.operator)
    term = ended_term(fill.fill, buyer.number, operator.number, paid)
    state.ended_sum = (state.ended_sum + term) % 2**64
