"""Read a data folder's journal: records, a market, the commands by name, a bid explained.

For `curb replay`, `curb export`, `curb verify` and `curb explain`. Nothing here writes; the exchange may
run.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from exchange import notes, snapshots
from exchange.apply import (
    ROLE_NUMBER,
    JournalApplier,
    decode_command,
    frame_records,
    member_handle,
)
from exchange.config import Config
from exchange.explaining import Explaining, Key
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
from schemas.explanation import Explanation
from schemas.records import FLAG_EXPLAIN

Advance = Callable[[int], None]
Explained = Callable[[Explanation], None]


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


def records(where: Extent, position: int = -1, prior: int | None = None) -> Iterator[Record]:
    """Yield every record of the journal, or those from `position` on; `prior` is the crc before it.

    Raises:
        JournalDamaged: at the first that is not what it must be.
    """
    storage = FileStorage(where.folder, readonly=True)
    position = where.first if position < 0 else position
    reader = JournalReader(storage, position, market=where.market, prior=prior)
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


class BidName(NamedTuple):
    """Which bid; None: any."""

    bid: int
    buyer: str | None = None
    agent: int | None = None


def explain(
    where: Extent,
    snapshots_folder: Path,
    name: BidName | None,
    explained: Explained,
    advance: Advance,
    *,
    rounded: bool,
) -> None:
    """Explain the bids of a name, or all flagged ones if None, each on the book that it met.

    A bid that is named in full is looked for from the newest snapshot before it, and nowhere behind it.

    Raises:
        NoJournal: the journal no longer goes back so far.
        JournalDamaged: it is not what it must be.
    """
    start = _before(where, snapshots_folder, name)
    if start.position < where.first:
        raise NoJournal(f"{where.folder}: the journal goes back to position {where.first} only")
    market = start.market
    found: list[Explanation] = []

    def wants(bids: NDArray[np.void], buyer: int, agent: int, _at_ns: int) -> list[int]:
        called = market.names.name("buyer", buyer)
        return [place for place in range(len(bids)) if is_meant(name, bids[place], called, agent)]

    def take(_key: Key, answer: Explanation | None) -> None:
        if answer is not None:
            found.append(answer)
            explained(answer)

    watch = Explaining(market, wants, take, rounded=rounded)
    applier = JournalApplier(market, start.registry, watch)
    for record in records(where, start.position, start.prior if start.path else None):
        applier.apply(record)
        advance(record.end - where.first)
        if found and name is not None and None not in name:
            return  # a number is accepted once


def is_meant(name: BidName | None, bid: np.void, buyer: str, agent: int) -> bool:
    """Tell whether a BID record of a buyer's agent is what a name means: by default a flagged one."""
    if name is None:
        return bool(bid["flags"] & FLAG_EXPLAIN)
    return (
        int(bid["bid"]) == name.bid and name.buyer in {None, buyer} and name.agent in {None, agent}
    )


def _before(where: Extent, folder: Path, name: BidName | None) -> snapshots.Snapshot:
    """Return the newest snapshot that a bid named in full lies behind; else the empty market."""
    first = next(records(where), None)
    if first is not None and name is not None and name.buyer is not None and name.agent is not None:
        upto = where.end
        while True:
            found = snapshots.load_newest(folder, first.market, upto)
            buyer = found.market.names.handle("buyer", name.buyer)
            if found.market.last_bid(buyer, name.agent) < name.bid:
                return found
            upto = found.position - 1
    return snapshots.Snapshot(Market(), Registry(), 0, 0, None)


def _durable(folder: Path) -> int:
    try:
        page = DurablePage(folder / PAGE_NAME)
    except (FileNotFoundError, PermissionError, ValueError):
        return 0
    durable, _ = page.read()
    page.close()
    return durable
