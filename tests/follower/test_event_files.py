"""The follower's event files: whole batches or nothing, from any place, after any stop."""

import os

import pytest

from exchange.follower import event_files
from exchange.follower.event_files import EventFilesDamaged, EventReader, EventWriter
from tests.follower.rows import batch, batches, event, same

MARKET = 7


def write(folder, made, segment_bytes=1_000):
    writer = EventWriter(folder, MARKET, segment_bytes=segment_bytes)
    for each in made:
        if each.begin >= writer.end:
            writer.append(each)
    writer.close()
    return writer


def read_all(reader):
    found = []
    while (each := reader.read()) is not None:
        found.append(each)
    return found


def test_what_was_written_is_read_over_segments(tmp_path):
    made = batches(20)
    write(tmp_path, made)
    assert len(event_files.segments(tmp_path)) > 3
    found = read_all(EventReader(tmp_path, MARKET))
    assert len(found) == 20
    assert all(map(same, found, made))


def test_a_reader_starts_at_any_position_and_any_sequence_number(tmp_path):
    made = batches(12)
    write(tmp_path, made)
    for n, each in enumerate(made):
        assert all(map(same, read_all(EventReader(tmp_path, MARKET, each.begin)), made[n:]))
        # Inside a batch: that batch comes whole, and `since` takes off what is known.
        assert same(EventReader(tmp_path, MARKET, each.begin + 8).read(), each)
        for seq in range(each.first_seq, each.next_seq):
            reader = EventReader(tmp_path, MARKET)
            reader.seek_seq(seq)
            rest = reader.read().since(seq)
            assert rest.events["seq"].tolist() == [
                s for s in each.events["seq"].tolist() if s >= seq
            ]
    reader = EventReader(tmp_path, MARKET)
    reader.seek_seq(made[-1].next_seq)
    assert reader.read() is None


def test_a_reader_follows_the_writer_and_waits_at_the_end(tmp_path):
    reader = EventReader(tmp_path / "not yet", MARKET)
    assert reader.read() is None
    writer = EventWriter(tmp_path / "not yet", MARKET, segment_bytes=1_500)
    for each in batches(15):
        assert reader.read() is None
        writer.append(each)
        assert same(reader.read(), each)


def test_cut_at_every_byte_a_prefix_is_kept_and_the_rest_written_again(tmp_path):
    made = batches(4)
    write(tmp_path, made, segment_bytes=10**6)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    ends = [0]
    for each in made:
        ends.append(ends[-1] + sum(map(len, event_files.encode(MARKET, each))))
    assert ends[-1] == len(whole)
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        kept = sum(cut >= end for end in ends[1:])
        reader = EventReader(tmp_path, MARKET)
        assert len(read_all(reader)) == kept  # never half a batch
        writer = write(tmp_path, made, segment_bytes=10**6)  # takes up where `end` says
        assert writer.end == made[-1].end
        assert path.read_bytes() == whole
        assert len(read_all(reader)) == 4 - kept  # the reader that stood there goes on


def test_no_segment_is_begun_before_the_one_before_it_is_durable(tmp_path, monkeypatch):
    """Goal: after a crash only the end is gone, so that what is missing is written again."""
    synced = set()
    sync = os.fdatasync

    def fdatasync(handle):
        synced.add(os.fstat(handle).st_ino)
        sync(handle)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    writer = EventWriter(tmp_path, MARKET, segment_bytes=1_500)
    for each in batches(15):
        writer.append(each)
        kept = {path.stat().st_ino for path in tmp_path.iterdir()}
        assert len(kept - synced) == 1  # the newest
    assert len(kept) > 3
    writer.sync()
    assert synced == kept
    writer.close()


def test_no_flipped_byte_is_read_as_another_event(tmp_path, long):
    made = batches(4)
    write(tmp_path, made, segment_bytes=10**6)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for place in range(0, len(whole), 1 if long else 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        found = read_all(EventReader(tmp_path, MARKET))
        assert len(found) < 4
        assert all(map(same, found, made))


def test_damage_before_a_later_segment_is_said_and_not_waited_for(tmp_path):
    write(tmp_path, batches(12), segment_bytes=1_000)
    first = tmp_path / event_files.segment_name(0)
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.write_bytes(data)
    with pytest.raises(EventFilesDamaged, match="no whole batch"):
        read_all(EventReader(tmp_path, MARKET))


def test_files_written_anew_with_other_cuts_are_gone_on_with(tmp_path):
    """The follower lost its files while the ledger writer was reading them."""
    write(tmp_path, batches(4))
    reader = EventReader(tmp_path, MARKET)
    assert len(read_all(reader)) == 4
    for path in tmp_path.iterdir():
        path.unlink()
    assert reader.read() is None
    both = [
        batch(0, 240, 1, 10, [event("fill", 2)]),
        batch(240, 400, 10, 16, [event("fill", s) for s in (11, 12, 13, 14)]),
        batch(400, 480, 16, 19, [event("fill", 17)]),
    ]
    write(tmp_path, both)
    # The reader had everything before 320, where command 13 is the next one.
    assert [s for each in read_all(reader) for s in each.since(13).events["seq"]] == [13, 14, 17]


def test_another_markets_files_are_not_read(tmp_path):
    write(tmp_path, batches(3))
    assert EventReader(tmp_path, MARKET + 1).read() is None
