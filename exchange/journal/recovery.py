"""Find the journal's end after any stop, and halt where a crash cannot explain what is found.

First `survey` reads, and changes nothing. It walks the chain of good records; where that ends (the
*end*) it states three facts:

    stands   what stands at the end, of what `Stands` lists
    behind   a good header of ours stands somewhere behind the end
    beyond   something proves that the journal was durable beyond the end. Proofs: the durable page;
             `synced` of a good header behind the end; the name of the last segment (the writer makes
             a segment only after it synced all before it)

Then `TABLE` says what to do; every combination has one row, which a test shows. A crash loses or
tears only what was not synced, so it always leaves `beyond` false. Hence: not beyond, clear what
stands behind the end; beyond, halt, for what is gone may have been acknowledged.

Then `recover` acts. Clearing writes zeros, so that nothing of a lost round can ever follow a new
record. And what no proof reaches is **written again** before it is synced: after a failed sync the
kernel calls its pages clean, so a second sync would succeed without writing them.
"""

from collections.abc import Iterable
from enum import Enum, auto
from typing import Final, NamedTuple

import numpy as np

from exchange.journal.errors import MANUAL, JournalDamaged, JournalFailed
from exchange.journal.record import (
    FIELDS,
    FIRST_SEQ,
    HEADER_BYTES,
    VERSION,
    header_is_sound,
)
from exchange.journal.storage import Storage, segment_name, write_whole
from exchange.journal.walk import CHUNK_BYTES, Segment, Stands, Window, judge, segments

_POSITION_WORD: Final = 2  # the header's third u64


class Act(Enum):
    """What recovery does."""

    KEEP = auto()  # nothing stands behind the end
    CLEAR = auto()  # write zeros behind the end
    HALT = auto()  # change nothing, raise JournalDamaged


class Row(NamedTuple):
    """One row of the table: the facts it is for, what is done, and the reason."""

    name: str
    stands: frozenset[Stands]
    behind: frozenset[bool]
    beyond: frozenset[bool]
    act: Act
    why: str


_ANY: Final = frozenset({False, True})
_NO: Final = frozenset({False})
_YES: Final = frozenset({True})


def _row(
    name: str,
    stands: Iterable[Stands],
    behind: frozenset[bool],
    beyond: frozenset[bool],
    act: Act,
    why: str,
) -> Row:
    return Row(name, frozenset(stands), behind, beyond, act, why)


_S = Stands
TABLE: Final = (
    _row("fresh", {_S.VOID}, _ANY, _NO, Act.KEEP, "a new folder"),
    _row("gone", {_S.VOID}, _ANY, _YES, Act.HALT, "all segments are gone"),
    _row("clean end", {_S.BLANK}, _NO, _NO, Act.KEEP, "nothing follows the last record"),
    _row("stale bytes", {_S.STRANGE}, _NO, _NO, Act.CLEAR, "left by a segment's earlier life, or torn"),
    _row("torn tail", {_S.BLANK, _S.STRANGE}, _YES, _NO, Act.CLEAR, "a lost round's first record is gone"),
    _row("torn record", {_S.BROKEN}, _ANY, _NO, Act.CLEAR, "a record was torn and nobody was told of it"),
    _row("lost", {_S.BLANK, _S.STRANGE}, _ANY, _YES, Act.HALT, "a record that was durable is gone"),
    _row("damaged", {_S.BROKEN}, _ANY, _YES, Act.HALT, "a record that was durable is damaged"),
    # The rest no crash leaves behind, since what recovery rejects it also clears.
    _row("two histories", {_S.UNLINKED}, _ANY, _ANY, Act.HALT, "a good record follows another past"),
    _row("another market", {_S.FOREIGN}, _ANY, _ANY, Act.HALT, "the record is of another market"),
    _row("newer", {_S.NEWER}, _ANY, _ANY, Act.HALT, "written by a newer version of this program"),
    _row("missing segment", {_S.MISSING}, _ANY, _ANY, Act.HALT, "a segment, or the end of one, is missing"),
)  # fmt: skip


def decide(stands: Stands, *, behind: bool, beyond: bool) -> Row:
    """Find the one row for these facts."""
    (row,) = (r for r in TABLE if stands in r.stands and behind in r.behind and beyond in r.beyond)
    return row


class Survey(NamedTuple):
    """What the folder holds; nothing was changed to learn it."""

    market: int | None  # None: no record names it
    first_position: int  # of the oldest segment kept
    end: int
    last_crc: int
    next_seq: int
    segment: Segment | None  # the one that holds `end`, where there is one
    stands: Stands
    behind: bool
    proven: int  # the journal was durable up to here at least
    proof: str  # what proves it
    written: int  # position behind the last byte of the segment that is not zero
    row: Row


class Recovered(NamedTuple):
    """A journal that is whole, durable and ends at `end_position`; a JournalWriter starts on it.

    `trimmed_bytes` were cleared behind the end; in a recycled segment they include what was left of
    its earlier life.
    """

    market: int
    first_position: int
    end_position: int
    last_crc: int
    next_seq: int
    row: str
    trimmed_bytes: int


def recover(
    storage: Storage, market: int | None, durable: int | None = None, *, from_position: int = 0
) -> Recovered:
    """Lock the folder, find the journal's end, clear what a crash left behind it, make all durable.

    `market` None takes what the records say; a folder without records then raises ValueError.
    `durable` is what DurablePage.read gave (None or 0: nothing known). Segments that end before
    `from_position` (a snapshot's) are not read. Raises JournalDamaged, JournalBusy, JournalFailed.
    """
    try:
        storage.lock()
        found = survey(storage, market, durable, from_position=from_position)
        name = "" if found.segment is None else found.segment.name
        if found.row.act is Act.HALT:
            raise damage(storage, found)
        if found.market is None:
            raise ValueError("no record names the market of this folder; it must be given")
        trimmed = 0
        if found.segment is not None:
            handle = storage.open(name)
            try:
                if found.row.act is Act.CLEAR:
                    trimmed = found.written - found.end
                    _clear(storage, handle, found.end - found.segment.first)
                proven = max(found.proven, found.segment.first) - found.segment.first
                _write_again(storage, handle, proven, found.end - found.segment.first)
                storage.sync(handle)
            finally:
                storage.close(handle)
        storage.sync_dir()  # The last segment's name may be as young as its first record.
    except OSError as error:
        raise JournalFailed(f"{storage.place('')}: {error}") from error
    return Recovered(
        found.market,
        found.first_position,
        found.end,
        found.last_crc,
        found.next_seq,
        found.row.name,
        trimmed,
    )


def survey(
    storage: Storage, market: int | None, durable: int | None = None, *, from_position: int = 0
) -> Survey:
    """State the facts and find their row, as `recover` would, without changing anything.

    Raises OSError.
    """
    kept = segments(storage)
    proven, proof = durable or 0, "the durable page"
    if not kept:
        row = decide(Stands.VOID, behind=False, beyond=proven > 0)
        return Survey(market, 0, 0, 0, FIRST_SEQ, None, Stands.VOID, False, proven, proof, 0, row)
    if kept[-1].first > proven:
        proven, proof = kept[-1].first, f"that {kept[-1].name} was begun"

    walk = _Walk(storage, market, kept, from_position)
    stands, holder = walk.run()
    behind, written = False, walk.end
    if holder is not None and holder == kept[-1]:
        tail = _scan_behind(storage, holder, walk.end, walk.market)
        behind, written = tail.behind, max(written, tail.written)
        if tail.synced > proven:
            proven, proof = tail.synced, f"what the record at {tail.position} says"
        if stands is Stands.BLANK and tail.written > walk.end:
            stands = Stands.STRANGE
    row = decide(stands, behind=behind, beyond=proven > walk.end)
    if proven <= walk.end and walk.synced > proven:
        proven, proof = walk.synced, "the last record"
    return Survey(
        walk.market,
        kept[0].first,
        walk.end,
        walk.last_crc,
        walk.next_seq,
        holder,
        stands,
        behind,
        proven,
        proof,
        written,
        row,
    )


class _Walk:
    """The chain of good records, from the first segment that matters to where it breaks."""

    def __init__(
        self, storage: Storage, market: int | None, kept: list[Segment], from_position: int
    ) -> None:
        self._storage = storage
        # One segment more than needed: were the newest still empty, nothing in it would tell the
        # chain's crc and the next number.
        older = sum(1 for s in kept if s.first <= from_position)
        self._todo = kept[max(0, older - 2) :]
        self.market = market
        self.end = self._todo[0].first
        self.last_crc = 0
        self.next_seq = FIRST_SEQ
        self.synced = 0
        self._prior: int | None = 0 if self.end == 0 else None

    def run(self) -> tuple[Stands, Segment | None]:
        """Walk; give what stands at the end and the segment that holds it."""
        stands, holder = self._run()
        if self._prior is None and stands in {Stands.BLANK, Stands.STRANGE, Stands.BROKEN}:
            # The journal begins in its middle and no record tells the number that follows.
            return Stands.MISSING, None
        return stands, holder

    def _run(self) -> tuple[Stands, Segment | None]:
        stands, holder = Stands.BLANK, self._todo[0]
        for index, segment in enumerate(self._todo):
            if segment.first != self.end:
                return Stands.MISSING, None
            holder = segment
            last = index + 1 == len(self._todo)
            room_end = None if last else self._todo[index + 1].first
            stands = self._walk_segment(segment, room_end)
            if stands is not Stands.BLANK or (room_end is not None and self.end < room_end):
                break
        return stands, None if stands is Stands.MISSING else holder

    def _walk_segment(self, segment: Segment, room_end: int | None) -> Stands:
        storage = self._storage
        handle = storage.open(segment.name)
        try:
            size = storage.size(handle)
            end = segment.first + ((size + 7) & -8)
            if room_end is not None:
                end = min(end, room_end)
            window = Window(storage, handle, size)
            while end - self.end >= HEADER_BYTES:
                position = self.end
                found = judge(
                    window,
                    position - segment.first,
                    end - position,
                    position,
                    self.market,
                    self._prior,
                )
                if isinstance(found, Stands):
                    return found
                self.market = found.market
                self.end = found.end
                self._prior = self.last_crc = found.crc
                self.next_seq = found.seq + found.count
                self.synced = max(self.synced, found.synced)
        finally:
            storage.close(handle)
        full = room_end is not None and self.end == end < room_end
        return Stands.MISSING if full else Stands.BLANK


class _Tail(NamedTuple):
    behind: bool
    synced: int  # the greatest that a good header behind the end states
    position: int  # of that header
    written: int


def _scan_behind(storage: Storage, segment: Segment, end: int, market: int | None) -> _Tail:
    """Look behind the end for headers of ours and for anything that is not zero."""
    behind, synced, position, written = False, 0, 0, end
    handle = storage.open(segment.name)
    try:
        size = storage.size(handle)
        for offset in range(end - segment.first, size, CHUNK_BYTES):
            # A header may begin in this chunk and end in the next.
            data = storage.read_at(handle, CHUNK_BYTES + HEADER_BYTES - 8, offset)
            data += bytes(-len(data) & 7)
            words = np.frombuffer(data, "<u8")
            filled = np.flatnonzero(words)
            if not filled.size:
                continue
            written = segment.first + offset + 8 * (int(filled[-1]) + 1)
            if len(data) < HEADER_BYTES:
                continue
            starts = len(words) - HEADER_BYTES // 8 + 1
            here = np.uint64(segment.first + offset) + np.arange(0, 8 * starts, 8, dtype=np.uint64)
            stated = words[_POSITION_WORD : _POSITION_WORD + starts]
            for index in np.flatnonzero(stated == here).tolist():
                header = _ours(data[8 * index : 8 * index + HEADER_BYTES], market)
                at = segment.first + offset + 8 * index
                # At the end itself stands what the walk has judged.
                if header is None or at == end:
                    continue
                behind = True
                # Nothing is durable behind a record before it is written: more is a lie.
                if synced < header <= at:
                    synced, position = header, at
    finally:
        storage.close(handle)
    return _Tail(behind, synced, position, written)


def _ours(head: bytes, market: int | None) -> int | None:
    """Give `synced` of a good header of this market; None for anything else."""
    if not header_is_sound(head):
        return None
    _crc, _length, _kind, version, market_, _position, synced, *_ = FIELDS.unpack(head)
    if version != VERSION or (market is not None and market_ != market):
        return None
    return int(synced)


def _clear(storage: Storage, handle: int, offset: int) -> None:
    """Write zeros over all that is not zero from `offset` to the file's end."""
    for at in range(offset, storage.size(handle), CHUNK_BYTES):
        data = storage.read_at(handle, CHUNK_BYTES, at)
        if any(data):
            write_whole(storage, handle, bytes(len(data)), at)


def _write_again(storage: Storage, handle: int, start: int, end: int) -> None:
    """Write the bytes from `start` to `end` as they read, so that the next sync writes them."""
    for at in range(start, end, CHUNK_BYTES):
        data = storage.read_at(handle, min(CHUNK_BYTES, end - at), at)
        write_whole(storage, handle, data, at)


def damage(storage: Storage, found: Survey) -> JournalDamaged:
    """Make the error for a survey whose row says halt: the place, the reason, the manual path."""
    name = segment_name(found.end) if found.segment is None else found.segment.name
    why = found.row.why
    if found.proven > found.end:
        why += f" ({found.proof} proves that all up to {found.proven} was durable)"
    manual = MANUAL.format(folder=storage.place(""), position=found.end)
    return JournalDamaged(storage.place(name), found.end, why, manual)
