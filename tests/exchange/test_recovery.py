"""Start and crash recovery are one path: snapshot, the rest of the journal, and nothing guessed."""

import pytest

from exchange import counters, recovery, snapshots
from exchange.journal import FileStorage, JournalReader
from exchange.journal.errors import JournalBusy, JournalDamaged
from exchange.journal.page import PAGE_NAME, DurablePage
from tests.follower.living import Living


@pytest.fixture
def living(tmp_path):
    living = Living(tmp_path / "data", seed=3)
    living.open()
    living.live(40)
    return living


def shut(writer):
    assert isinstance(writer._storage, FileStorage)
    writer._storage.shut()


def stop(living):
    living.writer.close()
    shut(living.writer)
    living.page.close()


def start(living):
    started = recovery.start(living.config, living.keys, lambda *_: None)
    started.writer.close()
    shut(started.writer)
    return started


def crc_before(living, position):
    """The crc of the last record before a position: what a snapshot says of its place."""
    storage = FileStorage(living.config.journal_folder, readonly=True)
    reader = JournalReader(storage)
    for _ in reader.read(position):
        pass
    assert reader.position == position
    reader.close()
    storage.shut()
    return reader.prior


def save(living):
    position = living.writer.durable
    return snapshots.save(
        living.config.snapshots_folder, living.keys.market, living.market,
        living.applier.registry, position, crc_before(living, position),
    )  # fmt: skip


def test_the_journal_alone_gives_the_state_back(living):
    """Promise D7: full replay == live."""
    digest, registry = living.market.digest(), living.applier.registry.snapshot()
    stop(living)
    started = start(living)
    assert started.applier.market.digest() == digest
    assert started.applier.registry.snapshot() == registry
    assert started.at_ns == living.sequencer.at_ns


def test_snapshot_and_tail_give_the_same_as_the_whole_journal(living):
    """Promise D7: snapshot + tail == live, wherever the snapshot stands."""
    save(living)
    living.live(30)
    digest, registry = living.market.digest(), living.applier.registry.snapshot()
    end = living.writer.durable
    stop(living)
    seen = []
    started = recovery.start(living.config, living.keys, lambda *line: seen.append(line))
    assert started.applier.market.digest() == digest
    assert started.applier.registry.snapshot() == registry
    assert all(done <= total < end for _, done, total in seen)
    started.applier.market.audit()


def test_a_snapshot_at_the_end_needs_no_tail(living):
    save(living)
    digest = living.market.digest()
    stop(living)
    assert start(living).applier.market.digest() == digest


def test_a_journal_that_ends_before_its_snapshot_has_lost_records_and_is_refused(living):
    """Promise D5: snapshots are made of durable records alone, so they prove what was durable."""
    end = living.writer.durable
    save(living)
    stop(living)
    segments = sorted(living.config.journal_folder.glob("journal-*.seg"))
    first = int(segments[-1].stem.split("-")[1])
    with segments[-1].open("r+b") as file:
        file.seek(end - first - 200)
        file.write(bytes(200))
    (living.config.journal_folder / PAGE_NAME).unlink()
    with pytest.raises(JournalDamaged):
        start(living)


@pytest.mark.parametrize("harm", ["flipped", "cut", "empty", "another market", "another build"])
def test_a_snapshot_that_does_not_fit_is_passed_over(living, harm, monkeypatch):
    """Goal: a snapshot only saves time; the journal can always make the state again."""
    path = save(living)
    digest = living.market.digest()
    raw = bytearray(path.read_bytes())
    if harm == "flipped":
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
    elif harm == "cut":
        path.write_bytes(raw[:-9])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "another market":
        snapshots.save(
            living.config.snapshots_folder, living.keys.market + 1, living.market,
            living.applier.registry, living.writer.durable, 0,
        )  # fmt: skip
    else:
        monkeypatch.setattr(snapshots, "build", lambda: "newer")
    assert snapshots.load_newest(living.config.snapshots_folder, living.keys.market).position == 0
    stop(living)
    assert start(living).applier.market.digest() == digest


def test_an_older_snapshot_serves_when_the_newest_is_damaged(living):
    older = save(living)
    living.live(30)
    newest = save(living)
    digest = living.market.digest()
    newest.write_bytes(b"nothing")
    stop(living)
    found = snapshots.load_newest(living.config.snapshots_folder, living.keys.market)
    assert found.path == older
    assert start(living).applier.market.digest() == digest


def test_a_snapshot_dropped_while_it_is_looked_for_is_no_failure(living, monkeypatch):
    """Goal: the follower drops old ones while the exchange starts."""
    path = save(living)
    gone = path.with_name("99999999999999999999.snap")
    monkeypatch.setattr(snapshots, "newest_first", lambda _: [gone, path])
    assert snapshots.load_newest(living.config.snapshots_folder, living.keys.market).path == path


def test_only_so_many_snapshots_are_kept(living):
    for _ in range(snapshots.KEPT + 2):
        living.live(10)
        save(living)
    assert len(snapshots.newest_first(living.config.snapshots_folder)) == snapshots.KEPT


def test_a_second_exchange_of_the_folder_does_not_start(living):
    with pytest.raises(JournalBusy):
        start(living)
    stop(living)


def test_readiness_is_taken_back_before_anything_is_read(living):
    """Goal: what a killed process left on the page is not taken for the next one's."""
    living.page.counters[counters.READY] = 1
    stop(living)
    start(living)
    page = DurablePage(living.config.journal_folder / PAGE_NAME)
    assert page.counters[counters.READY] == 0
