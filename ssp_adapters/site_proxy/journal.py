"""The site's own small journal: what must survive a crash of the proxy.

One line per fact, `CRC32 JSON`, appended; synced before anything depends on it:

    use       the token of a fill was used: written and synced before the first byte is served
    void      the buyer gave a fill back
    complete  what was metered of a fill
    decline   a fill will not be served
    told      the exchange answered what was said of a fill: nothing of it is owed any more

A torn tail is dropped: nothing that was not synced was acted upon. The file is written anew, with what
still counts, at each start and when it has grown.
"""

import asyncio
import os
import zlib
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

BYTES_MAX: Final = 4 << 20
_CRC_CHARACTERS: Final = 8


class JournalFailedError(Exception):
    """The disk refused: nothing more is admitted, for a used token could be used again."""


class Owed(Struct):
    """What the exchange has not acknowledged of a fill that was used here.

    Neither `complete` nor `decline`: the request runs, or the proxy died while it did.
    """

    fill: int
    deadline_ns: int
    complete: tuple[int, int, int] | None = None  # tokens_in, tokens_out, ttft_us
    decline: str = ""


class _Fact(Struct, omit_defaults=True):
    what: str
    fill: int
    until_ns: int = 0
    complete: tuple[int, int, int] | None = None
    decline: str = ""


class SiteJournal:
    """Facts in a file, and what follows from them. One process at a time has it open.

    `used` and `voided` map fills to the Unix time in ns until which their token could be shown.
    `owed` are fills that the exchange is still to be told of.
    """

    def __init__(self, path: Path, now_ns: int) -> None:
        self.used: dict[int, int] = {}
        self.voided: dict[int, int] = {}
        self.owed: dict[int, Owed] = {}
        self.failed = ""
        self._path = path
        self._descriptor = -1
        self._bytes = 0
        self._written = 0  # facts, counted for this process's life: over a rewrite they go on
        self._synced = 0
        self._lock = asyncio.Lock()
        for fact in _recover(path):
            self._fold(fact)
        self._rewrite(now_ns)

    # ------------------------------------------------------------------------- facts
    async def use(self, fill: int, deadline_ns: int) -> bool:
        """Note that a fill's token is used; returns when that is on disk. False: it was used before.

        Raises:
            JournalFailedError: it may not be served.
        """
        if fill in self.used:
            return False
        self._append(_Fact("use", fill, until_ns=deadline_ns))
        await self._sync()
        return True

    def void(self, fill: int, until_ns: int) -> None:
        """Note that a fill was given back; written, not synced: the event is told again."""
        if fill not in self.voided:
            self._append(_Fact("void", fill, until_ns=until_ns))

    async def complete(self, fill: int, tokens_in: int, tokens_out: int, ttft_us: int) -> None:
        """Note what was metered; returns when that is on disk."""
        self._append(_Fact("complete", fill, complete=(tokens_in, tokens_out, ttft_us)))
        await self._sync()

    async def decline(self, fill: int, reason: str) -> None:
        """Note that a fill is declined; returns when that is on disk."""
        self._append(_Fact("decline", fill, decline=reason))
        await self._sync()

    def told(self, fill: int, now_ns: int) -> None:
        """Note that the exchange answered; not synced, for to say it again does no harm."""
        self._append(_Fact("told", fill))
        if self._bytes > BYTES_MAX:
            self._rewrite(now_ns)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # ------------------------------------------------------------------------- inside
    def _fold(self, fact: _Fact) -> None:
        match fact.what:
            case "use":
                self.used[fact.fill] = fact.until_ns
                self.owed[fact.fill] = Owed(fact.fill, fact.until_ns)
            case "void":
                self.voided[fact.fill] = fact.until_ns
            case "complete" if fact.fill in self.owed:
                self.owed[fact.fill].complete = fact.complete
            case "decline" if fact.fill in self.owed:
                self.owed[fact.fill].decline = fact.decline
            case "told":
                self.owed.pop(fact.fill, None)

    def _append(self, fact: _Fact) -> None:
        self._write(_line(fact))
        self._fold(fact)

    def _write(self, line: bytes) -> None:
        if self.failed:
            raise JournalFailedError(self.failed)
        try:
            if os.write(self._descriptor, line) != len(line):
                raise OSError(0, "short write")  # noqa: TRY301  # one place that notes a failure
        except OSError as error:
            self._fail(error)
        self._bytes += len(line)
        self._written += 1

    async def _sync(self) -> None:
        """Wait until all that was written is on disk; one sync serves all who wait for it."""
        wanted = self._written
        while self._synced < wanted:
            async with self._lock:
                if self.failed:
                    raise JournalFailedError(self.failed)
                if self._synced >= wanted:
                    return
                reached, descriptor = self._written, self._descriptor
                try:
                    await asyncio.to_thread(os.fdatasync, descriptor)
                except OSError as error:
                    self._fail(error)
                self._synced = reached

    def _fail(self, error: OSError) -> None:
        self.failed = f"{self._path}: {error.strerror or error}"
        raise JournalFailedError(self.failed) from None

    def _rewrite(self, now_ns: int) -> None:
        """Write the file anew with what still counts, under a name that appears whole."""
        if self._lock.locked():
            return  # a sync is under way on the old file; the next fact tries again
        live = {
            fill: until_ns
            for fill, until_ns in self.used.items()
            if until_ns > now_ns or fill in self.owed
        }
        self.voided = {fill: until for fill, until in self.voided.items() if until > now_ns}
        lines = []
        for fill, until_ns in live.items():
            lines.append(_line(_Fact("use", fill, until_ns=until_ns)))
            owed = self.owed.get(fill)
            if owed is None:
                lines.append(_line(_Fact("told", fill)))
            elif owed.complete is not None:
                lines.append(_line(_Fact("complete", fill, complete=owed.complete)))
            elif owed.decline:
                lines.append(_line(_Fact("decline", fill, decline=owed.decline)))
        lines += [_line(_Fact("void", fill, until_ns=until)) for fill, until in self.voided.items()]
        self.used = live
        part = self._path.with_name(self._path.name + ".part")
        body = b"".join(lines)
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
            if os.write(descriptor, body) != len(body):
                raise OSError(0, "short write")  # noqa: TRY301  # as in _write
            os.fdatasync(descriptor)
            part.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        except OSError as error:
            self._fail(error)
        self.close()
        self._descriptor = descriptor
        self._bytes = len(body)
        self._synced = self._written


def _line(fact: _Fact) -> bytes:
    body = msgspec.json.encode(fact)
    return f"{zlib.crc32(body):08x} ".encode() + body + b"\n"


def _recover(path: Path) -> list[_Fact]:
    """Return the facts of a file up to the first line that is not whole."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    facts = []
    for line in raw.split(b"\n")[:-1]:
        crc, body = line[:_CRC_CHARACTERS], line[_CRC_CHARACTERS + 1 :]
        try:
            if int(crc, 16) != zlib.crc32(body):
                break
            facts.append(msgspec.json.decode(body, type=_Fact))
        except (ValueError, msgspec.MsgspecError):
            break
    return facts
