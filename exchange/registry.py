"""Who is enrolled and what their sessions have done: a pure fold of the journal's notes.

The exchange, the follower and every reader of a journal keep one of these, so that all of them
agree on whose key is whose and which message of an agent was applied last. Nothing here decides;
what a note says has been decided.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from exchange.notes import AdapterSetNote, AgentNote, AnyNote, RevokeNote, SessionNote


@dataclass(slots=True)
class Agent:
    """An enrolled process of a member."""

    index: int  # as in the journal's header
    member: str
    role: str
    number: int
    public_key: str  # "" once revoked
    sites: tuple[str, ...]
    units_per_second: int
    epoch: int = 0  # of its newest session, ever
    open: bool = False  # that session has not ended
    last_message: int = 0  # applied in that session
    cancel_after_us: int = 0
    streams: tuple[str, ...] = ()


@dataclass(slots=True)
class Registry:
    """Agents by index (0 is the exchange itself and stands for no entry), key, and name."""

    agents: list[Agent | None] = field(default_factory=lambda: [None])
    by_key: dict[str, Agent] = field(default_factory=dict)
    by_name: dict[tuple[str, int], Agent] = field(default_factory=dict)  # (member, number)
    roles: dict[str, str] = field(default_factory=dict)  # of members
    adapter_sets: dict[tuple[str, ...], int] = field(default_factory=dict)
    registrations: dict[tuple[str, str], int] = field(
        default_factory=dict
    )  # (member, kind) → count

    def apply(self, note: AnyNote) -> None:
        """Fold one note; notes come in the journal's order."""
        if isinstance(note, AgentNote):
            self._enrol(note)
        elif isinstance(note, RevokeNote):
            revoked = self.by_key.pop(note.public_key, None)
            if revoked is not None:
                revoked.public_key = ""
        elif isinstance(note, SessionNote):
            agent = self.agent(note.agent_index)
            if note.opened:
                agent.last_message = 0
                agent.cancel_after_us = note.cancel_after_us
                agent.streams = note.streams
            agent.epoch = note.epoch
            agent.open = note.opened
        elif isinstance(note, AdapterSetNote):
            if note.adapters not in self.adapter_sets:
                self.count_registration(note.member, "adapter_set")
            self.adapter_sets[note.adapters] = note.handle

    def numbered(self, agent_index: int, epoch: int, message: int, count: int) -> None:
        """Fold what a record's header says of its sender: messages up to here are applied."""
        if agent_index and message:
            agent = self.agent(agent_index)
            if agent.epoch == epoch:
                agent.last_message = max(agent.last_message, message + max(count, 1) - 1)

    def count_registration(self, member: str, kind: str) -> None:
        """Count a registration; the session refuses more than REGISTRATIONS_PER_KIND_MAX."""
        key = (member, kind)
        self.registrations[key] = self.registrations.get(key, 0) + 1

    def agent(self, index: int) -> Agent:
        """Return the agent of an index that a record of this journal carries."""
        agent = self.agents[index]
        assert agent is not None
        return agent

    def members(self) -> Iterator[tuple[str, str]]:
        """Give (member, role) of all that were ever enrolled."""
        yield from self.roles.items()

    def _enrol(self, note: AgentNote) -> None:
        name = (note.member, note.number)
        agent = self.by_name.get(name)
        if agent is None:
            agent = Agent(
                index=note.agent_index,
                member=note.member,
                role=note.role,
                number=note.number,
                public_key=note.public_key,
                sites=note.sites,
                units_per_second=note.units_per_second,
            )
            assert note.agent_index == len(self.agents)
            self.agents.append(agent)
            self.by_name[name] = agent
        else:
            self.by_key.pop(agent.public_key, None)
            agent.public_key = note.public_key
            agent.sites = note.sites
            agent.units_per_second = note.units_per_second
        self.by_key[note.public_key] = agent
        self.roles[note.member] = note.role

    def snapshot(self) -> bytes:
        """Return the whole registry as msgpack."""
        return msgspec.msgpack.encode(
            {
                "agents": [_agent_fields(agent) for agent in self.agents[1:] if agent is not None],
                "roles": self.roles,
                "adapter_sets": list(self.adapter_sets.items()),
                "registrations": list(self.registrations.items()),
            }
        )

    @classmethod
    def restore(cls, snapshot: bytes) -> "Registry":
        """Make a registry that is equal to the one that gave the snapshot."""
        plain: dict[str, Any] = msgspec.msgpack.decode(snapshot)
        registry = cls()
        for fields in plain["agents"]:
            agent = msgspec.convert(fields, Agent)
            registry.agents.append(agent)
            registry.by_name[agent.member, agent.number] = agent
            if agent.public_key:
                registry.by_key[agent.public_key] = agent
        registry.roles = dict(plain["roles"])
        registry.adapter_sets = {
            tuple(adapters): handle for adapters, handle in plain["adapter_sets"]
        }
        registry.registrations = {
            (member, kind): count for (member, kind), count in plain["registrations"]
        }
        return registry


def _agent_fields(agent: Agent) -> dict[str, Any]:
    return {name: getattr(agent, name) for name in Agent.__dataclass_fields__}
