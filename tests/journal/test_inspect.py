"""The manual path: what an operator sees of a journal, and how it is cut by hand."""

import json
from pathlib import Path

import pytest

from exchange.journal import (
    PAGE_NAME,
    DurablePage,
    FileStorage,
    JournalBusy,
    JournalDamaged,
    recover,
)
from exchange.journal.inspect import main, truncate
from exchange.journal.storage import segment_name
from tests.journal.book import MARKET, SEGMENT_BYTES, Book, filled, records, start
from tests.journal.disk import SimulatedDisk


@pytest.fixture
def folder(tmp_path: Path) -> tuple[Path, Book]:
    """A journal of four segments with its page, no process on it."""
    storage = FileStorage(tmp_path)
    book = filled(storage, 1, until=3 * SEGMENT_BYTES + 500, segment_bytes=SEGMENT_BYTES)
    page = DurablePage(tmp_path / PAGE_NAME, create=True)
    end = recover(storage, MARKET).end_position
    page.publish(end, 1)
    page.close()
    storage.shut()
    return tmp_path, book


def spoil(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_a_whole_journal_is_shown_record_by_record(folder, capsys):
    path, book = folder
    before = {p.name: p.read_bytes() for p in path.iterdir()}
    assert main([str(path), "--json"]) == 0
    *shown, verdict = map(json.loads, capsys.readouterr().out.splitlines())
    assert [(r["position"], r["seq"], r["count"], r["bytes"]) for r in shown] == [
        (position, seq, count, len(payload)) for position, seq, count, payload in book.written
    ]
    assert (verdict["row"], verdict["act"], verdict["market"]) == ("clean end", "keep", MARKET)
    assert {p.name: p.read_bytes() for p in path.iterdir()} == before

    assert main([str(path), "--from", str(book.written[-1][0])]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_damage_is_shown_with_its_place_and_the_way_out_works_as_printed(folder, capsys):
    """Follow the printed manual: look, truncate, start again. Nothing is destroyed."""
    path, book = folder
    victim = book.written[len(book.written) // 2]
    damaged = path / segment_name(victim[0] // SEGMENT_BYTES * SEGMENT_BYTES)
    spoil(damaged, victim[0] % SEGMENT_BYTES + 20)
    spoilt = damaged.read_bytes()
    later = {p.read_bytes() for p in path.glob("journal-*") if p.name > damaged.name}

    assert main([str(path), "--quiet", "--json"]) == 1
    verdict = json.loads(capsys.readouterr().out)
    assert (verdict["end"], verdict["path"]) == (victim[0], str(damaged))
    command = verdict["manual"].split("exchange.journal.inspect")[-1].split("`")[0].split()
    assert command == [str(path), "--truncate", str(victim[0])]

    assert main([*command, "--quiet", "--json"]) == 0
    *aside, verdict = map(json.loads, capsys.readouterr().out.splitlines())
    assert (verdict["end"], verdict["row"]) == (victim[0], "clean end")
    kept_aside = {Path(a["aside"]).read_bytes() for a in aside}
    assert later | {spoilt} < kept_aside

    storage = FileStorage(path)
    page = DurablePage(path / PAGE_NAME, create=True)
    writer = start(storage, durable=page.read()[0], page=page)
    assert records(storage, writer.end) == [w for w in book.written if w[0] < victim[0]]
    writer.close()
    page.close()
    storage.shut()


def test_a_missing_segment_can_be_given_up_too():
    disk = SimulatedDisk()
    book = filled(disk, 1, until=3 * SEGMENT_BYTES + 500, segment_bytes=SEGMENT_BYTES)
    disk.restart()
    disk.put(segment_name(SEGMENT_BYTES), None)
    with pytest.raises(JournalDamaged) as caught:
        recover(disk, MARKET)
    disk.restart()
    aside = truncate(disk, caught.value.position)
    assert {name.partition("-")[0] for name in aside} == {"aside"}
    disk.restart()
    writer = start(disk)
    assert records(disk, writer.end) == [w for w in book.written if w[0] < SEGMENT_BYTES]


def test_every_good_boundary_can_be_cut_at_and_nothing_else():
    plain = SimulatedDisk()
    book = filled(plain, 2, until=SEGMENT_BYTES + 500, segment_bytes=SEGMENT_BYTES)
    end = book.written[-1][0] + 8
    boundaries = {w[0] for w in book.written}
    for position in range(0, end, 8):
        disk = plain.copy(0)
        if position in boundaries:
            truncate(disk, position)
            disk.restart()
            expected = [w for w in book.written if w[0] < position]
            assert records(disk, start(disk).end) == expected
        elif position % SEGMENT_BYTES:  # A PAD's position is a boundary as well.
            before = {name: disk.get(name) for name in disk.names()}
            try:
                truncate(disk, position)
            except ValueError:
                assert {name: disk.get(name) for name in disk.names()} == before
            else:
                disk.restart()
                assert start(disk).end == position


def test_nothing_is_cut_under_a_running_exchange(folder, capsys):
    path, _ = folder
    storage = FileStorage(path)
    writer = start(storage)
    assert main([str(path), "--truncate", "0"]) == 1
    assert "another process" in capsys.readouterr().err
    with pytest.raises(JournalBusy):
        truncate(FileStorage(path), 0)
    writer.close()
    storage.shut()


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path):
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path / "none")])
    assert caught.value.code == 2
