"""Gives every command its place in the total order: number, time, record.

The one writer of the journal. What is numbered here in a round is durable when `commit` returns,
and only then may anything of it be applied, answered or seen.
"""

from typing import Final

import msgspec
import numpy as np

from exchange import notes
from exchange.apply import encode_command
from exchange.journal.log import FrameLog, Log
from exchange.journal.record import Kind
from exchange.journal.writer import JournalWriter
from schemas import commands, frames
from schemas.limits import AT_NS_MAX
from schemas.records import COMMAND_RECORDS

EXCHANGE_AGENT: Final = 0  # what the exchange itself says carries no agent


class Sequencer:
    """Numbers the commands of rounds; fed the time, which it never lets run backwards."""

    def __init__(self, log: Log, *, next_seq: int, last_at_ns: int) -> None:
        self._log = log
        self._frames = log if isinstance(log, FrameLog) else None
        self._writer = log if isinstance(log, JournalWriter) else None
        self._next_seq = next_seq
        self._at_ns = last_at_ns
        self._pending = False

    @property
    def at_ns(self) -> int:
        """Time of this round, ns since the Unix epoch."""
        return self._at_ns

    @property
    def next_seq(self) -> int:
        """Number that the next core command gets."""
        return self._next_seq

    @property
    def pending(self) -> bool:
        """True when the round holds something that is not yet durable."""
        return self._pending

    def begin(self, now_ns: int) -> None:
        """Start a round at `now_ns`; a clock that jumped back is waited for, never followed."""
        self._at_ns = min(max(self._at_ns, now_ns), AT_NS_MAX)

    def frame(
        self, kind: int, batch: np.ndarray, agent: int, epoch: int, message: int
    ) -> tuple[int, bytes]:
        """Number the records of one frame; return (number of the first, the frame as journaled)."""
        payload = frames.header(kind, batch.dtype.itemsize, len(batch), message) + batch.tobytes()
        seq = self._next_seq
        self._append(Kind.FRAME, payload, len(batch), agent, epoch, message)
        return seq, payload

    def frames(self, kind: int, batch: np.ndarray, runs: np.ndarray) -> int:
        """Number the records of many frames, int64[n, words]; returns the number of the first.

        `runs` int64[n, 5] says whose they are: place of the first in `batch`, how many, index of the
        agent, epoch, message number (exchange.kernels.pack).
        """
        seq = self._next_seq
        if self._frames is not None:
            self._frames.append_frames(kind, batch, runs, at_ns=self._at_ns)
            self._next_seq += len(batch)
            self._pending = True
        else:
            batch = batch.reshape(-1).view(COMMAND_RECORDS[kind])
            for at, count, agent, epoch, message in runs.tolist():
                self.frame(kind, batch[at : at + count], agent, epoch, message)
        return seq

    def rare(
        self, command: commands.AnyCommand, agent: int, epoch: int, message: int
    ) -> tuple[int, commands.AnyCommand]:
        """Number a rare command; return (its number, the command with its time)."""
        timed = _at(command, self._at_ns)
        seq = self._next_seq
        self._append(Kind.RARE, encode_command(timed), 1, agent, epoch, message)
        return seq, timed

    def note(self, note: notes.AnyNote, agent: int, epoch: int, message: int) -> None:
        """Put a note between the commands; it gets no number."""
        self._append(Kind.NOTE, notes.encode(note), 0, agent, epoch, message)

    def commit(self) -> int:
        """Make the round durable and return the durable position; raises JournalFailed for good."""
        self._pending = False
        return self._log.commit()

    def prepare(self) -> None:
        """Let the log make ready what its next segment needs, when it has any: nobody waits now."""
        if self._writer is not None and self._writer.wants_prepare:
            self._writer.prepare()

    def _append(
        self, kind: Kind, payload: bytes, count: int, agent: int, epoch: int, message: int
    ) -> None:
        self._log.append(
            kind,
            payload,
            seq=self._next_seq,
            count=count,
            agent=agent,
            epoch=epoch,
            message=message,
            at_ns=self._at_ns,
        )
        self._next_seq += count
        self._pending = True


def _at(command: commands.AnyCommand, at_ns: int) -> commands.AnyCommand:
    # `structs.replace` does not run `__post_init__` again, and the fields it keeps were checked.
    return msgspec.structs.replace(command, at=at_ns)
