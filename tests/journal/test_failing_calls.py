"""D6: any failing call stops the journal, nothing is acknowledged after, the restart is clean."""

import contextlib
import os
import random
from pathlib import Path

import pytest

from exchange.journal import FileStorage, JournalFailed, JournalWriter, Kind, recover
from tests.journal.book import MARKET, SEGMENT_BYTES, Book, records, start
from tests.journal.disk import Fault, SimulatedDisk


def run(disk: SimulatedDisk, book: Book) -> None:
    """Start, write through four segments, recycle, prepare: every call the journal makes."""
    rng = random.Random(1)
    writer = start(disk)
    while writer.end < 4 * SEGMENT_BYTES:
        book.append(writer, rng)
        if rng.random() < 0.5:
            try:
                book.commit(writer)
            except JournalFailed:
                refuses_everything(writer, disk)
                raise
        if rng.random() < 0.1:
            writer.prepare()


def refuses_everything(writer: JournalWriter, disk: SimulatedDisk) -> None:
    """A stopped writer touches the disk no more, so a failed sync is never tried again."""
    calls, durable = disk.calls, writer.durable
    with pytest.raises(JournalFailed):
        writer.append(
            Kind.RARE, b"", seq=writer.next_seq, count=0, agent=0, epoch=0, message=0, at_ns=0
        )
    for call in (writer.commit, writer.prepare, lambda: writer.recycle(0)):
        with pytest.raises(JournalFailed):
            call()
    assert (disk.calls, writer.durable) == (calls, durable)


def calls_of_a_whole_run(*, reads: bool) -> int:
    disk = SimulatedDisk()
    run(disk, Book())
    return disk.reads if reads else disk.calls


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("power", [False, True], ids=["killed", "power lost"])
def test_every_call_may_fail_once(fault, power):
    total = calls_of_a_whole_run(reads=False)
    assert total > 60
    for n in range(1, total + 1):
        disk, book = SimulatedDisk(n), Book()
        disk.fail_at, disk.fault = n, fault
        with pytest.raises(JournalFailed):
            run(disk, book)
        what = f"call {n}, {disk.log[n - 1]}"
        assert disk.log[-1] == disk.log[n - 1], f"{what}: the journal went on"
        if power:
            disk.power_loss()
        disk.restart()
        writer = start(disk)
        found = records(disk, writer.end)
        assert found == book.written[: len(found)], what
        assert len(found) >= book.committed, what
        # And it goes on from there.
        book.forget(len(found))
        book.append(writer, random.Random(n))
        book.commit(writer)
        assert records(disk, writer.end) == book.written, what


def test_every_reading_call_may_fail_once():
    """Opening, listing, sizes and reads at the start: refused as JournalFailed, nothing changed."""
    total = calls_of_a_whole_run(reads=True)
    for n in range(1, total + 1):
        disk, book = SimulatedDisk(n), Book()
        disk.fail_reads, disk.fail_at = True, n
        with pytest.raises(JournalFailed):
            run(disk, book)
        disk.restart()
        found = records(disk, start(disk).end)
        assert found == book.written[: len(found)]
        assert len(found) >= book.committed


def test_a_failed_sync_is_not_healed_by_a_restart_that_syncs_again():
    """After a failed sync the kernel calls the pages clean: recovery must write them again."""
    for seed in range(50):
        disk, book, rng = SimulatedDisk(seed), Book(), random.Random(seed)
        writer = start(disk)
        book.append(writer, rng)
        book.commit(writer)
        book.append(writer, rng)
        disk.fail_at = disk.calls + 2
        with pytest.raises(JournalFailed):
            writer.commit()
        disk.restart()
        told = records(disk, start(disk, durable=writer.durable).end)
        disk.power_loss()
        assert records(disk, start(disk).end) == told == book.written


def test_a_full_device_stops_the_writer_and_loses_nothing(tmp_path: Path):
    """Method: the segment's descriptor is turned to /dev/full under the writer."""
    storage, book, rng = FileStorage(tmp_path), Book(), random.Random(1)
    writer = start(storage)
    for _ in range(5):
        book.append(writer, rng)
    book.commit(writer)
    with contextlib.ExitStack() as stack:
        full = os.open("/dev/full", os.O_RDWR)
        stack.callback(os.close, full)
        os.dup2(full, descriptor_of(tmp_path / "journal-00000000000000000000.seg"))
        book.append(writer, rng)
        with pytest.raises(JournalFailed, match="No space left"):
            book.commit(writer)
        with pytest.raises(JournalFailed, match="has stopped"):
            writer.commit()
    writer.close()
    end = recover(storage, MARKET).end_position
    assert records(storage, end) == book.written[:5]
    storage.shut()


def descriptor_of(path: Path) -> int:
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if entry.readlink() == path:
                return int(entry.name)
    raise AssertionError(f"{path} is not open")
