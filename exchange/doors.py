"""What an established session may ask beside commands: lookups, queries, keys; and enrolment.

Reads answer from the state as it is after the round's commit, and change nothing.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
from zmq.utils import z85

from exchange import notes
from exchange.admission.gate import Gate, Refusal
from exchange.gateway.desks import Desk
from exchange.identity import HOST_AGENTS, Identity
from exchange.ports import Addresses
from exchange.registry import Agent, Registry
from exchange.work import Answer
from matching_core.inspect import FillState
from matching_core.market import Market
from schemas import commands, frames, roles
from schemas.reasons import REFUSED
from schemas.session.messages import (
    Entry,
    Found,
    Lookup,
    MemberAdd,
    MemberRevoke,
    Message,
    OrderAnswer,
    Outcome,
    Query,
    Refused,
    SiteKey,
    SiteKeyAnswer,
)
from schemas.token import KEY_ID_START, site_key

PUBLIC_KINDS: Final = ("model", "metro", "site", "operator", "adapter")
OWN_KINDS: Final = ("deal", "campaign")  # the sender's own alone
FOUND_MAX: Final = 1_024  # entries of one answer; the asker goes on `after` the last
_ENCODER: Final = msgspec.msgpack.Encoder()


class Reads:
    """Answers what changes nothing."""

    def __init__(self, market: Market, identity: Identity, addresses: Addresses) -> None:
        self._market = market
        self._identity = identity
        self._addresses = addresses

    def answer(self, desk: Desk, peer: bytes, message: Message) -> Answer:
        """Answer one unnumbered message of a session."""
        found = self._answer(desk, message)
        return Answer(desk, peer, desk.session.epoch, 0, 0, frames.encode_message(found))

    def refused(
        self, desk: Desk, peer: bytes, epoch: int, first: int, answer: OrderAnswer
    ) -> Answer:
        """Answer a numbered message that admission refused."""
        message = frames.encode_message(answer, first, desk.session.version)
        return Answer(desk, peer, epoch, first, 1, message)

    def established(self, desk: Desk, now_ns: int, mono_ns: int) -> bytes:
        """Greet a session that was opened or resumed."""
        agent = desk.agent
        member = desk.member_in(self._market)
        last_bid = self._market.last_bid(member, agent.number) if agent.role == "buyer" else 0
        greeting = desk.session.established(
            market=self._identity.market,
            member=agent.member,
            member_handle=member,
            role=agent.role,
            agent=agent.number,
            last_bid=last_bid,
            sites=desk.site_states(self._market) if agent.role == "operator" else (),
            units_per_second=desk.rate.units_per_second,
            events_address=self._addresses.events,
            tape_address=self._addresses.tape,
            now_ns=now_ns,
        )
        # The silence of the session counts from a time that never jumps.
        desk.session.answered(desk.session.epoch, 0, 0, greeting, mono_ns)
        return greeting

    def _answer(self, desk: Desk, message: Message) -> Message:
        match message:
            case Lookup():
                return self._lookup(desk, message)
            case Query():
                return self._query(desk, message)
            case SiteKey():
                return self._site_key(desk, message)
            case _:
                return Refused(code=REFUSED["malformed"], why="not a message for this door")

    def _lookup(self, desk: Desk, asked: Lookup) -> Message:
        kind, names = asked.kind, self._market.names
        if kind not in PUBLIC_KINDS + OWN_KINDS:
            return Found(request=asked.request, entries=())
        owner = desk.member_in(self._market) if kind == "campaign" else 0
        if kind == "campaign" and not owner:
            return Found(request=asked.request, entries=())
        if asked.names:
            handles = [names.handle(kind, name, owner) for name in asked.names]
        elif asked.handles:
            handles = list(asked.handles)
        elif kind == "campaign":
            # Among everybody's, which may be a million, its own are found by column.
            own = np.flatnonzero(self._market.campaign_buyers == owner)
            handles = own[own > asked.after].tolist()
        else:
            handles = list(range(asked.after + 1, self._market.handle_count(kind) + 1))
        entries: list[Entry] = []
        more = False
        size = 0
        for handle in handles:
            if len(entries) == FOUND_MAX or size > FOUND_MAX * 256:
                more = True
                break
            detail = self._market.detail(kind, handle) if handle else None
            if detail is None or not _may_see(desk, detail):
                continue
            raw = _ENCODER.encode(detail)
            size += len(raw)
            entries.append(
                Entry(handle=handle, name=names.name(kind, handle), detail=msgspec.Raw(raw))
            )
        return Found(request=asked.request, entries=tuple(entries), more=more)

    def _query(self, desk: Desk, asked: Query) -> Message:
        member = desk.member_in(self._market)
        if asked.fill:
            fill = self._market.fill_state(asked.fill)
            if fill is None or member != _party(fill, desk.agent.role):
                return Outcome(request=asked.request, known=False)
            return Outcome(request=asked.request, known=True, state=fill.state)
        if desk.agent.role != "buyer" or not asked.bid:
            return Outcome(request=asked.request, known=False)
        known, resting, fills = self._market.bid_state(member, desk.agent.number, asked.bid)
        return Outcome(request=asked.request, known=known, resting=resting, fills=tuple(fills))

    def _site_key(self, desk: Desk, asked: SiteKey) -> Message:
        handle = self._market.names.handle("site", asked.site)
        market = self._identity.market
        if not handle or desk.agent.role not in roles.MESSAGE_ROLES["site_key"]:
            # No key: of a site that is not known, or to somebody who may not have it.
            return SiteKeyAnswer(
                request=asked.request, key_id=0, key=b"", site_handle=0, market=market
            )
        key = site_key(self._identity.token_secret_bytes, market, handle, KEY_ID_START)
        return SiteKeyAnswer(
            request=asked.request, key_id=KEY_ID_START, key=key, site_handle=handle, market=market
        )


def _party(fill: FillState, role: str) -> int:
    """Return the handle of the fill's party of this role; other roles are no party to it."""
    return {"buyer": fill.buyer, "operator": fill.operator}.get(role, -1)


def _may_see(desk: Desk, detail: commands.AnyCommand) -> bool:
    """Tell whether a registration may be shown: deals and campaigns to their owners alone."""
    match detail:
        case commands.Deal():
            member = desk.agent.member
            return member == detail.operator or member in detail.buyers
        case commands.Campaign():
            return detail.buyer == desk.agent.member
        case _:
            return True


# ----------------------------------------------------------------------------- enrolment
@dataclass(slots=True)
class Enrolled:
    """What an enrolment or a revocation puts into the journal, and whom it concerns."""

    orders: list[commands.AnyCommand] = field(default_factory=list)
    records: list[notes.AnyNote] = field(default_factory=list)
    revoked: list[Agent] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)


def enrol(
    message: MemberAdd | MemberRevoke, registry: Registry, market: Market, gate: Gate
) -> Enrolled:
    """Judge an enrolment; raises Refusal naming the field."""
    if isinstance(message, MemberAdd):
        return _add(message, registry, market, gate)
    return _revoke(message, registry)


def _is_key(text: str) -> bool:
    try:
        return len(z85.decode(text.encode())) == 32
    except (KeyError, ValueError, struct.error):
        return False  # struct: five digits can say more than 32 bits


def _add(message: MemberAdd, registry: Registry, market: Market, gate: Gate) -> Enrolled:
    made = Enrolled()
    member, role = message.member, message.role
    if role not in roles.ROLES:
        raise Refusal("field", f"role: {role} is none of {', '.join(roles.ROLES)}")
    gate.member(role, member)
    if (member, message.agent) in HOST_AGENTS:
        # Its key is the data folder's: the next start would enrol that one again.
        raise Refusal("name", f"member: {member} {message.agent} is the host's own")
    if not _is_key(message.public_key):
        raise Refusal("field", "public_key: not 40 characters of Z85")
    holder = registry.by_key.get(message.public_key)
    if holder is not None and (holder.member, holder.number) != (member, message.agent):
        raise Refusal("field", "public_key: enrolled for another agent")
    if message.sites and role != "operator":
        raise Refusal("field", "sites: operators only")
    foreign = [site for site in message.sites if not site.startswith(f"{member}/")]
    if foreign:
        raise Refusal("name", f"sites: {foreign[0]} is not {member}'s")
    if role == "operator" and not market.names.handle("operator", member):
        made.orders.append(commands.Operator(at=0, operator=member))
    if role == "buyer" and not market.names.handle("buyer", member):
        made.orders.append(commands.Buyer(at=0, buyer=member))
    agent = registry.by_name.get((member, message.agent))
    index = len(registry.agents) if agent is None else agent.index
    if agent is not None and agent.public_key not in {"", message.public_key}:
        made.revoked.append(agent)
    made.records.append(
        notes.AgentNote(
            agent_index=index,
            member=member,
            role=role,
            number=message.agent,
            public_key=message.public_key,
            sites=message.sites,
            units_per_second=message.units_per_second,
        )
    )
    made.changed.append(index)
    return made


def _revoke(message: MemberRevoke, registry: Registry) -> Enrolled:
    made = Enrolled()
    for (member, number), agent in registry.by_name.items():
        if member != message.member or not agent.public_key or (member, number) in HOST_AGENTS:
            continue
        if message.public_key in {"", agent.public_key}:
            made.records.append(notes.RevokeNote(public_key=agent.public_key))
            made.revoked.append(agent)
    if not made.records:
        raise Refusal("name", f"member: {message.member} has no such key")
    return made
