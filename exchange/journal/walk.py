"""Step from record to record: what stands at a position, and which segment holds it.

Reader and recovery share this; neither trusts a byte that it has not checked here.
"""

from enum import Enum, auto
from typing import Final, NamedTuple
from zlib import crc32

from exchange.journal.record import (
    CHECK_AT,
    FIELDS,
    HEADER_BYTES,
    VERSION,
    Kind,
    Record,
    header_is_sound,
    padded,
)
from exchange.journal.storage import Storage, segment_first

CHUNK_BYTES: Final = 1 << 20


class Stands(Enum):
    """What stands at the position where the chain of good records ends."""

    VOID = auto()  # the folder holds no segment
    BLANK = auto()  # zeros, or the file's end
    STRANGE = auto()  # bytes that are no header of this position: an earlier life, or torn
    BROKEN = auto()  # a header of this position; it or its payload is damaged
    UNLINKED = auto()  # a good record of this position, but after another predecessor
    FOREIGN = auto()  # a good header of this position, of another market
    NEWER = auto()  # a good header of this position, of a layout unknown to us
    MISSING = auto()  # the segment that should hold it is not there


class Segment(NamedTuple):
    """A segment file by its name and the journal's position at its first byte."""

    first: int
    name: str


def segments(storage: Storage) -> list[Segment]:
    """List the folder's segments in order of position."""
    found = ((segment_first(name), name) for name in storage.names())
    return sorted(Segment(first, name) for first, name in found if first is not None)


class Window:
    """A sliding view of one file that never reads a byte at or behind `limit` (an offset)."""

    def __init__(self, storage: Storage, handle: int, limit: int) -> None:
        self._storage = storage
        self._handle = handle
        self.base = 0
        self.limit = limit
        self.view = memoryview(b"")

    def reach(self, offset: int, need: int) -> int:
        """Give the index in `view` of `offset`, with `need` bytes from there or all there are."""
        index = offset - self.base
        if index >= 0 and index + need <= len(self.view):
            return index
        size = max(0, min(max(need, CHUNK_BYTES), self.limit - offset))
        self.view = memoryview(self._storage.read_at(self._handle, size, offset))
        self.base = offset
        return 0


def judge(
    window: Window, offset: int, room: int, position: int, market: int | None, prior: int | None
) -> Record | Stands:
    """Read the record at `offset`, or say what stands there instead.

    `room` is what its segment has left, `position` what `offset` is in the journal. `market` and
    `prior` None mean that any is right. Raises OSError.
    """
    view, index = window.view, offset - window.base
    if index < 0 or len(view) - index < HEADER_BYTES:  # Most often a record is in view already.
        index = window.reach(offset, HEADER_BYTES)
        view = window.view
        if len(view) - index < HEADER_BYTES:
            return _diagnose(view[index:], room, position, market, prior)
    (
        crc,
        length,
        kind,
        version,
        market_,
        position_,
        synced,
        seq,
        count,
        agent,
        at_ns,
        message,
        epoch,
        _reserved,
        prior_,
        check,
    ) = FIELDS.unpack_from(view, index)
    size = padded(length)
    covered = HEADER_BYTES if kind == Kind.PAD else size
    if size <= room and position_ == position:  # Else the length is no guide to what to read.
        if len(view) - index < covered:
            index = window.reach(offset, covered)
            view = window.view
        if (
            len(view) - index >= covered
            and crc32(view[index + 4 : index + CHECK_AT]) == check
            and crc32(view[index + HEADER_BYTES : index + covered], check) == crc
            and version == VERSION
            and (market is None or market_ == market)
            and (prior is None or prior_ == prior)
            and (kind != Kind.PAD or size == room)
        ):
            body = index + HEADER_BYTES
            return Record(
                kind,
                version,
                market_,
                position,
                synced,
                seq,
                count,
                agent,
                at_ns,
                message,
                epoch,
                prior_,
                crc,
                view[body : body + (0 if kind == Kind.PAD else length)],
                position + size,
            )
        return _diagnose(view[index : index + covered], room, position, market, prior)
    return _diagnose(view[index : index + HEADER_BYTES], room, position, market, prior)


def _diagnose(
    found: memoryview, room: int, position: int, market: int | None, prior: int | None
) -> Stands:
    """Name what is wrong with bytes that are no good record; the slow half of `judge`."""
    head = bytes(found[: min(HEADER_BYTES, room)]).ljust(HEADER_BYTES, b"\0")
    if not any(head):
        return Stands.BLANK
    crc, length, kind, version, market_, position_, *_, prior_, check = FIELDS.unpack(head)
    if position_ != position:
        return Stands.STRANGE
    if not header_is_sound(head):
        return Stands.BROKEN
    if version != VERSION:
        return Stands.NEWER
    if market is not None and market_ != market:
        return Stands.FOREIGN
    covered = HEADER_BYTES if kind == Kind.PAD else padded(length)
    whole = len(found) >= covered and crc32(found[HEADER_BYTES:covered], check) == crc
    if whole and prior is not None and prior_ != prior:
        return Stands.UNLINKED
    return Stands.BROKEN
