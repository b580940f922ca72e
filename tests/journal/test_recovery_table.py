"""D5: damage behind the acknowledged end halts with its place; only a torn tail is cleared."""

import random
import struct
from collections.abc import Callable
from itertools import product
from typing import Any
from zlib import crc32

import pytest

from exchange.journal import JournalDamaged, recover, survey
from exchange.journal.record import HEADER_BYTES, Kind, encode, padded
from exchange.journal.recovery import TABLE, Act, decide
from exchange.journal.storage import segment_name
from exchange.journal.walk import Stands
from tests.journal.book import MARKET, SEGMENT_BYTES, Book, records, start
from tests.journal.disk import SimulatedDisk

FIRST = segment_name(0)


def test_every_combination_of_facts_has_exactly_one_row():
    facts = list(product(Stands, [False, True], [False, True]))
    for stands, behind, beyond in facts:
        fitting = [
            r for r in TABLE if stands in r.stands and behind in r.behind and beyond in r.beyond
        ]
        assert len(fitting) == 1, (stands, behind, beyond, [r.name for r in fitting])
        assert decide(stands, behind=behind, beyond=beyond) is fitting[0]
    assert len({row.name for row in TABLE}) == len(TABLE)


def test_nothing_proven_durable_is_ever_cleared():
    for row in TABLE:
        if True in row.beyond:
            assert row.act is Act.HALT, row.name


def three_rounds(disk: SimulatedDisk) -> Book:
    """Three rounds of one 64-byte record (144 bytes each on disk)."""
    writer, book = start(disk), Book()
    for n in range(3):
        position = writer.append(
            Kind.RARE,
            bytes([n + 1]) * 64,
            seq=writer.next_seq,
            count=1,
            agent=1,
            epoch=1,
            message=n + 1,
            at_ns=n,
        )
        book.written.append((position, n + 1, 1, bytes([n + 1]) * 64))
        book.commit(writer)
    writer.close()
    disk.restart()
    return book


def patch(disk: SimulatedDisk, offset: int, data: bytes, name: str = FIRST) -> None:
    whole = bytearray(disk.get(name))
    whole[offset : offset + len(data)] = data
    disk.put(name, bytes(whole))


def hurt(disk: SimulatedDisk, *offsets: int) -> None:
    """Spoil single bytes."""
    for offset in offsets:
        patch(disk, offset, b"?")


def nothing(disk: SimulatedDisk) -> None:
    """No accident."""


def hole(disk: SimulatedDisk) -> None:
    """Cut the first segment short though a later one was begun."""
    disk.put(FIRST, disk.get(FIRST)[:END])
    disk.put(segment_name(8192), b"")


def forged(position: int, *, market: int = MARKET, prior: int = 0, synced: int = 0) -> bytes:
    """A record that is good in itself."""
    into = memoryview(bytearray(padded(8)))
    encode(into, 0, b"whatever", Kind.RARE, market, position, synced, 4, 1, 1, 0, 1, 1, prior)
    return bytes(into)


def newer(position: int) -> bytes:
    """A header of version 2, sound in itself."""
    head = bytearray(forged(position))
    struct.pack_into("<H", head, 10, 2)
    struct.pack_into("<I", head, 76, crc32(head[4:76]))
    return bytes(head)


END = 3 * 144
ROUND = 144

# name of the row, what happened to the folder after three rounds, what the page says, the end
CASES: list[tuple[str, Callable[[SimulatedDisk], Any], int | None, int]] = [
    ("fresh", lambda d: d.put(FIRST, None), None, 0),
    ("gone", lambda d: d.put(FIRST, None), END, 0),
    ("clean end", nothing, END, END),
    ("clean end", nothing, None, END),
    ("clean end", lambda d: d.put(FIRST, d.get(FIRST)[:END]), END, END),
    # The segment was made and nothing written; or made and never allocated.
    ("clean end", lambda d: d.put(FIRST, bytes(SEGMENT_BYTES)), None, 0),
    ("clean end", lambda d: d.put(FIRST, b""), None, 0),
    ("stale bytes", lambda d: patch(d, END, forged(7 * 4096)), END, END),
    ("stale bytes", lambda d: patch(d, END + 1000, b"x"), END, END),
    # A header of an earlier position is no evidence, whatever it says.
    ("stale bytes", lambda d: patch(d, END, forged(7 * 4096, synced=7 * 4096)), END, END),
    ("torn tail", lambda d: patch(d, END + 80, forged(END + 80, synced=END)), END, END),
    ("torn tail", lambda d: patch(d, END, b"?" * 80 + forged(END + 80)), None, END),
    ("torn record", lambda d: patch(d, END, forged(END)[:80] + b"WHATEVER"), END, END),
    ("torn record", lambda d: patch(d, 2 * ROUND + 100, b"?"), 2 * ROUND, 2 * ROUND),
    ("torn record", lambda d: d.put(FIRST, d.get(FIRST)[: END - 1]), None, 2 * ROUND),
    ("lost", lambda d: patch(d, 2 * ROUND, bytes(ROUND)), END, 2 * ROUND),
    # Without a page, a later record's `synced` proves that the one before was acknowledged.
    ("lost", lambda d: patch(d, ROUND, bytes(ROUND)), None, ROUND),
    # ... even where of that later record only the header is left.
    ("damaged", lambda d: patch(d, ROUND + 90, b"?" * (2 * ROUND - 10)), END, ROUND),
    ("damaged", lambda d: hurt(d, ROUND + 90, END - 8), None, ROUND),
    ("damaged", lambda d: patch(d, ROUND + 90, b"?"), None, ROUND),
    ("two histories", lambda d: patch(d, END, forged(END, prior=1)), None, END),
    ("another market", lambda d: patch(d, END, forged(END, market=5)), None, END),
    ("another market", lambda d: patch(d, 0, forged(0, market=5)), None, 0),
    ("newer", lambda d: patch(d, END, newer(END)), None, END),
    ("missing segment", hole, None, END),
]


@pytest.mark.parametrize("row, accident, durable, end", CASES)
def test_each_row_does_what_it_says(row, accident, durable, end):
    """Goal: end, act and place for one folder per row. The page may know less than the disk."""
    disk = SimulatedDisk()
    book = three_rounds(disk)
    accident(disk)
    before = {name: disk.get(name) for name in disk.names()}

    found = survey(disk, MARKET, durable)
    act = found.row.act
    assert (found.row.name, found.end) == (row, end)

    if act is Act.HALT:
        with pytest.raises(JournalDamaged) as caught:
            recover(disk, MARKET, durable)
        assert caught.value.position == end
        assert caught.value.path.startswith("/simulated/journal-")
        assert f"--truncate {end}" in caught.value.manual
        assert {name: disk.get(name) for name in disk.names()} == before
        return
    recovered = recover(disk, MARKET, durable)
    kept = sum(1 for position, *_ in book.written if position < end)
    assert (recovered.end_position, recovered.next_seq) == (end, kept + 1)
    assert (recovered.trimmed_bytes > 0) == (act is Act.CLEAR)
    if FIRST in disk.names():
        assert not any(disk.get(FIRST)[end:])
    disk.restart()
    again = recover(disk, MARKET, durable)
    assert (again.row, again.trimmed_bytes) == ("fresh" if row == "fresh" else "clean end", 0)
    assert records(disk, end) == book.written[:kept]


def test_every_row_has_a_case():
    assert {case[0] for case in CASES} == {row.name for row in TABLE}


def several_segments(disk: SimulatedDisk) -> Book:
    rng, book = random.Random(7), Book()
    writer = start(disk)
    while writer.end < 4 * SEGMENT_BYTES + 1000:
        book.append(writer, rng)
        book.commit(writer)
    writer.close()
    disk.restart()
    return book


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_missing_segment_in_the_middle_halts_and_is_named(number):
    disk = SimulatedDisk()
    several_segments(disk)
    name = segment_name(number * SEGMENT_BYTES)
    disk.put(name, None)
    with pytest.raises(JournalDamaged, match="a segment, or the end of one, is missing") as caught:
        recover(disk, MARKET)
    assert caught.value.position == number * SEGMENT_BYTES
    assert caught.value.path.endswith(name)


def test_damage_in_a_full_segment_halts_with_nothing_but_the_next_segments_name_as_proof():
    disk = SimulatedDisk()
    several_segments(disk)
    patch(disk, SEGMENT_BYTES - 200, bytes(200), segment_name(SEGMENT_BYTES))
    disk.put(segment_name(4 * SEGMENT_BYTES), b"")
    with pytest.raises(JournalDamaged, match="was begun"):
        recover(disk, MARKET)


def test_two_segments_swapped_halt():
    disk = SimulatedDisk()
    several_segments(disk)
    one, two = segment_name(SEGMENT_BYTES), segment_name(2 * SEGMENT_BYTES)
    first, second = disk.get(one), disk.get(two)
    disk.put(one, second)
    disk.put(two, first)
    with pytest.raises(JournalDamaged) as caught:
        recover(disk, MARKET)
    assert caught.value.position == SEGMENT_BYTES


def test_a_folder_of_another_market_is_refused():
    disk = SimulatedDisk()
    three_rounds(disk)
    with pytest.raises(JournalDamaged, match="another market"):
        recover(disk, MARKET + 1)


def test_the_market_is_learned_from_the_records_and_asked_for_where_there_are_none():
    disk = SimulatedDisk()
    with pytest.raises(ValueError, match="market"):
        recover(disk, None)
    disk = SimulatedDisk()
    three_rounds(disk)
    assert recover(disk, None).market == MARKET


def test_what_a_recycled_segment_still_holds_is_never_taken_for_new():
    """An old segment's records are good in every respect but their position."""
    disk = SimulatedDisk()
    rng, book = random.Random(3), Book()
    writer = start(disk)
    while writer.end < 8 * SEGMENT_BYTES:
        book.append(writer, rng)
        book.commit(writer)
        writer.recycle(max(0, writer.end - SEGMENT_BYTES))
    first = min(n for n in disk.names() if n.startswith("journal-"))
    last = max(n for n in disk.names() if n.startswith("journal-"))
    assert any(disk.get(last)[writer.end % SEGMENT_BYTES :])  # It was one of the old ones.
    end = writer.end
    disk.restart()
    recovered = recover(disk, MARKET)
    assert recovered.end_position == end
    assert recovered.first_position == int(first[8:28]) > 0
    assert recovered.row in {"stale bytes", "clean end"}
    kept = [w for w in book.written if w[0] >= recovered.first_position]
    assert records(disk, end, recovered.first_position) == kept
    assert recovered.next_seq == kept[-1][1] + kept[-1][2]


def test_a_journal_that_lost_all_but_an_empty_last_segment_halts():
    """Nothing would tell which number is next; to begin again at 1 would be a guess."""
    disk = SimulatedDisk()
    disk.put(segment_name(SEGMENT_BYTES), bytes(SEGMENT_BYTES))
    with pytest.raises(JournalDamaged, match="missing"):
        recover(disk, MARKET)


def test_recovery_from_a_snapshots_position_gives_the_same_end():
    disk = SimulatedDisk()
    book = several_segments(disk)
    whole = survey(disk, MARKET)
    for position, *_ in book.written:
        part = survey(disk, MARKET, from_position=position)
        assert part == whole


def test_a_header_behind_the_end_that_claims_more_than_can_be_is_no_evidence():
    """`synced` never exceeds the record's own position; one that does was not written by us."""
    disk = SimulatedDisk()
    three_rounds(disk)
    patch(disk, END + HEADER_BYTES, forged(END + HEADER_BYTES, synced=END + 4096))
    assert recover(disk, MARKET).row == "torn tail"
