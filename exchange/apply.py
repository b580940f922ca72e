"""The one way from a record of the journal to the market and the registry.

The exchange after a restart, the follower, replay and export all read the journal through this, so
they cannot differ in what a record means.
"""

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from exchange import notes
from exchange.journal.reader import Record
from exchange.journal.record import FRAME, NOTE, RARE
from exchange.registry import Agent, Registry
from matching_core.event_rows import EVENT_WORDS
from matching_core.market import Market
from schemas import commands, records

NO_EVENTS: NDArray[np.int64] = np.empty((0, EVENT_WORDS), np.int64)
ROLE_NUMBER = {"buyer": 0, "operator": 1}  # as in MARKET_FILE.md's `complete`; others send no such

_COMMANDS = msgspec.msgpack.Decoder(commands.AnyCommand)


@dataclass(slots=True)
class JournalApplier:
    """Applies records, in order, to a market and a registry that it shares with its owner."""

    market: Market
    registry: Registry

    def apply(self, record: Record) -> NDArray[np.int64]:
        """Apply one record and return its events: `int64[n, EVENT_WORDS]`, valid until the next.

        A rejected command returns its `rejected` row; a note or a padding returns no rows.
        """
        if record.kind == FRAME:
            self.registry.numbered(record.agent, record.epoch, record.message, record.count)
            return self.frame(record.payload, record.agent, record.at_ns)
        if record.kind == RARE:
            self.registry.numbered(record.agent, record.epoch, record.message, 1)
            command = decode_command(record.payload)
            rows = self.market.apply(command)
            return rows
        if record.kind == NOTE:
            note = notes.decode(record.payload)
            if isinstance(note, notes.AdapterSetNote):
                handle = self.market.intern_adapter_set(note.adapters)
                assert handle == note.handle
            self.registry.apply(note)
            self.registry.numbered(record.agent, record.epoch, record.message, 1)
        return NO_EVENTS

    def frame(self, payload: memoryview | bytes, agent_index: int, at_ns: int) -> NDArray[np.int64]:
        """Apply the hot records of a frame as it stands in the journal."""
        kind, batch = frame_records(payload)
        agent = self.registry.agent(agent_index) if agent_index else None
        member = 0 if agent is None else member_handle(self.market, agent)
        number = 0 if agent is None else agent.number
        role = 0 if agent is None else ROLE_NUMBER.get(agent.role, 0)
        return self.market.apply_frame(kind, batch, member, number, at_ns, role=role)


def frame_records(payload: memoryview | bytes) -> tuple[int, np.ndarray]:
    """View a journaled frame as (kind, records); the journal holds frames in the current layout."""
    header = np.frombuffer(payload, records.FRAME_HEADER, 1)[0]
    kind = int(header["type"])
    dtype = records.COMMAND_RECORDS[kind]
    return kind, np.frombuffer(payload, dtype, int(header["count"]), records.HEADER_BYTES)


def decode_command(payload: memoryview | bytes) -> commands.AnyCommand:
    """Read a rare command as it stands in the journal, its time included."""
    return _COMMANDS.decode(payload)


def member_handle(market: Market, agent: Agent) -> int:
    """Return the core's handle of the agent's member; 0 for admin and verifier."""
    if agent.role not in ROLE_NUMBER:
        return 0
    return market.names.handle(agent.role, agent.member)
