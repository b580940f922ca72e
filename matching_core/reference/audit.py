"""Money and slots are conserved (MARKET.md §8, §3): what holds after every command.

`check_totals` is cheap and runs after every command. `check_everything` recounts the whole state
from its smallest parts, for tests and for whoever doubts.
"""

from matching_core.reference.state import DISPUTED, LEASED, STARTED, State
from schemas.limits import BIDS_AT_REST_MAX, CAMPAIGNS_MAX, DEPOSITS_NUSD_MAX


def check_totals(state: State) -> None:
    """Assert that every n$ that was deposited and not withdrawn is in exactly one account."""
    buyers = sum(buyer.available + buyer.held for buyer in state.buyers.values())
    operators = sum(operator.balance for operator in state.operators.values())
    assert buyers + operators + state.fees + state.withheld == state.deposits
    assert 0 <= state.deposits <= DEPOSITS_NUSD_MAX
    assert state.fees >= 0
    assert state.withheld >= 0


def check_everything(state: State) -> None:
    """Recount holds, slots, agendas and limits from bids, fills and ordinals; assert they agree."""
    check_totals(state)
    _check_holds(state)
    _check_slots(state)
    _check_fills(state)
    _check_book(state)


def _check_holds(state: State) -> None:
    held = dict.fromkeys(state.buyers, 0)
    for bid in state.resting.values():
        held[bid.command.buyer] += bid.units_left * bid.max_price
    for fill in state.fills.values():
        held[fill.bid.buyer] += fill.price
    for name, buyer in state.buyers.items():
        assert buyer.available >= 0
        assert buyer.held == held[name]
    assert all(operator.balance >= 0 for operator in state.operators.values())


def _check_slots(state: State) -> None:
    made = 0
    for name in state.names.values():
        made += name.fills_made
        assert 0 <= name.fills_seen <= name.fills_made
        above = range(name.fills_seen + 1, name.fills_made + 1)
        assert name.in_flight == [k for k in above if not name.released[k - 1]]
    assert made == state.fills_made == len(state.fills) + len(state.ended)
    for fill in state.fills.values():
        assert not state.names[fill.offer].released[fill.ordinal - 1]


def _check_fills(state: State) -> None:
    for fill in state.fills.values():
        both = fill.buyer_figure is not None and fill.operator_figure is not None
        nobody = fill.buyer_figure is None and fill.operator_figure is None
        assert (fill.started_at is not None) == (fill.state != LEASED)
        assert (fill.first_complete_at is None) == nobody
        assert (fill.disputed_at is not None) == (fill.state == DISPUTED) == both
        assert fill.lease_until > state.at or fill.state != LEASED
        on_agenda = {
            LEASED: state.leases,
            STARTED: state.settlements,
            DISPUTED: state.disputes,
        }
        for name, agenda in on_agenda.items():
            assert (fill.fill in agenda) == (name == fill.state)


def _check_book(state: State) -> None:
    for key, offer in state.offers.items():
        assert key == offer.key
        assert offer.expires_at_ns > state.at
        assert key in state.offer_expiries
    of_buyer = dict.fromkeys(state.buyers, 0)
    for bid_key, bid in state.resting.items():
        of_buyer[bid.command.buyer] += 1
        assert bid_key == bid.key
        assert bid.units_left >= 1
        assert bid.next_unit + bid.units_left == bid.command.quantity
        assert bid.due_ns > state.at
        assert bid_key in state.bid_expiries
        assert not state.halted("buyer", bid.command.buyer)
        assert state.campaigns[bid.command.buyer, bid.command.campaign] is bid.campaign
    assert all(count <= BIDS_AT_REST_MAX for count in of_buyer.values())
    for name in state.buyers:
        assert sum(1 for buyer, _ in state.campaigns if buyer == name) <= CAMPAIGNS_MAX
