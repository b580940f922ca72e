"""Events on disk: segment files of batches, written by the follower, read by whoever comes after.

    events-00000000000000000000.ev     named by the journal position where its first batch begins
    events-00000000000000655360.ev     the next: no gap, no overlap

A batch is what a stretch of the journal (`begin` to `end`, record boundaries) made happen:

    offset  0      4       8        12       14          16      24    32          40
            +------+-------+--------+--------+-----------+-------+-----+-----------+----------+
            | crc  | magic | market | version| reserved  | begin | end | first_seq | next_seq |
         48 +------+-------+--------+--------+-----------+-------+-----+-----------+----------+
            | names_bytes  | money  | events | reserved  | names, zeros to 8 | MONEY_ROW … | EVENT_ROW …
            +--------------+--------+--------+-----------+

    crc       CRC-32 of everything that follows it
    names     msgpack of `[NameRow, …]`: what was registered, so that no reader needs the core
    money     deposits and withdrawals that were accepted: they move money and write no event
    events    the core's rows (matching_core.event_rows); a `rejected` row says its sender
    seq       commands `first_seq` to `next_seq` − 1

Everything is a function of the journal except where batches are cut, so the files may be thrown
away and written again. Hence no sync in the path: a torn tail is trimmed at start, and what is gone
comes again. A reader takes whole batches only.
"""

import ctypes
import os
import struct
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from matching_core.event_rows import EVENT_ROW

SEGMENT_BYTES: Final = 64 << 20
_MAGIC: Final = 0x56455243  # "CREV"
_VERSION: Final = 1
_HEADER: Final = struct.Struct("<IIIHHQQQQIIII")
_CRC: Final = struct.Struct("<I")
HEADER_BYTES: Final = _HEADER.size
_PREFIX: Final = "events-"
_SUFFIX: Final = ".ev"

ROLE_BUYER: Final = 1
ROLE_OPERATOR: Final = 2
MONEY_ROW: Final = np.dtype(
    [
        ("seq", "<i8"), ("at", "<i8"),
        ("role", "<i8"),  # ROLE_BUYER, ROLE_OPERATOR
        ("member", "<i8"),  # handle
        ("transfer", "<i8"),
        ("amount", "<i8"),  # n$; a withdrawal is negative
    ]
)  # fmt: skip

assert HEADER_BYTES == 64
assert EVENT_ROW.itemsize % 8 == MONEY_ROW.itemsize % 8 == 0


class EventFilesDamaged(Exception):
    """A sealed batch is not what was written. Remove the folder: the follower writes it again."""


class NameRow(Struct, frozen=True, array_like=True):
    """A name became known, or what it stands for changed, at command `seq`."""

    seq: int
    kind: str  # operator, buyer, model, adapter, metro, site, deal, campaign
    handle: int
    name: str
    owner: int = (
        0  # handle: of a site and a deal the operator, a campaign the buyer, an adapter the model
    )
    group: str = ""  # of a member
    country: str = ""  # of a site
    tier: str = ""  # of a site


class Batch(NamedTuple):
    """One stretch of the journal and what it made happen. The arrays are read-only views."""

    begin: int
    end: int
    first_seq: int
    next_seq: int
    names: list[NameRow]
    money: NDArray[np.void]  # MONEY_ROW[n]
    events: NDArray[np.void]  # EVENT_ROW[n]

    def since(self, seq: int) -> "Batch":
        """Return the batch without what commands before `seq` made happen."""
        if seq <= self.first_seq:
            return self
        return self._replace(
            first_seq=min(seq, self.next_seq),
            names=[row for row in self.names if row.seq >= seq],
            money=self.money[self.money["seq"] >= seq],
            events=self.events[self.events["seq"] >= seq],
        )


_NAMES: Final = msgspec.msgpack.Decoder(list[NameRow])
_ENCODER: Final = msgspec.msgpack.Encoder()


def encode(market: int, batch: Batch) -> list[bytes | memoryview]:
    """Return a batch's header and sections as they stand in a file; events where they are."""
    names = _ENCODER.encode(batch.names) if batch.names else b""
    events = np.ascontiguousarray(batch.events).view(np.uint8).data
    sections: list[bytes | memoryview] = [
        names + bytes(-len(names) % 8),
        batch.money.tobytes(),
        events,
    ]
    header = _HEADER.pack(
        0, _MAGIC, market, _VERSION, 0, batch.begin, batch.end, batch.first_seq, batch.next_seq,
        len(names), len(batch.money), len(batch.events), 0,
    )  # fmt: skip
    crc = crc32(header[4:])
    for section in sections:
        crc = crc32(section, crc)
    return [_CRC.pack(crc) + header[4:], *sections]


class Place(NamedTuple):
    """A batch's header, read: where its parts stand."""

    begin: int
    end: int
    first_seq: int
    next_seq: int
    names_bytes: int
    money: int
    events: int

    @property
    def bytes_total(self) -> int:
        """The batch's size in the file."""
        return (
            HEADER_BYTES
            + ((self.names_bytes + 7) & -8)
            + self.money * MONEY_ROW.itemsize
            + self.events * EVENT_ROW.itemsize
        )


def place_of(header: bytes, market: int) -> Place | None:
    """Read a header; None where no header of this market stands."""
    if len(header) < HEADER_BYTES:
        return None
    fields = _HEADER.unpack(header)
    if fields[1:4] != (_MAGIC, market, _VERSION):
        return None
    return Place(*fields[5:12])


def decode(data: bytes, place: Place) -> Batch | None:
    """Read a whole batch; None where its bytes are not those that were written."""
    if len(data) < place.bytes_total or crc32(data[4:]) != _CRC.unpack_from(data)[0]:
        return None
    money_at = HEADER_BYTES + ((place.names_bytes + 7) & -8)
    names_end = HEADER_BYTES + place.names_bytes
    return Batch(
        place.begin,
        place.end,
        place.first_seq,
        place.next_seq,
        _NAMES.decode(data[HEADER_BYTES:names_end]) if place.names_bytes else [],
        np.frombuffer(data, MONEY_ROW, place.money, money_at),
        np.frombuffer(data, EVENT_ROW, place.events, money_at + place.money * MONEY_ROW.itemsize),
    )


def segment_name(begin: int) -> str:
    """Name the segment whose first batch begins at a journal position."""
    return f"{_PREFIX}{begin:020d}{_SUFFIX}"


def segments(folder: Path) -> list[int]:
    """Return the first positions of all segments, ascending."""
    digits = (
        path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
        for path in folder.iterdir()
        if path.name.startswith(_PREFIX) and path.name.endswith(_SUFFIX)
    )
    return sorted(int(number) for number in digits if number.isdecimal())


_LIBC: Final = ctypes.CDLL(None, use_errno=True)
# So much of a file may wait in memory before the disk is given it: not so little that every moment's events
# are a write of their own, nor so much that they become one of gigabytes.
UNWRITTEN_BYTES_MAX: Final = 1 << 18
_START_WRITE: Final = 2  # SYNC_FILE_RANGE_WRITE


def write_back(handle: int, offset: int, size_bytes: int) -> bool:
    """Let the system begin to write what was just appended; False where it cannot be told.

    Left alone it waits half a minute and then writes gigabytes, and every sync of the journal with it.
    """
    begin = getattr(_LIBC, "sync_file_range", None)
    if begin is None:
        return False
    place = ctypes.c_int64(offset), ctypes.c_int64(size_bytes)
    return not begin(ctypes.c_int(handle), *place, ctypes.c_uint(_START_WRITE))


class EventWriter:
    """Appends batches. Opening finds the last whole batch and trims what follows it.

    `end` and `next_seq` say up to where the journal's events are here: 0 and 1 in a new folder.
    Raises OSError as the disk does; then make a new writer, which trims what was half written.
    """

    def __init__(self, folder: Path, market: int, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._market = market
        self._segment_bytes = segment_bytes
        self._handle = -1
        self._offset = 0
        self._given = 0  # up to where the disk was given this one
        self.end = 0
        self.next_seq = 1
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._recover()

    def append(self, batch: Batch) -> None:
        """Write one batch; it begins where the last one ended."""
        assert batch.begin == self.end
        assert batch.end > batch.begin
        assert batch.next_seq >= batch.first_seq == self.next_seq
        if self._handle < 0 or self._offset >= self._segment_bytes:
            self._open_segment(batch.begin)
        parts = [memoryview(part) for part in encode(self._market, batch) if len(part)]
        while parts:
            written = os.pwritev(self._handle, parts, self._offset)
            self._offset += written
            while parts and written >= len(parts[0]):
                written -= len(parts.pop(0))
            if parts:
                parts[0] = parts[0][written:]
        if self._offset - self._given >= UNWRITTEN_BYTES_MAX:
            write_back(self._handle, self._given, self._offset - self._given)
            self._given = self._offset
        self.end = batch.end
        self.next_seq = batch.next_seq

    def sync(self) -> None:
        """Make all batches durable, before a snapshot counts on them."""
        if self._handle >= 0:
            os.fdatasync(self._handle)

    def close(self) -> None:
        """Close the file that is open."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _open_segment(self, begin: int) -> None:
        # No segment follows one that is not durable: what is gone after a crash is gone from the end.
        # The disk was given most of it long ago (`write_back`), so this waits for little.
        self.sync()
        self.close()
        path = self._folder / segment_name(begin)
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._offset = self._given = 0

    def _recover(self) -> None:
        for begin in reversed(segments(self._folder)):
            path = self._folder / segment_name(begin)
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            offset = 0
            expected = begin
            while (found := _read_batch(handle, offset, self._market)) is not None:
                batch, size = found
                if batch.begin != expected:
                    break
                offset += size
                expected = self.end = batch.end
                self.next_seq = batch.next_seq
            if offset:
                os.ftruncate(handle, offset)
                self._handle, self._offset = handle, offset
                return
            # Not one whole batch: the file was begun and nothing of it counts.
            os.close(handle)
            path.unlink()


class EventReader:
    """Reads whole batches from a journal position on, while they are being written.

    Raises EventFilesDamaged where a batch that has a successor cannot be read. `position` and
    `next_seq` are where the next batch begins.
    """

    def __init__(self, folder: Path, market: int, position: int = 0) -> None:
        self._folder = folder
        self._market = market
        self._handle = -1
        self._first = 0
        self._offset = 0
        self.position = position

    @property
    def kept_from(self) -> int | None:
        """The journal position where the first batch that is kept begins; None without any."""
        return next(iter(segments(self._folder)), None) if self._folder.is_dir() else None

    def read(self) -> Batch | None:
        """Return the next whole batch; None when there is none yet.

        After a start in the middle of a batch that batch comes first, whole: see `Batch.since`.
        """
        while self._handle >= 0 or self._locate():
            found = _read_batch(self._handle, self._offset, self._market)
            if found is not None:
                batch, size = found
                self._offset += size
                # Files that are being written anew may still be behind where we were.
                if batch.end > self.position:
                    self.position = batch.end
                    return batch
            elif not self._moved_on():
                return None
        return None

    def seek_seq(self, seq: int) -> None:
        """Stand before the batch that holds command `seq`, or at the end when there is none yet."""
        self.close()
        at = 0
        for begin in segments(self._folder):
            handle = os.open(self._folder / segment_name(begin), os.O_RDONLY | os.O_CLOEXEC)
            offset = 0
            while (
                place := place_of(os.pread(handle, HEADER_BYTES, offset), self._market)
            ) is not None:
                if place.next_seq > seq:
                    os.close(handle)
                    self.position = place.begin
                    return
                at = place.end
                offset += place.bytes_total
            os.close(handle)
        self.position = at

    def close(self) -> None:
        """Close the file that is open."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _locate(self) -> bool:
        """Open the segment that holds the position and go to its batch."""
        if not self._folder.is_dir():
            return False
        before = [begin for begin in segments(self._folder) if begin <= self.position]
        if not before:
            return False
        self._first = before[-1]
        try:
            path = self._folder / segment_name(self._first)
            self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # removed between the two looks
            return False
        self._offset = 0
        while True:
            header = os.pread(self._handle, HEADER_BYTES, self._offset)
            place = place_of(header, self._market)
            if place is None or place.end > self.position:
                return True
            self._offset += place.bytes_total

    def _moved_on(self) -> bool:
        """Look for a reason to look again: a next segment, or a folder that was written anew."""
        path = self._folder / segment_name(self._first)
        try:
            same = path.stat().st_ino == os.fstat(self._handle).st_ino
        except FileNotFoundError:
            same = False
        if not same:
            self.close()
            return True
        later = [begin for begin in segments(self._folder) if begin > self._first]
        if not later:
            return False
        if later[0] == self.position:
            self.close()
            return True
        # The last batch may have been written, and the next segment begun, since we looked.
        if _read_batch(self._handle, self._offset, self._market) is not None:
            return True
        raise EventFilesDamaged(
            f"{path}: no whole batch at byte {self._offset} although {segment_name(later[0])} follows"
        )


def _read_batch(handle: int, offset: int, market: int) -> tuple[Batch, int] | None:
    place = place_of(os.pread(handle, HEADER_BYTES, offset), market)
    if place is None:
        return None
    # A damaged header may announce anything; what the file does not hold is not asked for.
    if offset + place.bytes_total > os.fstat(handle).st_size:
        return None
    data = os.pread(handle, place.bytes_total, offset)
    batch = decode(data, place)
    return None if batch is None else (batch, place.bytes_total)
