"""The frames of bids of a round, all at once: taken, judged, numbered, applied and answered.

    messages ─► take: header, session, rate; records into one arena     per frame, in Python
                └► number: ranges and handles, then the journal         one compiled call each
                    └► (commit) ► finish: the core, then the answers    one compiled call each

A bid per frame is what a buyer in a hurry sends, and what Python does for a frame is dear: so a frame
costs a header, a session's two numbers and a copy, and whatever else there is to do is done for all of
them together. Frames keep the order in which they arrived, and the sequence numbers follow it.
What is not plainly the next frame of a buyer in order is not taken here: the round judges it alone.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exchange.admission.gate import Gate
from exchange.apply import NO_EVENTS, JournalApplier
from exchange.gateway.desks import Desk
from exchange.kernels import admit
from exchange.kernels.answer import FILL_WORDS, HEADER_WORDS, STATUS_WORDS, answer_bids
from exchange.sealer import Sealer
from exchange.sequencer import Sequencer
from matching_core.market import Market
from schemas import limits, records
from schemas.records import BID_RECORD, HEADER_BYTES

_BYTES: Final = BID_RECORD.itemsize
_WORDS: Final = _BYTES // 8
_HEADER: Final = struct.Struct(
    "<HHHHQ"
)  # FRAME_HEADER: a structured scalar costs ten times a struct
_QUANTITY: Final = struct.Struct("<52xH10x")
_FEW: Final = 16  # up to so many records a struct is faster than a column
_ARENA_RECORDS: Final = 16_384
_ARENA_FRAMES: Final = 1_024
_FRAME: Final = struct.Struct(f"={admit.FRAME_WORDS}q")
assert BID_RECORD.fields is not None
assert BID_RECORD.fields["quantity"][1] == 52
assert _QUANTITY.size == _BYTES
assert _HEADER.size == HEADER_BYTES


class Taken(NamedTuple):
    """A frame that was taken: whose it is and where its answer goes."""

    desk: Desk
    peer: bytes
    epoch: int
    first: int
    numbers: int


class Judged(NamedTuple):
    """What `admit_bids` writes for so many records, uninitialised."""

    codes: NDArray[np.int64]
    batch: NDArray[np.int64]
    senders: NDArray[np.int64]
    origin: NDArray[np.int64]
    runs: NDArray[np.int64]

    @classmethod
    def of(cls, total: int) -> "Judged":
        """Make room."""
        return cls(
            np.empty(total, np.int64), np.empty((total, _WORDS), np.int64),
            np.empty((total, 2), np.int64), np.empty(total, np.int64),
            np.empty((total, admit.RUN_WORDS), np.int64),
        )  # fmt: skip


class Bids:
    """Takes frames of bids until `number` is called."""

    def __init__(self, market: Market, gate: Gate) -> None:
        self._market = market
        self._gate = gate
        self._arena: NDArray[np.uint8] = np.zeros((_ARENA_RECORDS, _BYTES), np.uint8)
        self._bytes = self._arena.reshape(-1).data
        self._frames: NDArray[np.int64] = np.zeros((_ARENA_FRAMES, admit.FRAME_WORDS), np.int64)
        self._taken: list[Taken] = []
        self.records = 0

    def __bool__(self) -> bool:
        return bool(self._taken)

    def take(self, desk: Desk, peer: bytes, buffer: memoryview, now_ns: int) -> int:
        """Take a message if it is the next frame of bids of its buyer; return its units, else 0."""
        size = len(buffer)
        if size < HEADER_BYTES + _BYTES:
            return 0
        kind, version, length, count, first = _HEADER.unpack_from(buffer)
        session, agent = desk.session, desk.agent
        end = first + count - 1
        if (
            kind != records.BID
            or length != _BYTES
            or size != HEADER_BYTES + count * _BYTES
            or count > limits.RECORDS_PER_FRAME_MAX
            or end >= limits.NUMBER_MAX
            or agent.role != "buyer"
            or desk.restored
            or not session.expects(peer, version, first)
        ):
            return 0
        member = desk.member or desk.member_in(self._market)
        units = _units(buffer, count)
        if (
            member == 0
            or units > limits.UNITS_PER_FRAME_MAX
            or not desk.rate.take_if_there(units, now_ns)
        ):
            return 0
        session.take_expected(end, now_ns)
        start = self.records
        self.records += count
        if self.records > len(self._arena):
            self._grow()
        self._bytes[start * _BYTES : self.records * _BYTES] = buffer[HEADER_BYTES:]
        place = len(self._taken)
        if place == len(self._frames):
            self._frames = np.concatenate([self._frames, self._frames])
        _FRAME.pack_into(
            self._frames.data, place * _FRAME.size, count, first, member, agent.number, agent.index,
            session.epoch, version,
        )  # fmt: skip
        self._taken.append(Taken(desk, peer, session.epoch, first, count))
        # A bid of no units is refused for its field; it took a message's place all the same.
        return units or count

    def number(self, sequencer: Sequencer) -> "BidsWork":
        """Judge what was taken and number what is accepted; what is taken next is another work."""
        frames = self._frames[: len(self._taken)].copy()
        codes, batch, senders, origin, runs = Judged.of(self.records)
        made = admit.admit_bids(
            frames, self._arena[: self.records], self._gate.table(records.BID),
            self._market.campaign_buyers, codes, batch, senders, origin, runs,
        )  # fmt: skip
        seq = accepted = 0
        if made:
            last = made - 1
            accepted = runs.item(last, admit.RUN_AT) + runs.item(last, admit.RUN_COUNT)
            if accepted < len(batch):
                batch, senders = batch[:accepted], senders[:accepted]
            seq = sequencer.frames(records.BID, batch, runs[:made])
        else:
            batch, senders = batch[:0], senders[:0]
        work = BidsWork(
            self._taken, frames, codes, batch, senders, origin, runs[:made], seq, sequencer.at_ns
        )
        self._taken, self.records = [], 0
        return work

    def _grow(self) -> None:
        larger = np.zeros((max(self.records, 2 * len(self._arena)), _BYTES), np.uint8)
        larger[: len(self._arena)] = self._arena
        self._arena = larger
        self._bytes = self._arena.reshape(-1).data


@dataclass(slots=True)
class BidsWork:
    """Frames of bids as numbered, to be finished once they are durable."""

    taken: list[Taken]
    frames: NDArray[np.int64]
    codes: NDArray[np.int64]
    batch: NDArray[np.int64]  # what was accepted
    senders: NDArray[np.int64]
    origin: NDArray[np.int64]
    runs: NDArray[np.int64]
    seq: int
    at_ns: int

    @property
    def refused(self) -> int:
        """How many records were refused."""
        return len(self.codes) - len(self.batch)

    def finish(self, applier: JournalApplier, sealer: Sealer) -> Iterator[tuple[Taken, bytes]]:
        """Apply the accepted bids; give each frame and its answer, in order."""
        matrix = NO_EVENTS
        if len(self.batch):
            for _, count, index, epoch, message in self.runs.tolist():
                applier.registry.numbered(index, epoch, message, count)
            bids = self.batch.reshape(-1).view(BID_RECORD)
            matrix = applier.bids(bids, self.senders, self.at_ns)
        out, bounds = self._answers(matrix, sealer)
        view = out.data
        begin = 0
        for taken, end in zip(self.taken, bounds.tolist()[1:], strict=True):
            yield taken, view[begin:end].tobytes()
            begin = end

    def _answers(
        self, matrix: NDArray[np.int64], sealer: Sealer
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        frames, total = len(self.frames), len(self.codes)
        room = 2 * HEADER_WORDS * frames + STATUS_WORDS * total + FILL_WORDS * len(matrix)
        out = np.empty(room, np.int64)
        bounds = np.empty(frames + 1, np.int64)
        told = np.empty((total, 2), np.int64)
        fills = np.empty(frames, np.int64)
        missing = np.empty(len(matrix), np.int64)
        while True:
            used = answer_bids(
                self.frames, self.codes, self.batch, self.senders, self.origin, len(self.batch),
                matrix, self.seq, sealer.head, sealer.states, sealer.known, sealer.block,
                sealer.state, missing, told, fills, bounds, out,
            )  # fmt: skip
            if used >= 0:
                return out, bounds
            sealer.learn(np.unique(missing[:-used]))


def _units(buffer: memoryview, count: int) -> int:
    """Return the units of a frame's bids: the sum of their quantities."""
    if count == 1:
        (units,) = _QUANTITY.unpack_from(buffer, HEADER_BYTES)
        return int(units)
    if count <= _FEW:
        return sum(units for (units,) in _QUANTITY.iter_unpack(buffer[HEADER_BYTES:]))
    column = np.frombuffer(buffer, BID_RECORD, count, HEADER_BYTES)["quantity"]
    return int(column.sum(dtype=np.int64))
