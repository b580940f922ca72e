"""Read a data folder's journal from its beginning: records, a market, the commands by name.

For `curb replay`, `curb export` and `curb verify`. Nothing here writes; the exchange may run.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from exchange import notes
from exchange.apply import (
    ROLE_NUMBER,
    JournalApplier,
    decode_command,
    frame_records,
    member_handle,
)
from exchange.config import Config
from exchange.journal.page import PAGE_NAME, DurablePage
from exchange.journal.reader import JournalReader
from exchange.journal.record import Kind, Record
from exchange.journal.recovery import survey
from exchange.journal.storage import FileStorage, segment_first
from exchange.registry import Registry
from matching_core.engines import COMPILED, Engine, new_market
from matching_core.market import Market
from schemas.commands import AnyCommand
from schemas.events import AnyEvent

Advance = Callable[[int], None]


class NoJournal(Exception):
    """There is no journal in the folder; says which."""


class Extent(NamedTuple):
    """Which journal, and up to where it is to be read."""

    folder: Path
    market: int | None  # None: its first record tells
    first: int
    end: int


def extent(config: Config) -> Extent:
    """Find the journal of a data folder and its durable end; changes nothing.

    Raises:
        NoJournal: there is none.
        JournalDamaged, JournalFailed: it cannot be read.
    """
    folder = config.journal_folder
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    firsts = [first for first in map(segment_first, names) if first is not None]
    if not firsts:
        raise NoJournal(f"{folder}: no journal here")
    durable = _durable(folder)
    if durable:
        return Extent(folder, None, min(firsts), durable)
    # No page, as in a copy of the segments alone: what stands there whole.
    storage = FileStorage(folder, readonly=True)
    try:
        found = survey(storage, None, None)
    finally:
        storage.shut()
    return Extent(folder, found.market, found.first_position, found.end)


def records(where: Extent) -> Iterator[Record]:
    """Yield every record of the journal.

    Raises:
        JournalDamaged: at the first that is not what it must be.
    """
    storage = FileStorage(where.folder, readonly=True)
    reader = JournalReader(storage, where.first, market=where.market)
    try:
        yield from reader.read(where.end)
    finally:
        reader.close()
        storage.shut()


def commands_of(record: Record, market: Market, registry: Registry) -> list[AnyCommand]:
    """Return the core commands of a record by name, as a market file has them.

    `market` and `registry` are those right before the record. Notes give none.
    """
    if record.kind == Kind.RARE:
        return [decode_command(record.payload)]
    if record.kind != Kind.FRAME:
        return []
    kind, batch = frame_records(record.payload)
    member = number = role = 0
    if record.agent:
        agent = registry.agent(record.agent)
        member, number = member_handle(market, agent), agent.number
        role = ROLE_NUMBER.get(agent.role, 0)
    return [
        market.from_record(kind, batch[place], member, number, role, record.at_ns)
        for place in range(len(batch))
    ]


def replay(
    where: Extent, engine: str, happened: Callable[[list[AnyEvent]], None], advance: Advance
) -> Engine:
    """Run every record through an engine and return it; events as they happen, and how far it is.

    Raises JournalDamaged.
    """
    market, registry = Market(), Registry()
    applier = JournalApplier(market, registry)
    other = None if engine == COMPILED else new_market(engine)
    for record in records(where):
        if other is None:
            happened(market.events(applier.apply(record)))
        else:
            # The compiled core gives the names; the other engine says what happens.
            commands = commands_of(record, market, registry)
            applier.apply(record)
            for command in commands:
                happened(other.apply_command(command))
        advance(record.end - where.first)
    return market if other is None else other


def export(
    where: Extent,
    command: Callable[[AnyCommand], None],
    note: Callable[[Record, notes.AnyNote], None],
    advance: Advance,
) -> None:
    """Hand on every command by name, and every note, in order.

    Raises JournalDamaged.
    """
    market, registry = Market(), Registry()
    applier = JournalApplier(market, registry)
    for record in records(where):
        for each in commands_of(record, market, registry):
            command(each)
        if record.kind == Kind.NOTE:
            note(record, notes.decode(record.payload))
        applier.apply(record)
        advance(record.end - where.first)


def _durable(folder: Path) -> int:
    try:
        page = DurablePage(folder / PAGE_NAME)
    except (FileNotFoundError, PermissionError, ValueError):
        return 0
    durable, _ = page.read()
    page.close()
    return durable
