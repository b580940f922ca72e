"""What the writer takes, how it fills segments, and what a round costs."""

import random
import struct
from pathlib import Path

import numpy as np
import pytest

from exchange.journal import (
    FileStorage,
    JournalBusy,
    JournalFailed,
    JournalReader,
    JournalWriter,
    Kind,
    LocalLog,
    Log,
    recover,
)
from exchange.journal.log import Payload
from exchange.journal.record import FIELDS, HEADER, HEADER_BYTES, encode, encode_pad, padded
from exchange.journal.storage import segment_first, segment_name
from tests.journal.book import MARKET, SEGMENT_BYTES, Book, records, start
from tests.journal.disk import SimulatedDisk


def add(log: Log, payload: Payload, *, seq: int = 1, count: int = 0, kind: int = Kind.RARE) -> int:
    return log.append(kind, payload, seq=seq, count=count, agent=4, epoch=5, message=6, at_ns=7)


def test_the_numpy_header_and_the_struct_describe_the_same_bytes():
    into = memoryview(bytearray(padded(5)))
    encode(into, 0, b"hello", Kind.NOTE, 1, 16, 8, 4, 5, 6, -7, 8, 9, 10)
    row = np.frombuffer(into, HEADER, 1)[0]
    assert FIELDS.unpack_from(into) == tuple(row.tolist())
    assert row["position"] == 16
    assert row["at_ns"] == -7
    assert bytes(into[HEADER_BYTES:]) == b"hello\0\0\0"


def test_the_chain_binds_every_field_of_the_header():
    """Two records that differ in one field alone have different crcs, so their successors differ.

    It was not so when `crc` covered `check`: a CRC over its own CRC forgets all before it.
    """
    into = memoryview(bytearray(padded(5)))
    plain = (Kind.NOTE, 1, 16, 8, 4, 5, 6, 7, 8, 9, 10)
    crcs = {encode(into, 0, b"hello", *plain)}
    for index in range(len(plain)):
        changed = [value + (n == index) for n, value in enumerate(plain)]
        crcs.add(encode(into, 0, b"hello", *changed))
    assert len(crcs) == len(plain) + 1
    pads = {encode_pad(into, 0, 88, 1, position, 1, 0) for position in (0, 8, 16)}
    assert len(pads) == 3


def test_every_field_comes_back_as_it_was_given():
    disk = SimulatedDisk()
    writer = start(disk)
    writer.append(
        Kind.FRAME,
        b"payload",
        seq=1,
        count=1024,
        agent=4096,
        epoch=2**32 - 1,
        message=2**64 - 1,
        at_ns=2**62,
    )
    writer.commit()
    (record,) = JournalReader(disk).read(writer.durable)
    assert record[:-2] == (
        Kind.FRAME,
        1,
        MARKET,
        0,
        0,
        1,
        1024,
        4096,
        2**62,
        2**64 - 1,
        2**32 - 1,
        0,
        record.crc,
    )
    assert (bytes(record.payload), record.end) == (b"payload", writer.durable)
    assert writer.next_seq == 1025


@pytest.mark.parametrize("length", range(18))
def test_payloads_of_every_kind_and_alignment_are_copied_as_bytes(length):
    """A frame's records, a view of one, bytes: the same journal. Old bytes never show in zeros."""
    data = bytes(range(1, length + 1))
    disk = SimulatedDisk()
    writer: LocalLog = start(disk)
    add(writer, b"\xff" * 900)
    writer.commit()
    frame = np.frombuffer(data, np.dtype([("a", "u1")]))
    for payload in (data, memoryview(data), bytearray(data), frame, frame.view(np.uint8)):
        add(writer, payload)
    writer.commit()
    assert [r[3] for r in records(disk, writer.end)[1:]] == [data] * 5
    assert (
        disk.get(segment_name(0))[writer.end - (-length & 7) : writer.end].count(0) == -length & 7
    )


def test_a_wide_record_array_is_copied_whole():
    disk = SimulatedDisk()
    writer = start(disk)
    frame = np.zeros(12, np.dtype([("id", "<u8"), ("price", "<i8"), ("flags", "<u4")]))
    frame["id"] = range(12)
    add(writer, frame)
    frame["id"] = 0  # The payload was copied: the caller's buffer is free again.
    writer.commit()
    (record,) = JournalReader(disk).read(writer.end)
    assert np.frombuffer(record.payload, frame.dtype)["id"].tolist() == list(range(12))


def test_what_no_record_can_have_is_refused_and_adds_nothing():
    disk = SimulatedDisk()
    writer = start(disk)
    add(writer, b"one", seq=1, count=1)
    end = writer.end
    for payload, seq, kind in [
        (bytes(SEGMENT_BYTES - 2 * HEADER_BYTES + 1), 2, Kind.RARE),
        (b"", 1, Kind.RARE),
        (b"", 3, Kind.RARE),
        (b"", 2, Kind.PAD),
        (b"", 2, 0),
    ]:
        with pytest.raises(ValueError, match=r"record|number"):
            add(writer, payload, seq=seq, kind=kind)
    with pytest.raises(struct.error):
        writer.append(Kind.RARE, b"", seq=2, count=0, agent=-1, epoch=0, message=0, at_ns=0)
    assert (writer.end, writer.next_seq) == (end, 2)
    add(writer, b"two", seq=2, count=1)
    writer.commit()
    assert [r[3] for r in records(disk, writer.end)] == [b"one", b"two"]


def test_a_round_is_one_write_and_one_sync_and_an_empty_round_is_nothing():
    disk, rng, book = SimulatedDisk(), random.Random(1), Book()
    writer = start(disk, segment_bytes=1 << 20)
    del disk.log[:]
    for _ in range(200):
        book.append(writer, rng)
    assert disk.log == []
    book.commit(writer)
    assert disk.log == ["write", "sync"]
    writer.commit()
    assert disk.log == ["write", "sync"]
    assert writer.durable == writer.end


def test_nothing_is_durable_before_the_commit():
    writer = start(SimulatedDisk())
    add(writer, b"x")
    assert (writer.durable, writer.end) == (0, 88)


@pytest.mark.parametrize("spare", range(0, 240, 8))
def test_records_that_end_anywhere_near_the_segments_end_leave_no_gap(spare):
    """The last record leaves 0 to 240 bytes: nothing, less than a PAD's header, more."""
    disk = SimulatedDisk()
    writer = start(disk)
    first = SEGMENT_BYTES - 2 * HEADER_BYTES - 240
    add(writer, bytes(first))
    room = SEGMENT_BYTES - writer.end
    add(writer, b"a" * (room - HEADER_BYTES - spare))
    add(writer, b"b")
    writer.commit()
    assert writer.end < 2 * SEGMENT_BYTES
    found = records(disk, writer.end)
    assert [len(r[3]) for r in found] == [first, room - HEADER_BYTES - spare, 1]
    for position, *_ in found:
        assert position % 8 == 0
    disk.restart()
    assert recover(disk, MARKET).end_position == writer.end


def test_a_segment_filled_to_its_last_byte_is_followed_by_the_next():
    """Killed right there, before the next segment exists: the restart begins it."""
    disk = SimulatedDisk()
    writer = start(disk)
    half = SEGMENT_BYTES // 2 - HEADER_BYTES
    add(writer, bytes(half))
    add(writer, bytes(half))
    writer.commit()
    assert writer.end == SEGMENT_BYTES
    disk.restart()
    writer = start(disk)
    assert writer.end == SEGMENT_BYTES
    add(writer, b"next")
    writer.commit()
    assert segment_name(SEGMENT_BYTES) in disk.names()
    assert [len(r[3]) for r in records(disk, writer.end)] == [half, half, 4]


def test_retired_segments_are_used_again_and_the_folder_does_not_grow():
    disk, rng, book = SimulatedDisk(), random.Random(2), Book()
    writer = start(disk)
    most = 0
    while writer.end < 40 * SEGMENT_BYTES:
        book.append(writer, rng)
        book.commit(writer)
        writer.recycle(writer.durable)
        most = max(most, len(disk.names()))
    assert most <= 5
    assert sum(what.startswith("create") for what in disk.log) <= 3
    kept = sorted(p for n in disk.names() if (p := segment_first(n)) is not None)
    assert len(kept) == 2
    assert records(disk, writer.end, kept[0]) == [w for w in book.written if w[0] >= kept[0]]


def test_another_segment_size_takes_over_at_the_next_segment():
    disk, rng, book = SimulatedDisk(), random.Random(3), Book()
    for size in (4096, 16384, 8192, 4096):
        writer = start(disk, segment_bytes=size)
        for _ in range(40):
            book.append(writer, rng)
        book.commit(writer)
        disk.restart()
        assert records(disk, recover(disk, MARKET).end_position) == book.written
        disk.restart()
    with pytest.raises(ValueError, match="segment_bytes"):
        start(disk, segment_bytes=5000)


def test_two_writers_never_share_a_folder(tmp_path: Path):
    one, two = FileStorage(tmp_path), FileStorage(tmp_path)
    writer = start(one)
    with pytest.raises(JournalBusy):
        recover(two, MARKET)
    writer.close()
    one.shut()
    recover(two, MARKET)
    two.shut()


def test_a_closed_writer_refuses():
    writer = start(SimulatedDisk())
    writer.close()
    writer.close()
    with pytest.raises(JournalFailed):
        writer.commit()


def test_the_real_folder_does_what_the_simulated_one_does(tmp_path: Path):
    """The same run on both: same names, same bytes."""
    real, simulated = FileStorage(tmp_path), SimulatedDisk()
    for storage in (real, simulated):
        rng, book = random.Random(5), Book()
        writer: JournalWriter = start(storage)
        while writer.end < 10 * SEGMENT_BYTES:
            book.append(writer, rng)
            if rng.random() < 0.4:
                book.commit(writer)
                writer.recycle(max(0, writer.durable - 2 * SEGMENT_BYTES))
        book.commit(writer)
        writer.close()
    assert sorted(real.names()) == sorted(simulated.names())
    for name in real.names():
        assert (tmp_path / name).read_bytes() == simulated.get(name), name
    assert (tmp_path / name).stat().st_mode & 0o077 == 0
    real.shut()
