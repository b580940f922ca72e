"""Look at a journal's folder, and cut it by hand: `python -m exchange.journal.inspect DIR`.

Prints one line per record, then what stands at the end, the row of recovery's table that applies and
what an operator can do. Changes nothing, and may run beside the exchange.

`--truncate POSITION` is the manual path: everything from that record on is given up. What it takes
away stays in the folder in files named aside-*. Exit codes: 0 whole, 1 damaged or failed, 2 usage.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exchange.journal.errors import JournalError
from exchange.journal.page import PAGE_NAME, DurablePage
from exchange.journal.reader import JournalReader
from exchange.journal.record import Kind, Record
from exchange.journal.recovery import Act, Survey, damage, survey
from exchange.journal.storage import ASIDE_PREFIX, FileStorage, Storage, write_whole
from exchange.journal.walk import CHUNK_BYTES, segments

_HEX_SHOWN = 16
_KIND_NAMES = {int(kind): kind.name for kind in Kind}


def describe(record: Record) -> dict[str, Any]:
    """Give a record's fields by name, the payload as its size and first bytes."""
    fields = record._asdict()
    payload: memoryview = fields.pop("payload")
    fields["kind"] = _KIND_NAMES.get(record.kind, record.kind)
    return fields | {"bytes": len(payload), "begins": payload[:_HEX_SHOWN].hex()}


def records(storage: Storage, found: Survey, position: int = 0) -> Iterator[Record]:
    """Yield the good records from `position` (0: the oldest kept) to the end that was found."""
    reader = JournalReader(storage, max(position, found.first_position), market=found.market)
    try:
        yield from reader.read(found.end)
    finally:
        reader.close()


def verdict(storage: Storage, found: Survey) -> dict[str, Any]:
    """Say in one object what was found and what recovery would do."""
    said = {
        "end": found.end,
        "first_position": found.first_position,
        "next_seq": found.next_seq,
        "market": found.market,
        "row": found.row.name,
        "act": found.row.act.name.lower(),
        "why": found.row.why,
        "durable_at_least": found.proven,
        "proof": found.proof,
    }
    if found.row.act is Act.HALT:
        error = damage(storage, found)
        said |= {"path": error.path, "manual": error.manual}
    return said


def truncate(storage: Storage, position: int) -> list[str]:
    """Give up everything from `position` on, a record's boundary at or before the good end.

    Returns the names of the aside-* files that hold what was taken away. The durable page goes
    there, too: it says that more was durable, which is what is being given up. Raises ValueError for
    a position that is no boundary (nothing is changed then), OSError, JournalBusy, JournalDamaged.
    """
    storage.lock()
    found = survey(storage, None)
    kept = [s for s in segments(storage) if s.first <= position]
    boundary = position in {0, found.end} or any(
        position in {r.position, r.end} for r in records(storage, found)
    )
    # With the oldest record gone nothing would tell the number that follows.
    if not kept or not boundary or 0 < position <= found.first_position:
        raise ValueError(f"{position} is not the boundary of a good record")
    aside = []
    # The newest first: should this be interrupted, what is left is still one journal and a halt.
    for segment in reversed(segments(storage)):
        if segment.first > position:
            aside.append(_aside(storage, segment.name))
            storage.rename(segment.name, aside[-1])
    handle = storage.open(kept[-1].name)
    try:
        aside.append(_cut(storage, handle, position - kept[-1].first, kept[-1].name))
    finally:
        storage.close(handle)
    if PAGE_NAME in storage.names():
        aside.append(_aside(storage, PAGE_NAME))
        storage.rename(PAGE_NAME, aside[-1])
    storage.sync_dir()
    return aside


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m exchange.journal.inspect")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--from", dest="position", type=int, default=0, help="a record's position")
    parser.add_argument("--quiet", action="store_true", help="no records, the verdict alone")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--truncate", type=int, metavar="POSITION", help="give up all from there on"
    )
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        parser.error(f"{options.folder}: no such folder")
    storage = FileStorage(options.folder, readonly=options.truncate is None)
    try:
        if options.truncate is not None:
            for name in truncate(storage, options.truncate):
                _print({"aside": storage.place(name)}, as_json=options.json)
        return _show(storage, options)
    except (JournalError, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        storage.shut()


def _show(storage: FileStorage, options: argparse.Namespace) -> int:
    found = survey(storage, None, _durable(options.folder / PAGE_NAME))
    if not options.quiet:
        for record in records(storage, found, options.position):
            _print(describe(record), as_json=options.json)
    said = verdict(storage, found)
    _print(said, as_json=options.json)
    return 1 if found.row.act is Act.HALT else 0


def _durable(path: Path) -> int | None:
    """Read the page, where there is one and it is one."""
    try:
        page = DurablePage(path)
    except (FileNotFoundError, ValueError):
        return None
    try:
        return page.read()[0]
    finally:
        page.close()


def _print(said: dict[str, Any], *, as_json: bool) -> None:
    line = json.dumps(said) if as_json else "  ".join(f"{k}={v}" for k, v in said.items())
    sys.stdout.write(line + "\n")


def _aside(storage: Storage, name: str) -> str:
    """Find a free name beside the journal."""
    taken = set(storage.names())
    number = 0
    while f"{ASIDE_PREFIX}{number}-{name}" in taken:
        number += 1
    return f"{ASIDE_PREFIX}{number}-{name}"


def _cut(storage: Storage, handle: int, offset: int, name: str) -> str:
    """Copy the whole segment aside, sync that, then write zeros from `offset` on."""
    size = storage.size(handle)
    copy_name = _aside(storage, name)
    copy = storage.create(copy_name)
    try:
        for at in range(0, size, CHUNK_BYTES):
            write_whole(storage, copy, storage.read_at(handle, CHUNK_BYTES, at), at)
        storage.sync(copy)
    finally:
        storage.close(copy)
    storage.sync_dir()
    for at in range(offset, size, CHUNK_BYTES):
        write_whole(storage, handle, bytes(min(CHUNK_BYTES, size - at)), at)
    storage.sync(handle)
    return copy_name


if __name__ == "__main__":
    sys.exit(main())
