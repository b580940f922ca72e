"""The durable page: how far the journal is durable, for any process that maps the file.

One page of 4,096 bytes, mapped shared. The exchange writes it after each sync; follower and metrics
read it without a socket, a lock or a system call.

    byte    0  slot A: round u64 · durable u64 · next_seq u64 · check u64
          512  slot B: the same              (a sector of its own: a torn write-back costs one slot)
         1024  magic 8 bytes
         2048  counters u64[256]             (the exchange fills them; the follower publishes them)

`publish` writes the slots in turn, so the newest whole slot is never the one being written: a reader
that meets a half-written slot (its check word does not fit) takes the other, which is what was true
one round before. A writer killed at any instruction leaves the page readable.

The page is never ahead of the disk: it is written after the sync returned, and survives `kill -9`
in the page cache. After a loss of power it may be old, torn or gone. Recovery uses it as one proof
of what was acknowledged, never as the only one.
"""

import mmap
import os
import struct
from pathlib import Path
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

PAGE_NAME: Final = "durable.page"
PAGE_BYTES: Final = 4096
COUNTERS: Final = 256

_MAGIC: Final = b"CURBPAG1"
_MAGIC_AT: Final = 1024
_COUNTERS_AT: Final = 2048
_SLOTS: Final = (0, 512)
_TRIPLE: Final = struct.Struct("<QQQ")
_SLOT: Final = struct.Struct("<QQQQ")
# A slot of zeros must not pass for a published one.
_SEED: Final = crc32(_MAGIC)

assert _COUNTERS_AT + 8 * COUNTERS == PAGE_BYTES


class DurablePage:
    """The mapped page. One process publishes; any number read.

    `create` makes the file where it is missing and keeps what an existing one says; without it a
    missing file raises FileNotFoundError and one that is no durable page ValueError.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool = False) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        handle = os.open(path, flags, 0o600)
        try:
            if create:
                # Allocated, not only sized: a full disk would otherwise kill us by SIGBUS later.
                os.posix_fallocate(handle, 0, PAGE_BYTES)
            elif os.fstat(handle).st_size < PAGE_BYTES:
                raise ValueError(f"{Path(path)}: not a durable page")
            self._map = mmap.mmap(handle, PAGE_BYTES)
        finally:
            os.close(handle)
        if self._map[_MAGIC_AT : _MAGIC_AT + 8] != _MAGIC:
            if not create:
                self._map.close()
                raise ValueError(f"{Path(path)}: not a durable page")
            self._map[:] = bytes(PAGE_BYTES)
            self._map[_MAGIC_AT : _MAGIC_AT + 8] = _MAGIC
        self._round = max(slot[0] for slot in self._slots())

    @property
    def counters(self) -> NDArray[np.uint64]:
        """The 256 counters, shared: what is stored here is what every reader sees."""
        return np.frombuffer(self._map, np.uint64, COUNTERS, _COUNTERS_AT)

    def publish(self, durable: int, next_seq: int) -> None:
        """Tell all readers that every byte before `durable` is synced; `next_seq` is next there."""
        self._round += 1
        check = crc32(_TRIPLE.pack(self._round, durable, next_seq), _SEED)
        at = _SLOTS[self._round & 1]
        self._map[at : at + 32] = _SLOT.pack(self._round, durable, next_seq, check)

    def read(self) -> tuple[int, int]:
        """Give (durable position, next_seq); (0, 0) when nothing whole was ever published here."""
        newest = max(self._slots())
        if newest[0] == 0:
            # Two publishes may have overtaken us between the two slots; a second look settles it.
            newest = max(self._slots())
        return newest[1], newest[2]

    def close(self) -> None:
        """Unmap, unless a view of the counters still lives: then that view's end unmaps."""
        try:
            self._map.close()
        except BufferError:
            return

    def _slots(self) -> list[tuple[int, int, int]]:
        found = []
        for at in _SLOTS:
            number, durable, next_seq, check = _SLOT.unpack(self._map[at : at + 32])
            whole = check == crc32(_TRIPLE.pack(number, durable, next_seq), _SEED)
            found.append((number, durable, next_seq) if whole else (0, 0, 0))
        return found
