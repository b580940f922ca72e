"""A disk in memory that forgets what was not synced, behind the journal's Storage port.

Each file has two images, 512-byte sectors apart:

    cache   what a read sees         survives the process, not the power
    disk    what was synced          survives both

Loss of power leaves of each unsynced sector the old one, the new one, or a mix of both cut at any
byte; of unsynced renames and creations the first k. Bytes that a write does not change are the same
before and after, so no mix touches them (SQLite calls that "powersafe overwrite").

A failed sync behaves as Linux does: some of the sectors got to the disk, and *all* of them count as
clean from then on, so that no later sync writes them.
"""

import errno
import random
from dataclasses import dataclass, field
from enum import Enum, auto

SECTOR = 512


class Fault(Enum):
    """How the chosen call fails."""

    BEFORE = auto()  # it does nothing and raises
    AFTER = auto()  # it does its work and raises all the same
    SHORT = auto()  # a write writes a part and says so; any other call as BEFORE


@dataclass
class Inode:
    """One file."""

    cache: bytearray = field(default_factory=bytearray)
    disk: bytearray = field(default_factory=bytearray)
    dirty: set[int] = field(default_factory=set)


class SimulatedDisk:
    """Fulfil `Storage`; `fail_at` is the number (from 1) of the mutating call that fails."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.calls = 0
        self.reads = 0
        self.fail_at = 0
        self.fault = Fault.BEFORE
        self.fail_reads = False
        self.log: list[str] = []
        self._folder: dict[str, Inode] = {}
        self._durable_folder: dict[str, Inode] = {}
        self._pending: list[tuple[str, str, Inode | None]] = []
        self._open: dict[int, Inode] = {}
        self._next_handle = 3

    # -- what happens to the machine --------------------------------------------------------------

    def restart(self) -> None:
        """End every process: handles go, the cache stays."""
        self._open.clear()
        self.calls = self.reads = self.fail_at = 0
        self.fail_reads = False

    def power_loss(self) -> None:
        """Lose what was not synced, as the seed decides."""
        kept = self.random.randint(0, len(self._pending))
        for step in self._pending[:kept]:
            self._apply(self._durable_folder, *step)
        self._folder = dict(self._durable_folder)
        self._pending.clear()
        for inode in self._folder.values():
            self._settle(inode, sorted(inode.dirty))
            inode.cache = bytearray(inode.disk)
            inode.dirty.clear()
        self.restart()

    def _settle(self, inode: Inode, sectors: list[int]) -> None:
        if len(inode.disk) < len(inode.cache):
            inode.disk.extend(bytes(len(inode.cache) - len(inode.disk)))
        # Whole runs of one kind as well as every sector by itself: both happen.
        fate = self.random.choice(["lost", "kept", "each", "each"])
        for sector in sectors:
            start, end = sector * SECTOR, min((sector + 1) * SECTOR, len(inode.cache))
            kind = fate if fate != "each" else self.random.choice(["lost", "kept", "torn"])
            if kind == "kept":
                inode.disk[start:end] = inode.cache[start:end]
            elif kind == "torn":
                cut = self.random.randint(start, end)
                low, high = self.random.choice([(start, cut), (cut, end)])
                inode.disk[low:high] = inode.cache[low:high]

    # -- the port ---------------------------------------------------------------------------------

    def names(self) -> list[str]:
        self._read("names")
        return list(self._folder)

    def place(self, name: str) -> str:
        return f"/simulated/{name}".rstrip("/")

    def open(self, name: str) -> int:
        self._read(f"open {name}")
        if name not in self._folder:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        return self._handle(self._folder[name])

    def create(self, name: str) -> int:
        failing = self._begin(f"create {name}")
        if name in self._folder:
            raise FileExistsError(errno.EEXIST, "file exists", name)
        inode = Inode()
        self._change("add", name, inode)
        self._end(failing)
        return self._handle(inode)

    def preallocate(self, handle: int, size_bytes: int, *, zeroed: bool) -> None:
        failing = self._begin("preallocate")
        inode = self._open[handle]
        if failing and self.random.random() < 0.5:  # A full disk may leave a part.
            size_bytes //= 2
        inode.cache.extend(bytes(max(0, size_bytes - len(inode.cache))))
        self._flush(inode)
        self._end(failing)

    def size(self, handle: int) -> int:
        self._read("size")
        return len(self._open[handle].cache)

    def write_at(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        failing = self._begin("write")
        inode = self._open[handle]
        if failing and self.fault is Fault.SHORT:
            data = data[: self.random.randrange(len(data))]
        inode.cache.extend(bytes(max(0, offset + len(data) - len(inode.cache))))
        inode.cache[offset : offset + len(data)] = data
        if data:
            inode.dirty.update(range(offset // SECTOR, (offset + len(data) - 1) // SECTOR + 1))
        if self.fault is not Fault.SHORT:
            self._end(failing)
        return len(data)

    def read_at(self, handle: int, size_bytes: int, offset: int) -> bytes:
        self._read("read")
        return bytes(self._open[handle].cache[offset : offset + size_bytes])

    def sync(self, handle: int) -> None:
        failing = self._begin("sync", sync=self._open[handle])
        self._flush(self._open[handle])
        self._end(failing)

    def close(self, handle: int) -> None:
        self._open.pop(handle)

    def rename(self, old: str, new: str) -> None:
        failing = self._begin(f"rename {old} {new}")
        inode = self._folder[old]
        self._change("add", new, inode)
        self._change("remove", old, None)
        # One step, not two: a crash never shows a file under both names or none.
        second, first = self._pending.pop(), self._pending.pop()
        self._pending.append((f"move {second[1]}", first[1], inode))
        self._end(failing)

    def remove(self, name: str) -> None:
        failing = self._begin(f"remove {name}")
        self._change("remove", name, None)
        self._end(failing)

    def sync_dir(self) -> None:
        failing = self._begin("sync_dir")
        for step in self._pending:
            self._apply(self._durable_folder, *step)
        self._pending.clear()
        self._end(failing)

    def lock(self) -> None:
        """Nothing to do: one object is one process, and the real lock, too, lets that one again."""

    # -- for tests --------------------------------------------------------------------------------

    def put(self, name: str, data: bytes | None) -> None:
        """Set a file as an accident would, synced; None takes it away."""
        for folder in (self._folder, self._durable_folder):
            folder.pop(name, None)
            if data is not None:
                folder[name] = Inode(bytearray(data), bytearray(data))

    def get(self, name: str) -> bytes:
        """Give a file's content as the next read sees it."""
        return bytes(self._folder[name].cache)

    def copy(self, seed: int) -> "SimulatedDisk":
        """Make another machine with the same disk, for one more fate."""
        twin = SimulatedDisk(seed)
        inodes: dict[int, Inode] = {}
        for theirs, ours in (
            (self._folder, twin._folder),
            (self._durable_folder, twin._durable_folder),
        ):
            for name, inode in theirs.items():
                clone = Inode(bytearray(inode.cache), bytearray(inode.disk), set(inode.dirty))
                ours[name] = inodes.setdefault(id(inode), clone)
        twin._pending = [
            (what, name, None if inode is None else inodes.setdefault(id(inode), inode))
            for what, name, inode in self._pending
        ]
        return twin

    # -- inside -----------------------------------------------------------------------------------

    def _handle(self, inode: Inode) -> int:
        self._next_handle += 1
        self._open[self._next_handle] = inode
        return self._next_handle

    def _read(self, what: str) -> None:
        self.reads += 1
        if self.fail_reads and self.reads == self.fail_at:
            raise OSError(errno.EIO, f"simulated failure of {what}")

    def _begin(self, what: str, sync: Inode | None = None) -> bool:
        """Count the call; raise where it fails before it did anything."""
        self.calls += 1
        self.log.append(what)
        failing = not self.fail_reads and self.calls == self.fail_at
        if failing and sync is not None:
            self._settle(sync, sorted(sync.dirty))
            sync.dirty.clear()
            raise OSError(errno.EIO, "simulated failure of sync")
        short = self.fault is Fault.SHORT and what == "write"
        if failing and self.fault is not Fault.AFTER and not short:
            raise OSError(errno.EIO, f"simulated failure of {what}")
        return failing

    def _end(self, failing: bool) -> None:
        if failing:
            raise OSError(errno.ENOSPC, "simulated failure")

    def _flush(self, inode: Inode) -> None:
        if len(inode.disk) < len(inode.cache):
            inode.disk.extend(bytes(len(inode.cache) - len(inode.disk)))
        for sector in inode.dirty:
            start, end = sector * SECTOR, (sector + 1) * SECTOR
            inode.disk[start:end] = inode.cache[start:end]
        inode.dirty.clear()

    def _change(self, what: str, name: str, inode: Inode | None) -> None:
        self._pending.append((what, name, inode))
        self._apply(self._folder, what, name, inode)

    @staticmethod
    def _apply(folder: dict[str, Inode], what: str, name: str, inode: Inode | None) -> None:
        if inode is None:
            folder.pop(name, None)
            return
        folder[name] = inode
        if what.startswith("move "):
            folder.pop(what.removeprefix("move "), None)
