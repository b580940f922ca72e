"""Follow the journal up to a position that is known to be durable."""

from collections.abc import Iterator

from exchange.journal.errors import JournalDamaged, JournalFailed
from exchange.journal.record import HEADER_BYTES, Kind, Record
from exchange.journal.storage import Storage, segment_name
from exchange.journal.walk import Segment, Stands, Window, judge, segments

_WHY = {
    Stands.BLANK: "no record stands there",
    Stands.STRANGE: "no record stands there",
    Stands.BROKEN: "the record there is damaged, or reaches behind the given end",
    Stands.UNLINKED: "the record there does not follow the one before it",
    Stands.FOREIGN: "the record there is of another market",
    Stands.NEWER: "the record there is of a newer version of this program",
    Stands.MISSING: "no segment holds it",
}


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

    def close(self) -> None:
        """Close the file that is open."""
        if self._handle is not None:
            self._storage.close(self._handle)
            self._handle = None

    def _read_segment(self, upto: int) -> Iterator[Record]:
        handle = self._open()
        end = self._first + self._size
        window = Window(self._storage, handle, min(self._size, upto - self._first))
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
