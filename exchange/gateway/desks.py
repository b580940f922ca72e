"""A desk is the exchange's side of one agent: its session, its rate, the sites it may speak for.

The agent is known from the key of its connection, proven in the CURVE handshake; the routing id
that the socket made is bound to the desk when the first message of a connection is read.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exchange.admission.rate import UnitRate
from exchange.apply import member_handle
from exchange.registry import Agent, Registry
from matching_core.market import Market
from schemas.frames import Frame
from schemas.limits import CANCEL_AFTER_US_DEFAULT
from schemas.session.messages import SiteState
from schemas.session.server import ServerSession

# A key may have several connections while it reconnects; more are forgotten, oldest first.
CONNECTIONS_MAX: Final = 8
NEVER_NS: Final = 2**63 - 1


@dataclass(slots=True, eq=False)
class Desk:
    """One agent at the exchange."""

    agent: Agent
    session: ServerSession
    rate: UnitRate
    member: int = 0  # the core's handle of its operator or buyer, once there is one
    sites_known: int = -1  # how many site handles there were when the mask was made
    site_mask: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(1, np.bool_))
    connections: list[bytes] = field(default_factory=list)
    restored: bool = False  # its session stood before the restart and nothing was heard of it since
    looked_at_ns: int = NEVER_NS  # when its session's time is looked at next

    def may_speak_for(self, sites: NDArray[np.uint32], market: Market) -> NDArray[np.bool_]:
        """Tell for each site handle (in range) whether the agent is enrolled for it."""
        known = market.handle_count("site")
        if known != self.sites_known:
            self.site_mask = np.zeros(known + 1, np.bool_)
            for name in self.agent.sites:
                self.site_mask[market.names.handle("site", name)] = True
            self.site_mask[0] = False
            self.sites_known = known
        return self.site_mask[sites]

    def member_in(self, market: Market) -> int:
        """Return the core's handle of the agent's member; 0 for admin and verifier."""
        if self.member == 0:
            self.member = member_handle(market, self.agent)
        return self.member

    def skip_refused(self, peer: bytes, frame: Frame) -> None:
        """Let a session that outlived a restart go on where its client stands.

        Refused messages took numbers but are not in the journal, so the client may be ahead of what
        was rebuilt. It sends what is unanswered first and in order: whatever lies before the first
        number it sends was answered. Numbers only ever go up, so nothing is applied twice.
        """
        session = self.session
        if self.restored and frame.numbers and peer == session.peer:
            self.restored = False
            session.last_message = max(session.last_message, frame.first - 1)

    def site_states(self, market: Market) -> tuple[SiteState, ...]:
        """Return what the operator must know of the session's sites to report slots."""
        names = market.names
        handles = {name: names.handle("site", name) for name in self.session.streams}
        known = {name: handle for name, handle in handles.items() if handle}
        offers = market.site_states(list(known.values()))
        return tuple(
            SiteState(
                site=name,
                handle=handle,
                offers=tuple((offer, made, tuple(fills)) for offer, made, fills in offers[handle]),
            )
            for name, handle in known.items()
        )


class Desks:
    """All desks, by agent and by connection."""

    def __init__(self, registry: Registry, units_per_second: int) -> None:
        self._registry = registry
        self._units_per_second = units_per_second
        self._by_agent: dict[int, Desk] = {}
        self._by_peer: dict[bytes, Desk] = {}
        # (when, index of the agent) of every desk whose session has something due, and of some again:
        # what is not `looked_at_ns` is void. To ask all of thousands each time would be a round's work.
        self._looks: list[tuple[int, int]] = []

    def __iter__(self) -> Iterator[Desk]:
        return iter(tuple(self._by_agent.values()))

    def restore(self, now_ns: int) -> None:
        """Make the desks of sessions that had not ended: their silence counts from `now_ns`."""
        for agent in self._registry.agents[1:]:
            if agent is not None and agent.epoch:
                desk = self.of_agent(agent)
                desk.restored = True
                desk.session.restore(
                    epoch=agent.epoch,
                    last_message=agent.last_message,
                    streams=agent.streams,
                    cancel_after_us=agent.cancel_after_us or CANCEL_AFTER_US_DEFAULT,
                    stands=agent.open,
                    now_ns=now_ns,
                )
                self.watch(desk)

    def watch(self, desk: Desk) -> None:
        """Take note of when a session is due: after whatever may have brought that forward."""
        due_ns = desk.session.due_ns
        if due_ns is not None and due_ns < desk.looked_at_ns:
            desk.looked_at_ns = due_ns
            heapq.heappush(self._looks, (due_ns, desk.agent.index))

    def due(self, now_ns: int, again_ns: int) -> Iterator[Desk]:
        """Give each desk whose session is due; one that stays so is looked at again at `again_ns`."""
        looks = self._looks
        while looks and looks[0][0] <= now_ns:
            at_ns, index = heapq.heappop(looks)
            desk = self._by_agent[index]
            if at_ns != desk.looked_at_ns:
                continue
            desk.looked_at_ns = NEVER_NS
            due_ns = desk.session.due_ns
            if due_ns is not None and due_ns <= now_ns:
                yield desk
                due_ns = desk.session.due_ns
            if due_ns is not None:
                due_ns = due_ns if due_ns > now_ns else again_ns
                if due_ns < desk.looked_at_ns:
                    desk.looked_at_ns = due_ns
                    heapq.heappush(looks, (due_ns, index))

    def of_agent(self, agent: Agent) -> Desk:
        """Return the agent's desk, made when it is first needed."""
        desk = self._by_agent.get(agent.index)
        if desk is None:
            rate = UnitRate(agent.units_per_second or self._units_per_second, 0)
            desk = Desk(agent, ServerSession(frozenset(agent.sites)), rate)
            self._by_agent[agent.index] = desk
        return desk

    def of_peer(self, peer: bytes) -> Desk | None:
        """Return the desk that a connection is bound to."""
        return self._by_peer.get(peer)

    def bind(self, peer: bytes, key: str) -> Desk | None:
        """Bind a connection to the desk of its key; None when the key is not enrolled (any more)."""
        agent = self._registry.by_key.get(key)
        if agent is None:
            return None
        desk = self.of_agent(agent)
        desk.connections.append(peer)
        self._by_peer[peer] = desk
        for old in desk.connections[:-CONNECTIONS_MAX]:
            if old != desk.session.peer:
                self._by_peer.pop(old, None)
                desk.connections.remove(old)
        return desk

    def refresh(self, agent: Agent) -> None:
        """Take over what an enrolment changed: sites and rate."""
        desk = self._by_agent.get(agent.index)
        if desk is not None:
            desk.session.sites = frozenset(agent.sites)
            desk.sites_known = -1
            desk.rate.units_per_second = agent.units_per_second or self._units_per_second

    def cut(self, agent: Agent) -> Desk | None:
        """Forget every connection of an agent whose key was revoked."""
        desk = self._by_agent.get(agent.index)
        if desk is not None:
            for peer in desk.connections:
                self._by_peer.pop(peer, None)
            desk.connections.clear()
        return desk
