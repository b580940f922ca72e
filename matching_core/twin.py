"""Commands and events in both of their forms: by name, and as records and rows of numbers.

`to_frame` and `from_record` are inverse for every hot command whose names are known; `Events` turns
rows of the core (event_rows.py) into the Structs that market files show.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from matching_core import event_rows as rows
from matching_core.jit import Array
from matching_core.registry import Names
from schemas import commands as c
from schemas import events as e
from schemas import lists, reasons, records

BUYER_ROLE: Final = 0
OPERATOR_ROLE: Final = 1
RARE_COMMAND_BASE: Final = 64  # column `command` of a rejection: 64 + place in COMMANDS

Frame = tuple[int, Array, int, int, int]  # kind, records[1], member, agent, role


# ----------------------------------------------------------------------------- lists as numbers
def mask_of(names: tuple[str, ...], closed_list: tuple[str, ...]) -> int:
    """Return a set of names of a closed list as bits."""
    mask = 0
    for name in names:
        mask |= 1 << closed_list.index(name)
    return mask


def names_of(mask: int, closed_list: tuple[str, ...]) -> Any:
    """Return the names that stand in a mask, in the list's order."""
    return tuple(name for place, name in enumerate(closed_list) if mask >> place & 1)


def _or_none(handle: int) -> int:
    """Return the handle, or what the core takes for a name that is not known (0 is "not given")."""
    return handle or records.NONE_U32


def _record(kind: int, **fields: int) -> Array:
    dtype = records.COMMAND_RECORDS[kind]
    assert dtype.names is not None
    return np.array([tuple([fields.get(name, 0) for name in dtype.names])], dtype)


# ----------------------------------------------------------------------------- by name → record
def to_frame(
    names: Names, command: c.AnyCommand, intern_set: Callable[[tuple[str, ...]], int],
    operator_of_site: Callable[[int], int],
) -> Frame | None:  # fmt: skip
    """Return a hot command as (kind, records[1], member, agent, role); None for a rare one.

    Names that are not known become handles that are not, so the core rejects what MARKET_FILE.md
    says is `unknown`.
    """
    match command:
        case c.Bid():
            return _bid_frame(names, command)
        case c.Offer():
            made = _offer_record(names, command, intern_set)
            return records.OFFER, made, operator_of_site(int(made["site"][0])), 0, OPERATOR_ROLE
        case c.Refresh() | c.Renew() | c.OfferCancel() | c.OffersCancel():
            kind, made = _site_record(names, command)
            return kind, made, operator_of_site(int(made["site"][0])), 0, OPERATOR_ROLE
        case c.BidCancel():
            buyer = names.handle("buyer", command.buyer)
            made = _record(records.BID_CANCEL, bid=command.bid)
            return records.BID_CANCEL, made, buyer, command.agent, BUYER_ROLE
        case c.BidsCancel():
            buyer = names.handle("buyer", command.buyer)
            made = _record(records.BIDS_CANCEL)
            return records.BIDS_CANCEL, made, buyer, command.agent, BUYER_ROLE
        case c.Rtt():
            p99_us = records.NONE_U32 if command.p99_us is None else command.p99_us
            made = _record(
                records.RTT, site=names.handle("site", command.site),
                metro=names.handle("metro", command.metro), p99_us=p99_us, estimate=command.estimate,
            )  # fmt: skip
            return records.RTT, made, 0, 0, BUYER_ROLE
        case c.Start() | c.Decline() | c.Release() | c.Complete():
            return _fill_frame(names, command)
        case _:
            return None


def _bid_frame(names: Names, command: c.Bid) -> Frame:
    buyer = names.handle("buyer", command.buyer)
    budget, price = command.latency_budget_us, command.max_price
    made = _record(
        records.BID,
        bid=command.bid,
        max_price=records.NONE_U64 if price is None else price,
        campaign=names.handle("campaign", command.campaign, buyer),
        origin=names.handle("metro", command.origin),
        origin_asn=command.origin_asn,
        tokens_in=command.tokens_in,
        tokens_out=command.tokens_out,
        adapter=_or_none(names.handle("adapter", command.adapter)) if command.adapter else 0,
        rest_us=command.rest_us,
        lease_us=command.lease_us,
        latency_budget_us=records.NONE_U32 if budget is None else budget,
        quantity=command.quantity,
        flags=records.FLAG_EXPLAIN if command.explain else 0,
    )
    return records.BID, made, buyer, command.agent, BUYER_ROLE


def _offer_record(
    names: Names, command: c.Offer, intern_set: Callable[[tuple[str, ...]], int]
) -> Array:
    return _record(
        records.OFFER,
        ask_in=command.ask_in,
        ask_out=command.ask_out,
        ask_second=command.ask_second,
        fills_seen=command.fills_seen,
        site=names.handle("site", command.site),
        model=names.handle("model", command.model),
        deal=_or_none(names.handle("deal", command.deal)) if command.deal else 0,
        adapter_set=_or_none(intern_set(command.adapters)) if command.adapters else 0,
        ttft_us=command.ttft_us,
        prefill_ns_per_token=command.prefill_ns_per_token,
        tokens_per_second=command.tokens_per_second,
        context_limit=command.context_limit,
        cold_start_us=command.cold_start_us,
        adapter_load_us=command.adapter_load_us,
        capabilities=mask_of(command.capabilities, lists.CAPABILITIES),
        ttl_us=command.ttl_us,
        offer=command.offer,
        slots=command.slots,
        hardware=lists.HARDWARE.index(command.hardware),
        precision=lists.PRECISIONS.index(command.precision),
        contract=lists.CONTRACTS.index(command.contract),
    )


def _site_record(
    names: Names, command: c.Refresh | c.Renew | c.OfferCancel | c.OffersCancel
) -> tuple[int, Array]:
    site = names.handle("site", command.site)
    match command:
        case c.Refresh():
            return records.REFRESH, _record(
                records.REFRESH, fills_seen=command.fills_seen, site=site, offer=command.offer,
                slots=command.slots, ttft_us=command.ttft_us,
                prefill_ns_per_token=command.prefill_ns_per_token,
                tokens_per_second=command.tokens_per_second, ttl_us=command.ttl_us,
            )  # fmt: skip
        case c.Renew():
            return records.RENEW, _record(records.RENEW, site=site, ttl_us=command.ttl_us)
        case c.OfferCancel():
            return records.OFFER_CANCEL, _record(
                records.OFFER_CANCEL, site=site, offer=command.offer
            )
        case c.OffersCancel():
            return records.OFFERS_CANCEL, _record(records.OFFERS_CANCEL, site=site)


def _fill_frame(names: Names, command: c.Start | c.Decline | c.Release | c.Complete) -> Frame:
    match command:
        case c.Start():
            member = names.handle("operator", command.operator)
            made = _record(records.START, fill=command.fill)
            return records.START, made, member, 0, OPERATOR_ROLE
        case c.Decline():
            member = names.handle("operator", command.operator)
            reason = lists.DECLINE_REASONS.index(command.reason)
            made = _record(records.DECLINE, fill=command.fill, reason=reason)
            return records.DECLINE, made, member, 0, OPERATOR_ROLE
        case c.Release():
            member = names.handle("buyer", command.buyer)
            made = _record(records.RELEASE, fill=command.fill)
            return records.RELEASE, made, member, 0, BUYER_ROLE
        case c.Complete():
            member = names.handle(command.role, command.member)
            made = _record(
                records.COMPLETE, fill=command.fill, tokens_in=command.tokens_in,
                tokens_out=command.tokens_out, ttft_us=command.ttft_us,
            )  # fmt: skip
            return records.COMPLETE, made, member, 0, lists.MEMBER_ROLES.index(command.role)


# ----------------------------------------------------------------------------- record → by name
def from_record(
    names: Names, kind: int, record: Any, member: int, agent: int, role: int, at_ns: int
) -> c.AnyCommand:
    """Return one record of a frame (a structured scalar) as the command that it is.

    Raises:
        IndexError: it names a handle that was never given; no session lets such a record pass.
    """
    f = {name: record[name].item() for name in record.dtype.names}

    def name(of: str, handle: int) -> str:
        return names.name(of, handle)

    match kind:
        case records.BID:
            return c.Bid(
                at=at_ns, buyer=name("buyer", member), agent=agent, bid=f["bid"],
                campaign=name("campaign", f["campaign"]), origin=name("metro", f["origin"]),
                origin_asn=f["origin_asn"], tokens_in=f["tokens_in"], tokens_out=f["tokens_out"],
                adapter=name("adapter", f["adapter"]), quantity=f["quantity"],
                rest_us=f["rest_us"], lease_us=f["lease_us"],
                latency_budget_us=(
                    None if f["latency_budget_us"] == records.NONE_U32 else f["latency_budget_us"]
                ),
                max_price=None if f["max_price"] == records.NONE_U64 else f["max_price"],
                explain=bool(f["flags"] & records.FLAG_EXPLAIN),
            )  # fmt: skip
        case records.OFFER:
            return _offer_of(names, f, at_ns)
        case records.REFRESH:
            return c.Refresh(
                at=at_ns, site=name("site", f["site"]),
                **{field: f[field] for field in c.Refresh.__struct_fields__[2:]},
            )  # fmt: skip
        case records.RENEW:
            return c.Renew(at=at_ns, site=name("site", f["site"]), ttl_us=f["ttl_us"])
        case records.OFFER_CANCEL:
            return c.OfferCancel(at=at_ns, site=name("site", f["site"]), offer=f["offer"])
        case records.OFFERS_CANCEL:
            return c.OffersCancel(at=at_ns, site=name("site", f["site"]))
        case records.BID_CANCEL:
            return c.BidCancel(at=at_ns, buyer=name("buyer", member), agent=agent, bid=f["bid"])
        case records.BIDS_CANCEL:
            return c.BidsCancel(at=at_ns, buyer=name("buyer", member), agent=agent)
        case records.RTT:
            p99_us = None if f["p99_us"] == records.NONE_U32 else f["p99_us"]
            return c.Rtt(
                at=at_ns, site=name("site", f["site"]), metro=name("metro", f["metro"]),
                p99_us=p99_us, estimate=bool(f["estimate"]),
            )  # fmt: skip
        case records.START:
            return c.Start(at=at_ns, operator=name("operator", member), fill=f["fill"])
        case records.DECLINE:
            return c.Decline(
                at=at_ns, operator=name("operator", member), fill=f["fill"],
                reason=lists.DECLINE_REASONS[f["reason"]],
            )  # fmt: skip
        case records.RELEASE:
            return c.Release(at=at_ns, buyer=name("buyer", member), fill=f["fill"])
        case records.COMPLETE:
            side: Any = lists.MEMBER_ROLES[role]
            return c.Complete(
                at=at_ns, role=side, member=name(side, member), fill=f["fill"],
                tokens_in=f["tokens_in"], tokens_out=f["tokens_out"], ttft_us=f["ttft_us"],
            )  # fmt: skip
    raise AssertionError(f"no hot command has the number {kind}")


def _offer_of(names: Names, f: dict[str, Any], at_ns: int) -> c.Offer:
    return c.Offer(
        at=at_ns,
        site=names.name("site", f["site"]),
        offer=f["offer"],
        model=names.name("model", f["model"]),
        hardware=lists.HARDWARE[f["hardware"]],
        precision=lists.PRECISIONS[f["precision"]],
        contract=lists.CONTRACTS[f["contract"]],
        ask_in=f["ask_in"],
        ask_out=f["ask_out"],
        ask_second=f["ask_second"],
        slots=f["slots"],
        fills_seen=f["fills_seen"],
        ttft_us=f["ttft_us"],
        prefill_ns_per_token=f["prefill_ns_per_token"],
        tokens_per_second=f["tokens_per_second"],
        context_limit=f["context_limit"],
        cold_start_us=f["cold_start_us"],
        adapters=names.adapter_set(f["adapter_set"]),
        adapter_load_us=f["adapter_load_us"],
        capabilities=names_of(f["capabilities"], lists.CAPABILITIES),
        deal=names.name("deal", f["deal"]),
        ttl_us=f["ttl_us"],
    )


# ----------------------------------------------------------------------------- rows → events
def command_name(number: int) -> str:
    """Return the `type` of the command that a rejection's row numbers."""
    if number >= RARE_COMMAND_BASE:
        return str(c.COMMANDS[number - RARE_COMMAND_BASE].__struct_config__.tag)
    return records.COMMAND_NAMES[number]


def event_of(names: Names, row: dict[str, int]) -> e.AnyEvent:
    """Return a row of the core, as a dict by column, as the event that it is."""
    seq, at = row["seq"], row["at"]
    match records.EVENT_TYPES[row["type"]]:
        case "fill":
            return _fill_of(names, row)
        case "resting":
            return e.Resting(
                seq=seq, at=at, buyer=names.name("buyer", row["buyer"]), agent=row["agent"],
                bid=row["bid"], quantity=row["quantity"],
            )  # fmt: skip
        case "unfilled":
            return e.Unfilled(
                seq=seq, at=at, buyer=names.name("buyer", row["buyer"]), agent=row["agent"],
                bid=row["bid"], quantity=row["quantity"],
                reason=reasons.NAME_OF_NO_FILL[row["reason"]],
            )  # fmt: skip
        case "rejected":
            return e.Rejected(
                seq=seq, at=at, command=command_name(row["command"]),
                reason=reasons.NAME_OF_REJECTED[row["reason"]],
            )  # fmt: skip
        case "offer_expired":
            site = names.name("site", row["site"])
            return e.OfferExpired(seq=seq, at=at, site=site, offer=row["offer"])
        case "releasing":
            return e.Releasing(seq=seq, at=at, fill=row["fill"], lease_until=row["lease_until"])
        case "released":
            return e.Released(
                seq=seq, at=at, fill=row["fill"], paid=row["paid"], refund=row["refund"]
            )
        case "declined":
            reason = lists.DECLINE_REASONS[row["reason"]]
            return e.Declined(seq=seq, at=at, fill=row["fill"], reason=reason)
        case "disputed":
            return e.Disputed(
                seq=seq, at=at, fill=row["fill"], buyer_figure=row["cost"],
                operator_figure=row["score"],
            )  # fmt: skip
        case "settled":
            return e.Settled(
                seq=seq, at=at, fill=row["fill"], buyer=names.name("buyer", row["buyer"]),
                operator=names.name("operator", row["operator"]), paid=row["paid"],
                fee=row["cost"], earned=row["earned"], withheld=row["score"],
                refund=row["refund"], by=lists.SETTLED_BY[row["reason"]],
            )  # fmt: skip
    raise AssertionError(f"no event has the number {row['type']}")


def _fill_of(names: Names, row: dict[str, int]) -> e.Fill:
    bits = row["attributes"]
    return e.Fill(
        seq=row["seq"],
        at=row["at"],
        fill=row["fill"],
        buyer=names.name("buyer", row["buyer"]),
        agent=row["agent"],
        bid=row["bid"],
        unit=row["unit"],
        operator=names.name("operator", row["operator"]),
        site=names.name("site", row["site"]),
        offer=row["offer"],
        ordinal=row["ordinal"],
        model=names.name("model", row["model"]),
        hardware=lists.HARDWARE[bits >> rows.HARDWARE_SHIFT & 255],
        precision=lists.PRECISIONS[bits >> rows.PRECISION_SHIFT & 255],
        contract=lists.CONTRACTS[bits >> rows.CONTRACT_SHIFT & 255],
        tier=lists.TIERS[bits >> rows.TIER_SHIFT & 255],
        country=rows.country_name(bits >> rows.COUNTRY_SHIFT & 0xFFFF),
        cold=bool(bits >> rows.COLD_BIT & 1),
        tokens_in=row["tokens_in"],
        tokens_out=row["tokens_out"],
        price=row["price"],
        cost=row["cost"],
        score=row["score"],
        rival_score=row["rival_score"] if bits >> rows.RIVAL_BIT & 1 else None,
        contested=bool(bits >> rows.CONTESTED_BIT & 1),
        latency_us=row["latency_us"],
        lease_until=row["lease_until"],
        resting=bool(bits >> rows.RESTING_BIT & 1),
    )
