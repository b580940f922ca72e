"""Each member's own events, numbered 1, 2, …: one file of fixed records per member.

    buyer-0000000007.ev, operator-0000000003.ev
    64 bytes: magic u64 · market u64 · record bytes u64 · number of the first record u64 · zeros
    EVENT_RECORD, EVENT_RECORD, …      the record of number n stands at a place that n gives

The numbers are a function of the journal, so a member may go on from any of them after any stop of
the follower. The files are made from the journal like everything here: `rewind` cuts them back to
where a snapshot was taken, and what follows is made again.
"""

import os
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exchange.follower.event_files import UNWRITTEN_BYTES_MAX, write_back
from exchange.follower.redaction import ROLES, Copies
from schemas.records import EVENT_RECORD

_MAGIC: Final = 0x31424D4556455243  # "CREVEMB1"
_HEAD: Final = struct.Struct("<QQQQ32x")
HEAD_BYTES: Final = _HEAD.size
RECORD_BYTES: Final = EVENT_RECORD.itemsize
FIRST_NUMBER: Final = 1
OPEN_FILES_MAX: Final = 4_096  # fewer where the system allows less

Owner = tuple[str, int]  # role, handle
_NOTHING: Final = np.zeros(0, EVENT_RECORD)
_NONE: Final[dict[Owner, tuple[int, NDArray[np.void]]]] = {}


class MemberFilesDamaged(Exception):
    """A member's file holds less than a snapshot counts on: start from an older one, or the journal."""


class MemberFiles:
    """All members' files of one market. Raises OSError as the disk does."""

    def __init__(self, folder: Path, market: int) -> None:
        self._folder = folder
        self._market = market
        self._handles: OrderedDict[Owner, int] = OrderedDict()
        self._unsynced: dict[Owner, int] = {}  # and from which byte on the disk was not given it
        # What the last `append` of each role brought, still in memory: (events before them, events).
        self._fresh: dict[str, dict[Owner, tuple[int, NDArray[np.void]]]] = {}
        self.counts: dict[Owner, int] = {}  # also the number of the member's last event
        self.news: dict[Owner, None] = {}  # who was appended to; for whoever sends them to clear
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def rewind(self, counts: dict[Owner, int]) -> None:
        """Cut every file back to what it held when `counts` were taken, and know no more.

        Raises:
            MemberFilesDamaged: a file holds less than that; nothing was cut then.
        """
        for owner, count in counts.items():
            if self._held(owner) < count:
                raise MemberFilesDamaged(f"{self._path(owner)}: fewer than {count} events")
        for path in self._folder.iterdir():
            role, _, digits = path.stem.partition("-")
            if role in ROLES and digits.isdecimal():
                owner = (role, int(digits))
                if owner in counts:
                    os.truncate(path, HEAD_BYTES + counts[owner] * RECORD_BYTES)
                else:
                    path.unlink()
        self.counts = dict(counts)
        self._fresh.clear()

    def append(self, role: str, made: Copies) -> None:
        """Append each member's copies to its file, in the order in which they come."""
        self._fresh[role] = {}
        if len(made.member) == 0:
            return
        member, records = made
        starts = np.flatnonzero(np.r_[True, member[1:] != member[:-1]])
        ends = np.r_[starts[1:], len(member)]
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            self._append((role, int(member[start])), records[start:end])

    def read(self, owner: Owner, after: int, limit: int) -> NDArray[np.void]:
        """Return up to `limit` events of a member from number `after` + 1 on."""
        count = min(limit, self.counts.get(owner, 0) - after)
        if count <= 0:
            return _NOTHING
        before, fresh = self._fresh.get(owner[0], _NONE).get(owner, (after + 1, _NOTHING))
        if after >= before:
            return fresh[after - before : after - before + count]
        handle = self._handle(owner)
        data = os.pread(handle, count * RECORD_BYTES, HEAD_BYTES + after * RECORD_BYTES)
        assert len(data) == count * RECORD_BYTES
        return np.frombuffer(data, EVENT_RECORD)

    def sync(self) -> None:
        """Make all that was appended durable, before a snapshot counts on it."""
        for owner in self._unsynced:
            os.fdatasync(self._handle(owner))
        self._unsynced.clear()

    def close(self) -> None:
        """Close the files that are open."""
        while self._handles:
            os.close(self._handles.popitem()[1])

    def _append(self, owner: Owner, records: NDArray[np.void]) -> None:
        handle = self._handle(owner)
        count = self.counts.get(owner, 0)
        data = np.ascontiguousarray(records).view(np.uint8).data
        offset = HEAD_BYTES + count * RECORD_BYTES
        given = self._unsynced.get(owner, offset)
        while data:
            written = os.pwrite(handle, data, offset)
            data = data[written:]
            offset += written
        self.counts[owner] = count + len(records)
        self._fresh[owner[0]][owner] = count, records
        self.news[owner] = None
        if offset - given > UNWRITTEN_BYTES_MAX:
            write_back(handle, given, offset - given)
            given = offset
        self._unsynced[owner] = given

    def _path(self, owner: Owner) -> Path:
        return self._folder / f"{owner[0]}-{owner[1]:010d}.ev"

    def _held(self, owner: Owner) -> int:
        """Return how many whole records stand in a member's file; −1 where it is none of ours."""
        try:
            with self._path(owner).open("rb") as file:
                head = file.read(HEAD_BYTES)
                size = os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            return -1
        return (size - HEAD_BYTES) // RECORD_BYTES if head == self._head() else -1

    def _head(self) -> bytes:
        return _HEAD.pack(_MAGIC, self._market, RECORD_BYTES, FIRST_NUMBER)

    def _handle(self, owner: Owner) -> int:
        handle = self._handles.get(owner)
        if handle is not None:
            self._handles.move_to_end(owner)
            return handle
        while len(self._handles) >= OPEN_FILES_MAX:
            # Not synced here: it would wait for the disk, and the exchange's own syncs for it. `sync`
            # opens it again.
            os.close(self._handles.popitem(last=False)[1])
        handle = os.open(self._path(owner), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if owner not in self.counts:
            os.ftruncate(handle, 0)
            os.pwrite(handle, self._head(), 0)
            self.counts[owner] = 0
        self._handles[owner] = handle
        return handle
