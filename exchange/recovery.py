"""Start and crash recovery: one path (snapshot, then the rest of the journal, then serve)."""

from collections.abc import Callable
from typing import Final, NamedTuple

from exchange import counters
from exchange.apply import JournalApplier
from exchange.config import Config
from exchange.identity import Identity
from exchange.journal.page import PAGE_NAME, DurablePage
from exchange.journal.reader import JournalReader
from exchange.journal.recovery import Recovered, recover
from exchange.journal.storage import FileStorage
from exchange.journal.writer import JournalWriter
from exchange.snapshots import load_newest

PROGRESS_EVERY: Final = 4_096  # records


class Started(NamedTuple):
    """What a start gives: the state as the journal has it, and the writer that continues it."""

    applier: JournalApplier
    writer: JournalWriter
    page: DurablePage
    recovered: Recovered
    at_ns: int  # of the newest record


def start(config: Config, identity: Identity, progress: Callable[[str, int, int], None]) -> Started:
    """Recover the journal of a data folder and bring a market to its end.

    Raises JournalDamaged, JournalBusy, JournalFailed.
    """
    storage = FileStorage(config.journal_folder)
    page = DurablePage(config.journal_folder / PAGE_NAME, create=True)
    page.counters[counters.READY] = 0  # a killed process left it as it was
    durable, _ = page.read()
    # First the snapshot: segments before it need not be read. It is a proof as well, for snapshots
    # are made of durable records alone: a journal that ends before it has lost some.
    snapshot = load_newest(config.snapshots_folder, identity.market)
    position = snapshot.position
    recovered = recover(storage, identity.market, max(durable, position), from_position=position)
    end = recovered.end_position
    applier = JournalApplier(snapshot.market, snapshot.registry)
    reader = JournalReader(
        FileStorage(config.journal_folder, readonly=True),
        position,
        market=identity.market,
        prior=snapshot.prior,
    )
    at_ns = snapshot.market.at_ns
    for number, record in enumerate(reader.read(end)):
        applier.apply(record)
        at_ns = max(at_ns, record.at_ns)
        if number % PROGRESS_EVERY == 0:
            progress("replaying the journal", record.end - position, end - position)
    reader.close()
    writer = JournalWriter(
        storage, recovered, segment_bytes=config.journal.segment_bytes, page=page
    )
    assert snapshot.market.seq + 1 == recovered.next_seq
    return Started(applier, writer, page, recovered, at_ns)
