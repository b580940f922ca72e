"""Which well-formed commands are not acceptable in the current state (MARKET_FILE.md, Rejected).

`CHECKS` has for each command the reasons that it can be rejected for, each with when that is so.
They are looked at in the order of `schemas.reasons.REJECTED`, whatever their order here, and a check
may rely on the ones before it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from matching_core.reference.state import (
    DISPUTED,
    LEASED,
    STARTED,
    BuyerState,
    OperatorState,
    State,
)
from schemas import commands as c
from schemas.limits import BIDS_AT_REST_MAX, CAMPAIGNS_MAX, DEPOSITS_NUSD_MAX
from schemas.reasons import REJECTED


def reason_to_reject(state: State, command: c.Command) -> str | None:
    """Return why the command is not acceptable now; None: it is."""
    checks = CHECKS[type(command)]
    for reason in REJECTED:
        if reason in checks and checks[reason](state, command):
            return reason
    return None


# ----------------------------------------------------------------------------- 1 unknown
def account(state: State, role: str, member: str) -> BuyerState | OperatorState | None:
    """Return the account of a member in a role, None when it is not known."""
    return state.buyers.get(member) if role == "buyer" else state.operators.get(member)


def _account_unknown(state: State, command: c.Deposit | c.Withdraw) -> bool:
    return account(state, command.role, command.member) is None


def _halt_unknown(state: State, command: c.Halt | c.Resume) -> bool:
    known: dict[str, Mapping[str, object]] = {
        "exchange": {"": None},
        "operator": state.operators,
        "site": state.sites,
        "model": state.models,
        "buyer": state.buyers,
    }
    return command.name not in known[command.scope]


def _deal_unknown(state: State, command: c.Deal) -> bool:
    buyers_known = all(buyer in state.buyers for buyer in command.buyers)
    return command.operator not in state.operators or not buyers_known


def _offer_unknown(state: State, command: c.Offer) -> bool:
    if command.site not in state.sites or command.model not in state.models:
        return True
    for adapter in command.adapters:
        if adapter not in state.adapters or state.adapters[adapter].model != command.model:
            return True
    if command.deal == "":
        return False
    operator = state.sites[command.site].command.operator
    return command.deal not in state.deals or state.deals[command.deal].operator != operator


def _campaign_unknown(state: State, command: c.Campaign) -> bool:
    return (
        command.buyer not in state.buyers
        or any(entry.model not in state.models for entry in command.models)
        or any(operator not in state.operators for operator in command.allow_operators)
        or any(operator not in state.operators for operator in command.deny_operators)
    )


def _bid_unknown(state: State, command: c.Bid) -> bool:
    return (
        command.buyer not in state.buyers
        or (command.buyer, command.campaign) not in state.campaigns
        or command.origin not in state.metros
        or (command.adapter != "" and command.adapter not in state.adapters)
    )


def _fill_unknown_to(state: State, role: str, member: str, fill: int) -> bool:
    """Tell whether the member or the fill is not known, or the fill is not this member's."""
    members = state.members_of_fill(fill)
    if account(state, role, member) is None or members is None:
        return True
    buyer, operator = members
    return member != (buyer if role == "buyer" else operator)


# ----------------------------------------------------------------------------- 3 … 7
def _transfer_repeats(state: State, command: c.Deposit | c.Withdraw) -> bool:
    found = account(state, command.role, command.member)
    return found is not None and command.transfer <= found.last_transfer


def _bid_repeats(state: State, command: c.Bid) -> bool:
    return command.bid <= state.buyers[command.buyer].last_bids.get(command.agent, 0)


def _bid_halted(state: State, command: c.Bid) -> bool:
    return state.halted("exchange") or state.halted("buyer", command.buyer)


def _too_many_at_rest(state: State, command: c.Bid) -> bool:
    at_rest = sum(1 for buyer, _, _ in state.resting if buyer == command.buyer)
    return command.rest_us > 0 and at_rest >= BIDS_AT_REST_MAX


def _too_many_campaigns(state: State, command: c.Campaign) -> bool:
    return sum(1 for buyer, _ in state.campaigns if buyer == command.buyer) >= CAMPAIGNS_MAX


def _too_much_deposited(state: State, command: c.Deposit) -> bool:
    return state.deposits + command.amount > DEPOSITS_NUSD_MAX


def _sees_too_much(state: State, command: c.Offer | c.Refresh) -> bool:
    name = state.names.get((command.site, command.offer))
    return command.fills_seen > (0 if name is None else name.fills_made)


def _not_available(state: State, command: c.Withdraw) -> bool:
    found = account(state, command.role, command.member)
    has = found.available if isinstance(found, BuyerState) else found.balance if found else 0
    return command.amount > has


# ----------------------------------------------------------------------------- 8 state
def _site_moved(state: State, command: c.Site) -> bool:
    found = state.sites.get(command.site)
    return found is not None and found.command.operator != command.operator


def _deal_moved(state: State, command: c.Deal) -> bool:
    found = state.deals.get(command.deal)
    return found is not None and found.operator != command.operator


def _adapter_moved(state: State, command: c.Adapter) -> bool:
    found = state.adapters.get(command.adapter)
    return found is not None and found.model != command.model


def _no_offer(state: State, command: c.Refresh | c.OfferCancel) -> bool:
    return (command.site, command.offer) not in state.offers


def _no_bid(state: State, command: c.BidCancel) -> bool:
    return (command.buyer, command.agent, command.bid) not in state.resting


def _cannot_resolve(state: State, command: c.Resolve) -> bool:
    fill = state.fills.get(command.fill)
    return fill is None or fill.state != DISPUTED or command.amount > fill.price


def _cannot_start(state: State, command: c.Start) -> bool:
    fill = state.fills.get(command.fill)
    return fill is None or fill.state != LEASED


def _cannot_decline(state: State, command: c.Decline) -> bool:
    fill = state.fills.get(command.fill)
    return fill is None or fill.state not in {LEASED, STARTED} or fill.operator_figure is not None


def _cannot_release(state: State, command: c.Release) -> bool:
    fill = state.fills.get(command.fill)
    return fill is None or fill.state != LEASED


def _cannot_complete(state: State, command: c.Complete) -> bool:
    fill = state.fills.get(command.fill)
    if fill is None:
        return True
    if fill.state == LEASED:
        return command.role == "buyer"
    done = fill.buyer_figure if command.role == "buyer" else fill.operator_figure
    return fill.state != STARTED or done is not None


Check = Callable[[State, Any], bool]

CHECKS: Final[Mapping[type[c.Command], Mapping[str, Check]]] = {
    c.Operator: {},
    c.Buyer: {},
    c.Deposit: {
        "unknown": _account_unknown,
        "duplicate": _transfer_repeats,
        "limit": _too_much_deposited,
    },
    c.Withdraw: {
        "unknown": _account_unknown,
        "duplicate": _transfer_repeats,
        "funds": _not_available,
    },
    c.Rules: {},
    c.Model: {},
    c.PriceCard: {"unknown": lambda state, command: command.model not in state.models},
    c.Metro: {},
    c.Site: {
        "unknown": lambda state, command: command.operator not in state.operators,
        "state": _site_moved,
    },
    c.Resolve: {
        "unknown": lambda state, command: state.members_of_fill(command.fill) is None,
        "state": _cannot_resolve,
    },
    c.SiteTrust: {"unknown": lambda state, command: command.site not in state.sites},
    c.Rtt: {
        "unknown": lambda state, command: (
            command.site not in state.sites or command.metro not in state.metros
        )
    },
    c.Halt: {"unknown": _halt_unknown},
    c.Resume: {"unknown": _halt_unknown},
    c.Deal: {"unknown": _deal_unknown, "state": _deal_moved},
    c.Adapter: {
        "unknown": lambda state, command: command.model not in state.models,
        "state": _adapter_moved,
    },
    c.Offer: {"unknown": _offer_unknown, "fills_seen": _sees_too_much},
    c.Refresh: {
        "unknown": lambda state, command: command.site not in state.sites,
        "fills_seen": _sees_too_much,
        "state": _no_offer,
    },
    c.Renew: {"unknown": lambda state, command: command.site not in state.sites},
    c.OfferCancel: {
        "unknown": lambda state, command: command.site not in state.sites,
        "state": _no_offer,
    },
    c.OffersCancel: {"unknown": lambda state, command: command.site not in state.sites},
    c.Start: {
        "unknown": lambda state, command: _fill_unknown_to(
            state, "operator", command.operator, command.fill
        ),
        "state": _cannot_start,
    },
    c.Decline: {
        "unknown": lambda state, command: _fill_unknown_to(
            state, "operator", command.operator, command.fill
        ),
        "state": _cannot_decline,
    },
    c.Campaign: {
        "unknown": _campaign_unknown,
        "exists": lambda state, command: (command.buyer, command.campaign) in state.campaigns,
        "limit": _too_many_campaigns,
    },
    c.CampaignEnd: {
        "unknown": lambda state, command: (
            command.buyer not in state.buyers
            or (command.buyer, command.campaign) not in state.campaigns
        )
    },
    c.Bid: {
        "unknown": _bid_unknown,
        "duplicate": _bid_repeats,
        "halted": _bid_halted,
        "limit": _too_many_at_rest,
    },
    c.BidCancel: {
        "unknown": lambda state, command: command.buyer not in state.buyers,
        "state": _no_bid,
    },
    c.BidsCancel: {"unknown": lambda state, command: command.buyer not in state.buyers},
    c.Release: {
        "unknown": lambda state, command: _fill_unknown_to(
            state, "buyer", command.buyer, command.fill
        ),
        "state": _cannot_release,
    },
    c.Complete: {
        "unknown": lambda state, command: _fill_unknown_to(
            state, command.role, command.member, command.fill
        ),
        "state": _cannot_complete,
    },
    c.Clock: {},
}
assert set(CHECKS) == set(c.COMMANDS)
assert all(reason in REJECTED for checks in CHECKS.values() for reason in checks)
