"""Append to the journal: records gather in one buffer, a commit makes the round durable.

    append append append  commit ──► one write, one sync, page.publish ──► answers may leave
    └──── buffer ───────┘

The buffer always belongs to one segment. A record that does not fit closes the segment: PAD, write,
sync, next segment. So whatever stands in a segment proves that all before it was durable.

Any failing call stops the writer for good. A failed sync above all is never tried again: the kernel
has dropped the pages it could not write and would call the second sync a success (Rebello et al.,
"Can Applications Recover from fsync Failures?", USENIX ATC 2020).
"""

from itertools import pairwise
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from exchange.journal.errors import JournalFailed
from exchange.journal.page import DurablePage
from exchange.journal.record import (
    HEADER_BYTES,
    PAYLOAD_BYTES_MAX,
    Kind,
    encode,
    encode_pad,
)
from exchange.journal.recovery import Recovered
from exchange.journal.storage import (
    PREPARING,
    SPARE_PREFIX,
    SUFFIX,
    Storage,
    segment_name,
    write_whole,
)
from exchange.journal.walk import segments
from exchange.kernels import pack
from schemas.records import HEADER_BYTES as FRAME_HEADER_BYTES

SEGMENT_BYTES: Final = 64 << 20
SEGMENT_BYTES_MIN: Final = 4096
SPARES_MAX: Final = 2
_BUFFER_BYTES: Final = 1 << 18


class JournalWriter:
    """The only writer of a folder that `recover` has just made whole.

    Makes the next segment where none is begun, a spare one, and tells the page where the journal
    ends. `segment_bytes` is for new segments; those that exist keep their size. Raises JournalFailed.
    """

    def __init__(
        self,
        storage: Storage,
        recovered: Recovered,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        page: DurablePage | None = None,
    ) -> None:
        if segment_bytes < SEGMENT_BYTES_MIN or segment_bytes % 512:
            raise ValueError(f"segment_bytes: {segment_bytes} is under 4096 or no multiple of 512")
        self._storage = storage
        self._segment_bytes = segment_bytes
        self._page = page
        self._market = recovered.market
        self._prior = recovered.last_crc
        self._next_seq = recovered.next_seq
        self._end = self._durable = recovered.end_position
        self._payload_max = min(PAYLOAD_BYTES_MAX, segment_bytes - 2 * HEADER_BYTES)
        self._view = memoryview(bytearray(min(_BUFFER_BYTES, segment_bytes)))  # whole words
        self._words: NDArray[np.int64] = np.frombuffer(self._view, np.int64)  # the same bytes
        self._state: NDArray[np.int64] = np.zeros(pack.STATE_WORDS, np.int64)
        self._fill = 0
        self._failed: BaseException | None = None
        self._spare_taken = False
        self._handle: int | None = None
        self._first = self._limit = 0  # the segment's first position and the one behind its last
        try:
            self._begin()
        except BaseException as error:  # noqa: BLE001 -- whatever it was, the writer is not usable
            self._fail(error)
        if page is not None:
            page.publish(self._durable, self._next_seq)

    @property
    def end(self) -> int:
        """Position behind the last record appended."""
        return self._end

    @property
    def durable(self) -> int:
        """Position up to which all is durable."""
        return self._durable

    @property
    def next_seq(self) -> int:
        """The number that the next core command gets."""
        return self._next_seq

    @property
    def market(self) -> int:
        """The market of the folder."""
        return self._market

    def append(
        self,
        kind: int,
        payload: bytes | bytearray | memoryview | NDArray[np.void] | NDArray[np.uint8],
        *,
        seq: int,
        count: int,
        agent: int,
        epoch: int,
        message: int,
        at_ns: int,
    ) -> int:
        """Add a record to this round and return its position; the payload is copied.

        Touches the disk only where a segment is full. Raises ValueError, and adds nothing, for a
        kind, size or number that no record can have, struct.error for a value outside its field,
        and JournalFailed.
        """
        if self._failed is not None:
            self._refuse()
        if isinstance(payload, np.ndarray):
            flat = payload if payload.ndim == 1 else payload.reshape(-1)
            payload = flat.view(np.uint8).data
        elif type(payload) is memoryview:
            payload = payload.cast("B")
        length = len(payload)
        if length > self._payload_max or not 0 < kind < Kind.PAD:
            raise ValueError(f"a record of kind {kind} and {length} bytes")
        if seq != self._next_seq:
            raise ValueError(f"number {seq} where {self._next_seq} is next")
        size = HEADER_BYTES + ((length + 7) & -8)
        room = self._limit - self._end
        # What is left must be nothing, or hold a PAD.
        if room != size and room < size + HEADER_BYTES:
            self._roll(room)
        fill = self._fill + size
        if fill > len(self._view):
            self._grow(fill)
        position = self._end
        self._prior = encode(
            self._view,
            self._fill,
            payload,
            kind,
            self._market,
            position,
            self._durable,
            seq,
            count,
            agent,
            at_ns,
            message,
            epoch,
            self._prior,
        )
        self._fill = fill
        self._end = position + size
        self._next_seq = seq + count
        return position

    def append_frames(
        self, kind: int, batch: NDArray[np.int64], runs: NDArray[np.int64], *, at_ns: int
    ) -> None:
        """Add a round's frames of records of one type, as `append` would one by one.

        `batch` are all their records, int64[records, words]; `runs` int64[n, 5] says whose they are
        (columns in pack.py). They are numbered from `next_seq` on. Raises JournalFailed.
        """
        if self._failed is not None:
            self._refuse()
        total = len(runs)
        need = total * (HEADER_BYTES + FRAME_HEADER_BYTES) + batch.nbytes
        if need > self._payload_max:  # together; each is looked at only then
            longest = FRAME_HEADER_BYTES + 8 * batch.shape[1] * int(runs[:, pack.COUNT].max())
            if longest > self._payload_max:
                raise ValueError(f"a record of kind {Kind.FRAME} and {longest} bytes")
        state = self._state
        done = 0
        while done < total:
            if self._fill + need > len(self._view):
                self._grow(self._fill + need)
            state[:] = (
                self._end, self._durable, self._next_seq, self._fill, self._prior, self._limit,
                self._market, at_ns,
            )  # fmt: skip
            done = pack.pack_frames(runs, done, kind, batch, self._words, state)
            self._end, _, self._next_seq, self._fill, self._prior = state[:5].tolist()
            if done < total:
                self._roll(self._limit - self._end)

    def commit(self) -> int:
        """Make this round durable, publish it on the page, and return `durable`.

        Costs one write and one sync; nothing at all when nothing was appended. Raises JournalFailed:
        then nothing of this round may be acknowledged, and the writer refuses everything after.
        """
        if self._failed is not None:
            self._refuse()
        if self._fill:
            self._flush()
        return self._durable

    @property
    def wants_prepare(self) -> bool:
        """True when the spare segment was taken into use: the next quiet moment is for `prepare`."""
        return self._spare_taken and self._failed is None

    def prepare(self) -> None:
        """Make a spare segment where there is none, so that the next one is only a rename.

        For a moment when nobody waits: the start, an idle round. Raises JournalFailed.
        """
        if self._failed is not None:
            self._refuse()
        try:
            if not self._spares():
                self._make(_spare_name(0), zeroed=False)
                self._storage.sync_dir()
            self._spare_taken = False
        except BaseException as error:  # noqa: BLE001 -- any failing call stops the writer
            self._fail(error)

    def recycle(self, before: int) -> int:
        """Retire the segments that end at or before `before`; returns how many.

        At most two become spares, the rest is removed. The current segment stays, and one before it
        (in an empty segment nothing tells the number that follows). It is for the caller to know
        that nobody reads them any more. Raises JournalFailed.
        """
        if self._failed is not None:
            self._refuse()
        try:
            kept = segments(self._storage)
            retired = [s for s, after in pairwise(kept) if after.first <= before]
            retired = [s for s in retired if s in kept[:-2]]
            free = [n for n in map(_spare_name, range(SPARES_MAX)) if n not in self._spares()]
            for segment in retired:
                if free and self._size_of(segment.name) == self._segment_bytes:
                    self._storage.rename(segment.name, free.pop(0))
                else:
                    self._storage.remove(segment.name)
            if retired:
                self._storage.sync_dir()
        except BaseException as error:  # noqa: BLE001 -- any failing call stops the writer
            self._fail(error)
        return len(retired)

    def close(self) -> None:
        """Close the segment. What was not committed is gone; the writer refuses everything after."""
        if self._failed is None:
            self._failed = JournalFailed("closed")
        if self._handle is not None:
            self._storage.close(self._handle)
            self._handle = None

    def _flush(self) -> None:
        assert self._handle is not None
        try:
            offset = self._durable - self._first
            write_whole(self._storage, self._handle, self._view[: self._fill], offset)
            self._storage.sync(self._handle)
        except BaseException as error:  # noqa: BLE001 -- interrupted halfway is failed, too
            self._fail(error)
        self._durable = self._end
        self._fill = 0
        if self._page is not None:
            self._page.publish(self._durable, self._next_seq)

    def _roll(self, room: int) -> None:
        """Close this segment, all of it durable, and begin the next."""
        if room:
            fill = self._fill + HEADER_BYTES
            if fill > len(self._view):
                self._grow(fill)
            self._prior = encode_pad(
                self._view,
                self._fill,
                room,
                self._market,
                self._end,
                self._next_seq,
                self._prior,
            )
            self._fill = fill
            self._end += room
        if self._fill:
            self._flush()
        try:
            self._next_segment()
        except BaseException as error:  # noqa: BLE001 -- any failing call stops the writer
            self._fail(error)

    def _grow(self, need: int) -> None:
        # Growth is for good: the buffer ends as large as the largest round, at most a segment.
        larger = memoryview(bytearray((max(need, 2 * len(self._view)) + 7) & -8))
        larger[: self._fill] = self._view[: self._fill]
        self._view = larger
        self._words = np.frombuffer(larger, np.int64)

    def _begin(self) -> None:
        """Open the segment in which the journal ends, or begin one; sort out what lies around."""
        storage = self._storage
        names = storage.names()
        if PREPARING in names:
            storage.remove(PREPARING)
        for name in self._spares():
            if self._size_of(name) != self._segment_bytes:
                storage.remove(name)
        kept = segments(storage)
        if kept:
            last = kept[-1]
            handle = storage.open(last.name)
            size = storage.size(handle)
            # A full segment ends in a PAD that counts on its size: it must not grow.
            if size == 0 or self._end - last.first < size:
                wanted = max((size + 7) & -8, self._segment_bytes)
                if size < wanted:
                    storage.preallocate(handle, wanted, zeroed=True)
                self._handle, self._first, self._limit = handle, last.first, last.first + wanted
            else:
                storage.close(handle)
        if self._handle is None:
            if not self._spares():
                self._make(_spare_name(0), zeroed=True)
            self._next_segment()
        self.prepare()

    def _next_segment(self) -> None:
        storage = self._storage
        name = segment_name(self._end)
        spares = self._spares()
        self._spare_taken = len(spares) <= 1
        if spares:
            storage.rename(spares[0], name)
        else:
            self._make(name, zeroed=False)
        # Before a record in it can be durable, its name must be.
        storage.sync_dir()
        handle = storage.open(name)
        if self._handle is not None:
            storage.close(self._handle)
        self._handle, self._first = handle, self._end
        self._limit = self._end + storage.size(handle)

    def _make(self, name: str, *, zeroed: bool) -> None:
        """Make a segment that appears under its name only when it is whole and synced."""
        storage = self._storage
        handle = storage.create(PREPARING)
        try:
            storage.preallocate(handle, self._segment_bytes, zeroed=zeroed)
        finally:
            storage.close(handle)
        storage.rename(PREPARING, name)

    def _spares(self) -> list[str]:
        names = set(self._storage.names())
        return [n for n in map(_spare_name, range(SPARES_MAX)) if n in names]

    def _size_of(self, name: str) -> int:
        handle = self._storage.open(name)
        try:
            return self._storage.size(handle)
        finally:
            self._storage.close(handle)

    def _fail(self, error: BaseException) -> NoReturn:
        if self._failed is None:
            self._failed = error
        if isinstance(error, JournalFailed) or not isinstance(error, Exception):
            raise error
        place = self._storage.place(segment_name(self._first))
        raise JournalFailed(f"{place}: {error}; the journal has stopped") from error

    def _refuse(self) -> NoReturn:
        raise JournalFailed(f"the journal has stopped: {self._failed}")


def _spare_name(index: int) -> str:
    return f"{SPARE_PREFIX}{index}{SUFFIX}"
