"""A reader beside a live writer sees durable bytes, all of them, and no other."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from exchange.journal import (
    PAGE_NAME,
    DurablePage,
    FileStorage,
    JournalDamaged,
    JournalFailed,
    JournalReader,
)
from exchange.journal.storage import segment_first, segment_name
from tests.journal.book import MARKET, SEGMENT_BYTES, Book, filled, records, start
from tests.journal.disk import SimulatedDisk
from tests.journal.test_kill import ROOT


class Watched(SimulatedDisk):
    """Fails the test when the reader asks for a byte that is not durable."""

    durable = 0
    watching = False

    def open(self, name: str) -> int:
        handle = super().open(name)
        self.first = {**getattr(self, "first", {}), handle: segment_first(name) or 0}
        return handle

    def read_at(self, handle: int, size_bytes: int, offset: int) -> bytes:
        if self.watching:
            assert self.first[handle] + offset + size_bytes <= self.durable
        return super().read_at(handle, size_bytes, offset)


def test_a_reader_following_a_live_writer_asks_for_durable_bytes_alone(tmp_path: Path):
    """The page gives the limit; appended but uncommitted records stay unseen, however many."""
    disk, book, rng = Watched(), Book(), random.Random(1)
    page = DurablePage(tmp_path / PAGE_NAME, create=True)
    writer = start(disk, page=page)
    reader = JournalReader(disk, market=MARKET)
    seen: list[tuple[int, int, int, bytes]] = []
    while writer.end < 6 * SEGMENT_BYTES:
        for _ in range(rng.randrange(6)):
            book.append(writer, rng)
        if rng.random() < 0.5:
            book.commit(writer)
        disk.durable, _ = page.read()
        disk.watching = True
        seen += [(r.position, r.seq, r.count, bytes(r.payload)) for r in reader.read(disk.durable)]
        disk.watching = False
        assert reader.position == disk.durable
        # A full segment is made durable before the next begins, in the middle of a round, too.
        assert len(seen) >= book.committed
        assert seen == book.written[: len(seen)]
    assert len(seen) > 100


def test_a_reader_in_another_process_gets_what_the_writer_acknowledged(tmp_path: Path):
    """The real files and the real page: 300 acknowledged records, followed as they are written."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.journal.acknowledge", str(tmp_path), "1"],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        heard: list[bytes] = [process.stdout.readline()]  # Now the page and a record are there.
        page = DurablePage(tmp_path / PAGE_NAME)
        storage = FileStorage(tmp_path, readonly=True)
        reader = JournalReader(storage, market=MARKET)
        seen: list[str] = []
        while len(seen) < 300:
            seen += [
                f"{r.position} {r.seq} {r.payload.hex()}\n" for r in reader.read(page.read()[0])
            ]
            # What was acknowledged before the page was read has been seen.
            heard.append(process.stdout.readline())
        assert [line.decode() for line in heard] == seen[: len(heard)]
    finally:
        process.kill()
        process.communicate()
    reader.close()
    page.close()
    storage.shut()


def test_reading_in_pieces_gives_what_reading_at_once_gives():
    disk = SimulatedDisk()
    book = filled(disk, 2, until=4 * SEGMENT_BYTES, segment_bytes=SEGMENT_BYTES)
    ends = [w[0] for w in book.written[1:]]
    reader = JournalReader(disk, market=MARKET)
    pieces = [bytes(r.payload) for end in ends for r in reader.read(end)]
    assert pieces == [w[3] for w in book.written[:-1]]


def test_a_reader_starts_at_any_record_and_hands_over_its_place():
    disk = SimulatedDisk()
    book = filled(disk, 3, until=3 * SEGMENT_BYTES, segment_bytes=SEGMENT_BYTES)
    end = start(disk).end
    for index, (position, *_) in enumerate(book.written):
        assert records(disk, end, position) == book.written[index:]
    one = JournalReader(disk, market=MARKET)
    assert len(list(one.read(book.written[9][0]))) == 9
    two = JournalReader(disk, one.position, market=MARKET, prior=one.prior)
    assert next(two.read(end)).position == book.written[9][0]
    wrong = JournalReader(disk, one.position, prior=1)
    with pytest.raises(JournalDamaged, match="follow"):
        next(wrong.read(end))


def test_a_payload_stays_what_it_was_while_it_is_kept():
    disk = SimulatedDisk()
    book = filled(disk, 4, until=4 * SEGMENT_BYTES, segment_bytes=SEGMENT_BYTES)
    kept = [r.payload for r in JournalReader(disk).read(start(disk).end)]
    assert [bytes(p) for p in kept] == [w[3] for w in book.written]
    assert all(p.readonly for p in kept)


def test_records_larger_than_a_reading_chunk_are_read():
    disk = SimulatedDisk()
    size = 8 << 20
    book = filled(disk, 5, until=4 << 20, segment_bytes=size, lengths=(1 << 20,))
    assert records(disk, start(disk, segment_bytes=size).end) == book.written


def test_what_the_reader_cannot_get_is_named():
    disk = SimulatedDisk()
    filled(disk, 6, until=3 * SEGMENT_BYTES, segment_bytes=SEGMENT_BYTES)
    end = start(disk).end
    disk.put(segment_name(SEGMENT_BYTES), None)
    with pytest.raises(JournalDamaged) as caught:
        list(JournalReader(disk).read(end))
    assert caught.value.position == SEGMENT_BYTES
    disk.put(segment_name(0), None)
    with pytest.raises(JournalDamaged, match="no segment"):
        list(JournalReader(disk).read(end))
    with pytest.raises(JournalDamaged, match="another market"):
        list(JournalReader(disk, 2 * SEGMENT_BYTES, market=1).read(end))
    disk.restart()
    disk.fail_reads, disk.fail_at = True, 2
    with pytest.raises(JournalFailed):
        list(JournalReader(disk, 2 * SEGMENT_BYTES).read(end))
