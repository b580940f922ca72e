"""Follow the journal up to a position that is known to be durable."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exchange.journal.errors import JournalDamaged, JournalFailed
from exchange.journal.record import HEADER_BYTES, Kind, Record
from exchange.journal.storage import Storage, segment_name
from exchange.journal.walk import Segment, Stands, Window, judge, segments
from exchange.kernels import pack, unpack
from schemas.records import BID_RECORD

_WHY = {
    Stands.BLANK: "no record stands there",
    Stands.STRANGE: "no record stands there",
    Stands.BROKEN: "the record there is damaged, or reaches behind the given end",
    Stands.UNLINKED: "the record there does not follow the one before it",
    Stands.FOREIGN: "the record there is of another market",
    Stands.NEWER: "the record there is of a newer version of this program",
    Stands.MISSING: "no segment holds it",
}


_BIDS_MAX: Final = 4_096  # of one call
_BID_WORDS: Final = BID_RECORD.itemsize // 8


class Bids(NamedTuple):
    """Frames of plain bids that follow one another, of one moment.

    Attributes:
        seq: number of the first bid; the others follow.
        at_ns: time of all of them.
        records: BID_RECORD[n].
        runs: int64[frames, 5], whose they are: columns of `exchange.kernels.pack`.
    """

    seq: int
    at_ns: int
    records: NDArray[np.void]
    runs: NDArray[np.int64]


class JournalReader:
    """Read records from `position` (a record's boundary) on, in order.

    `market` and `prior` (the crc of the record before) are checked where they are given; from the
    first record on each must follow its predecessor. One reader serves one follower for its whole
    life: it keeps its place over calls, and holds one file open. Its segment must not be recycled
    before the reader has left it.
    """

    def __init__(
        self,
        storage: Storage,
        position: int = 0,
        *,
        market: int | None = None,
        prior: int | None = None,
    ) -> None:
        self._storage = storage
        self._market = market
        self._prior = 0 if position == 0 else prior
        self._position = position
        self._handle: int | None = None
        self._first = 0
        self._size = 0
        self._window: Window | None = None
        self._batch = np.empty((_BIDS_MAX, _BID_WORDS), np.int64)
        self._runs = np.empty((_BIDS_MAX, pack.RUN_WORDS), np.int64)

    @property
    def position(self) -> int:
        """Position of the next record."""
        return self._position

    @property
    def prior(self) -> int | None:
        """The crc of the last record read; give it to a reader that shall go on from here."""
        return self._prior

    def read(self, upto: int) -> Iterator[Record]:
        """Yield the records before `upto`, the durable position; no byte behind it is read.

        Raises JournalDamaged where a record is not what it must be (the place in it), and
        JournalFailed where the disk does not answer. PAD records are passed over.
        """
        try:
            while self._position < upto:
                yield from self._read_segment(upto)
        except OSError as error:
            raise JournalFailed(f"{self._storage.place('')}: {error}") from error

    def bids(self, upto: int) -> Bids | None:
        """Take the frames of bids that come next, as `read` would one by one; None: `read` what does.

        A bid that asks to be explained is left to `read`. The next call overwrites what is returned.
        Raises as `read` does.
        """
        if self._position >= upto or self._market is None or self._prior is None:
            return None
        try:
            window = self._view(upto)
            index = window.reach(self._position - self._first, HEADER_BYTES)
        except OSError as error:
            raise JournalFailed(f"{self._storage.place('')}: {error}") from error
        usable = min(len(window.view) - index, upto - self._position) & -8
        if usable < HEADER_BYTES:
            return None
        words = np.frombuffer(window.view[index : index + usable], np.int64)
        state = np.array((self._position, self._prior, self._market, 0, 0, 0), np.int64)
        made = unpack.take_frames(words, 0, state, self._batch, self._runs)
        if made == 0:
            return None
        self._position, self._prior, _, seq, at_ns, count = state.tolist()
        records = self._batch[:count].reshape(-1).view(BID_RECORD)
        return Bids(seq, at_ns, records, self._runs[:made])

    def close(self) -> None:
        """Close the file that is open."""
        if self._handle is not None:
            self._storage.close(self._handle)
            self._handle = self._window = None

    def _view(self, upto: int) -> Window:
        """Open the segment of the position, seen up to there and not a byte further."""
        handle = self._open()
        limit = min(self._size, upto - self._first)
        if self._window is None:
            self._window = Window(self._storage, handle, limit)
        # What was seen was durable: it stays as it is.
        self._window.limit = limit
        return self._window

    def _read_segment(self, upto: int) -> Iterator[Record]:
        window = self._view(upto)
        end = self._first + self._size
        while self._position < upto and end - self._position >= HEADER_BYTES:
            position = self._position
            found = judge(
                window, position - self._first, end - position, position, self._market, self._prior
            )
            if isinstance(found, Stands):
                raise self._damaged(found)
            self._market = found.market
            self._prior = found.crc
            self._position = found.end
            if found.kind != Kind.PAD:
                yield found

    def _open(self) -> int:
        """Open the segment that holds the position, unless it is open already."""
        if self._handle is not None:
            if self._position < self._first + self._size:
                return self._handle
            # A restart may have lengthened the file since it was opened.
            self._size = self._storage.size(self._handle)
            if self._position < self._first + self._size:
                return self._handle
            self.close()
        segment = self._segment()
        self._handle = self._storage.open(segment.name)
        self._first = segment.first
        self._size = self._storage.size(self._handle)
        if self._position - self._first + HEADER_BYTES > self._size:
            raise self._damaged(Stands.MISSING)
        return self._handle

    def _segment(self) -> Segment:
        before = [s for s in segments(self._storage) if s.first <= self._position]
        if not before:
            raise self._damaged(Stands.MISSING)
        return before[-1]

    def _damaged(self, stands: Stands) -> JournalDamaged:
        name = segment_name(self._position if self._handle is None else self._first)
        return JournalDamaged(self._storage.place(name), self._position, _WHY[stands])
