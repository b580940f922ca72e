"""The one way from a record of the journal to the market and the registry.

The exchange itself, recovery, the follower, replay and export all go through this, so they cannot
differ in what a record means.
"""

from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from exchange import notes
from exchange.journal.record import Kind, Record
from exchange.registry import Agent, Registry
from matching_core.event_rows import COLUMNS, EVENT_WORDS
from matching_core.explain import after, expire_ahead
from matching_core.market import Market
from schemas import commands, records

NO_EVENTS: Final[NDArray[np.int64]] = np.empty((0, EVENT_WORDS), np.int64)
ROLE_NUMBER: Final = {
    "buyer": 0,
    "operator": 1,
}  # of `complete`; others send no hot command of these
REJECTED: Final = records.EVENT_TYPES.index("rejected")
TYPE_COLUMN: Final = COLUMNS.index("type")
REASON_COLUMN: Final = COLUMNS.index("reason")

_COMMANDS: Final[msgspec.msgpack.Decoder[commands.AnyCommand]] = msgspec.msgpack.Decoder(
    commands.AnyCommand
)
_ENCODER: Final = msgspec.msgpack.Encoder()


class Watch(Protocol):
    """Who is shown some bids at the moment they arrive, on the book that they meet (Explain)."""

    def wanted(self, bids: np.ndarray, buyer: int, agent: int, at_ns: int) -> list[int]:
        """Return the places of the bids of a frame that are to be shown, in order."""

    def arriving(self, bid: Any, buyer: int, agent: int) -> None:
        """See a BID record: what was due has happened, the bid has not. Must not change the market."""

    def applied(self, bid: Any, buyer: int, agent: int, rows: NDArray[np.int64]) -> None:
        """See what the same bid's command made happen."""


@dataclass(slots=True)
class JournalApplier:
    """Applies records, in order, to a market and a registry that it shares with its owner.

    With a `watch` the events and the state are the same: its bids are applied one by one.
    """

    market: Market
    registry: Registry
    watch: Watch | None = None

    def apply(self, record: Record) -> NDArray[np.int64]:
        """Apply one record and return its events: `int64[n, EVENT_WORDS]`, valid until the next.

        A rejected command returns its `rejected` row; a note or a padding returns no rows.
        """
        if record.kind == Kind.FRAME:
            self.registry.numbered(record.agent, record.epoch, record.message, record.count)
            return self.frame(record.payload, record.agent, record.at_ns)
        if record.kind == Kind.RARE:
            self.registry.numbered(record.agent, record.epoch, record.message, 1)
            return self.rare(decode_command(record.payload), record.agent)
        if record.kind == Kind.NOTE:
            self.note(notes.decode(record.payload))
            self.registry.numbered(record.agent, record.epoch, record.message, 1)
        return NO_EVENTS

    def frame(self, payload: memoryview | bytes, agent_index: int, at_ns: int) -> NDArray[np.int64]:
        """Apply the hot records of a frame as it stands in the journal."""
        kind, batch = frame_records(payload)
        agent = self.registry.agent(agent_index) if agent_index else None
        if agent is None:
            return self.market.apply_frame(kind, batch, 0, 0, at_ns)
        member = member_handle(self.market, agent)
        if kind == records.BID and self.watch is not None:
            places = self.watch.wanted(batch, member, agent.number, at_ns)
            if places:
                return apply_shown(
                    self.market, self.watch, places, batch, member, agent.number, at_ns
                )
        role = ROLE_NUMBER.get(agent.role, 0)
        return self.market.apply_frame(kind, batch, member, agent.number, at_ns, role=role)

    def bids(self, batch: np.ndarray, senders: np.ndarray, at_ns: int) -> NDArray[np.int64]:
        """Apply the bids of many frames: as `frame` would one by one, in one call.

        `senders` int64[n, 2]: handle of the member and number of the agent of each bid.
        """
        return self.market.apply_frames(records.BID, batch, senders, at_ns)

    def rare(self, command: commands.AnyCommand, agent_index: int) -> NDArray[np.int64]:
        """Apply a rare command; a campaign, deal or adapter counts as its sender's registration."""
        if not isinstance(command, commands.Campaign | commands.Deal | commands.Adapter):
            return self.market.apply(command)
        kind = commands.name_of(command)
        known = self.market.handle_count(kind)
        rows = self.market.apply(command)
        # Counted are handles given: what is rejected or replaced takes none.
        if self.market.handle_count(kind) > known:
            member = self.registry.agent(agent_index).member if agent_index else ""
            self.registry.count_registration(member, kind)
        return rows

    def note(self, note: notes.AnyNote) -> None:
        """Fold a note; a set of adapters becomes known to the core under the handle it was given."""
        if isinstance(note, notes.AdapterSetNote):
            handle = self.market.intern_adapter_set(note.adapters)
            assert handle == note.handle
        self.registry.apply(note)


def apply_shown(
    market: Market,
    watch: Watch,
    places: list[int],
    bids: np.ndarray,
    buyer: int,
    agent: int,
    at_ns: int,
) -> NDArray[np.int64]:
    """Apply a frame of bids and show those at `places`: the same events as of the frame at once."""

    def apply(first: int, end: int) -> NDArray[np.int64]:
        return market.apply_frame(records.BID, bids[first:end], buyer, agent, at_ns)

    parts = []
    done = 0
    for place in places:
        if place > done:
            parts.append(apply(done, place).copy())
        ahead = expire_ahead(market, at_ns)
        watch.arriving(bids[place], buyer, agent)
        rows = after(ahead, apply(place, place + 1))
        watch.applied(bids[place], buyer, agent, rows)
        parts.append(rows)
        done = place + 1
    if done < len(bids):
        parts.append(apply(done, len(bids)).copy())
    return np.concatenate(parts)


def frame_records(payload: memoryview | bytes) -> tuple[int, np.ndarray]:
    """View a journaled frame as (kind, records); the journal holds frames in the current layout."""
    header = np.frombuffer(payload, records.FRAME_HEADER, 1)[0]
    kind = int(header["type"])
    dtype = records.COMMAND_RECORDS[kind]
    return kind, np.frombuffer(payload, dtype, int(header["count"]), records.HEADER_BYTES)


def decode_command(payload: memoryview | bytes) -> commands.AnyCommand:
    """Read a rare command as it stands in the journal, its time included."""
    return _COMMANDS.decode(payload)


def encode_command(command: commands.AnyCommand) -> bytes:
    """Return a rare command as it stands in the journal."""
    return _ENCODER.encode(command)


def member_handle(market: Market, agent: Agent) -> int:
    """Return the core's handle of the agent's member; 0 for admin and verifier."""
    if agent.role not in ROLE_NUMBER:
        return 0
    return market.names.handle(agent.role, agent.member)


def rejection(rows: NDArray[np.int64], seq_row: int = -1) -> int:
    """Return the number of the reason when the command's last row says it was rejected, else 0."""
    if len(rows) == 0 or rows[seq_row, TYPE_COLUMN] != REJECTED:
        return 0
    return int(rows[seq_row, REASON_COLUMN])
