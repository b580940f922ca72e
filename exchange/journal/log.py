"""The port that the sequencer writes to.

Today it is the local journal alone. A journal together with a replicated stream, which answers when
both have it, is another class with these five members; nothing above it changes.
"""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from exchange.journal.writer import JournalWriter

Payload = bytes | bytearray | memoryview | NDArray[np.void] | NDArray[np.uint8]


class Log(Protocol):
    """An append-only log with group commit."""

    @property
    def end(self) -> int:
        """Position behind the last record appended."""

    @property
    def durable(self) -> int:
        """Position up to which all is durable: only what lies before it may be acknowledged."""

    def append(
        self,
        kind: int,
        payload: Payload,
        *,
        seq: int,
        count: int,
        agent: int,
        epoch: int,
        message: int,
        at_ns: int,
    ) -> int:
        """Add a record to this round and return its position; the payload is copied."""

    def commit(self) -> int:
        """Make the round durable and return `durable`; raises JournalFailed once and for good."""

    def close(self) -> None:
        """Give back what it holds; what was not committed is gone."""


@runtime_checkable
class FrameLog(Protocol):
    """What a log may have besides: a round's frames in one call."""

    def append_frames(
        self, kind: int, batch: NDArray[np.int64], runs: NDArray[np.int64], *, at_ns: int
    ) -> None:
        """Add frames as `append` would one by one; both as exchange.kernels.pack reads them."""


LocalLog = JournalWriter
