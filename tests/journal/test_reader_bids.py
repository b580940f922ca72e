"""Frames of bids taken together are those that are read one by one; no damaged one is among them."""

import random

import numpy as np
import pytest

from exchange.journal import JournalDamaged, JournalReader
from exchange.journal.record import Kind
from exchange.journal.recovery import recover
from exchange.journal.storage import Storage
from exchange.journal.writer import JournalWriter
from exchange.kernels import pack
from schemas import records
from schemas.frames import encode_records
from schemas.records import BID_RECORD, RENEW_RECORD
from tests.journal.disk import SimulatedDisk

MARKET = 7
SEGMENT_BYTES = 1 << 14


def write(disk, rng, rounds):
    """Write rounds of frames of bids, now and then flagged, with other records between them."""
    writer = JournalWriter(disk, recover(disk, MARKET), segment_bytes=SEGMENT_BYTES)
    for at_ns in range(1, rounds + 1):
        for _ in range(rng.randrange(1, 6)):
            count = rng.choice((1, 1, 1, 2, 20))
            agent, message = rng.randrange(1, 5), rng.randrange(1, 2**40)
            where = {"seq": writer.next_seq, "agent": agent, "epoch": 3, "at_ns": at_ns}
            kind = rng.randrange(8)
            if kind == 0:
                renews = encode_records(records.RENEW, np.ones(count, RENEW_RECORD), message)
                writer.append(Kind.FRAME, renews, count=count, message=message, **where)
            elif kind == 1:
                writer.append(Kind.RARE, rng.randbytes(33), count=1, message=message, **where)
            else:
                bids = np.frombuffer(rng.randbytes(64 * count), BID_RECORD).copy()
                bids["flags"] &= 0xFFFE
                if kind == 2:
                    bids["flags"][rng.randrange(count)] |= records.FLAG_EXPLAIN
                frame = encode_records(records.BID, bids, message)
                writer.append(Kind.FRAME, frame, count=count, message=message, **where)
        writer.commit()
    return writer.durable


def plain(record):
    """What is asked of a record here, with the payload's bids."""
    payload = bytes(record.payload)
    return (
        record.seq, record.count, record.agent, record.at_ns, record.message, record.epoch, payload,
    )  # fmt: skip


def together(disk: Storage, upto: int):
    """Read all there is, in batches where there are any; (records, how many were of batches)."""
    reader = JournalReader(disk, market=MARKET)
    found, taken = [], 0
    while reader.position < upto:
        bids = reader.bids(upto)
        if bids is None:
            record = next(reader.read(upto), None)
            if record is not None:
                found.append(plain(record))
            continue
        for at, count, agent, epoch, message in bids.runs.tolist():
            batch = bids.records[at : at + count].copy()
            assert not (batch["flags"] & records.FLAG_EXPLAIN).any()
            payload = encode_records(records.BID, batch, message)
            where = (bids.seq + at, count, agent, bids.at_ns, message, epoch)
            found.append((*where, payload))
            taken += 1
    return found, taken


def test_frames_of_bids_together_are_those_one_by_one():
    """Random journals over many segments: the same records, in order, and most of them together."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    disk = SimulatedDisk(1)
    upto = write(disk, rng, 120)
    one_by_one = [plain(record) for record in JournalReader(disk, market=MARKET).read(upto)]
    found, taken = together(disk, upto)
    assert found == one_by_one
    assert taken > len(found) // 3


def test_no_flipped_bit_of_a_frame_of_bids_is_taken():
    """Promise D4 for what is read together: every bit of three records of one round."""
    disk = SimulatedDisk(1)
    writer = JournalWriter(disk, recover(disk, MARKET), segment_bytes=SEGMENT_BYTES)
    batch = np.zeros(3, BID_RECORD)
    batch["bid"] = (1, 2, 3)
    runs = np.array([(0, 1, 1, 1, 1), (1, 1, 2, 1, 1), (2, 1, 1, 1, 2)], np.int64)
    assert runs.shape[1] == pack.RUN_WORDS
    writer.append_frames(records.BID, batch.view(np.int64).reshape(-1, 8), runs, at_ns=1)
    upto = writer.commit()
    (name,) = [name for name in disk.names() if name.startswith("journal-")]
    handle = disk.open(name)
    sound, _ = together(disk, upto)
    for bit in range(8 * upto):
        octet = disk.read_at(handle, 1, bit // 8)
        disk.write_at(handle, bytes((octet[0] ^ 1 << bit % 8,)), bit // 8)
        whole = bit // 8 // (upto // 3)  # so many records stand before the damage
        with pytest.raises(JournalDamaged) as damage:
            together(disk, upto)
        assert damage.value.position == whole * (upto // 3)
        disk.write_at(handle, octet, bit // 8)
    assert together(disk, upto)[0] == sound
