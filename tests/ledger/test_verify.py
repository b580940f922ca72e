"""A market that really lived: its ledger is the fold of its journal, and `verify` can tell.

The oracle is `story.fold`, over the commands and events that the market itself said by name while it
lived; it sees neither journal nor event files nor rows.
"""

import json
import shutil
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from exchange.commands import clear, export, replay, verify
from exchange.follower.core import Follower
from exchange.follower.event_files import EventReader
from exchange.ledger import fold as plain
from exchange.ledger.main import gather
from exchange.ledger.writer import LedgerWriter, connector
from matching_core.engines import ENGINES
from matching_core.market_file import format_events
from matching_core.rows import rows
from schemas import events as e
from schemas.token import TokenMaker
from tests.follower.living import Living
from tests.ledger.story import dump, empty, fold, stored

cli = CliRunner()


@pytest.fixture(scope="module")
def living(tmp_path_factory):
    """A data folder in which a market lived and a follower followed it."""
    market = Living(tmp_path_factory.mktemp("living") / "data", seed=8)
    market.open()
    market.live(300)
    follow(market)
    market.live(300)
    follow(market)
    return market


def follow(market):
    tokens = TokenMaker(market.keys.token_secret_bytes, market.keys.market)
    follower = Follower(market.folders, market.keys.market, tokens, lambda _: None)
    while follower.round(market.writer.durable, 0):
        pass
    assert follower.save(0) is not None
    follower.close()


@pytest.fixture
def written(living, dsn):
    """A database with the market's ledger."""
    number = living.keys.market
    writer = LedgerWriter(connector(dsn), number)
    reader = EventReader(living.config.events_folder, number)
    while batches := gather(reader):
        writer.write(batches)
    reader.close()
    writer.close()
    return dsn


def run(app, *arguments):
    return cli.invoke(app.app, [str(argument) for argument in arguments])


def said_live(living):
    told: list[Any] = [entry for _, entry in living.history if isinstance(entry, e.Event)]
    return format_events(told)


def checked(living, *arguments):
    result = run(verify, living.config.data, "--json", "--wait", 0, *arguments)
    return result.exit_code, json.loads(result.stdout)


def test_the_ledger_of_a_lived_market_is_the_fold_of_what_it_said(living, written):
    """L2, through journal, core, event files and PostgreSQL, against the definition by names."""
    books = fold(living.history)
    assert stored(written, living.keys.market) == books
    assert len(books.settlements) > 20
    assert books.disputes
    # And A1: what the core itself counts is what the ledger says.
    said = plain.core_accounts(rows(living.market.columns, living.market.names))
    for kind in ("available", "held", "balance"):
        assert said[kind] == {m: amount for (k, m), amount in books.accounts.items() if k == kind}
    assert said[""] == {k: amount for (k, m), amount in books.accounts.items() if not m}


def test_verify_finds_that_all_agree(living, written):
    code, report = checked(living, "--dsn", written)
    assert report["differences"] == []
    assert code == 0
    assert report["journal_ok"] is report["ledger_ok"] is True
    assert report["snapshots"] == 2
    assert report["digest"] == living.market.digest()
    assert report["position"] == report["ledger_position"] == living.writer.end
    assert report["commands"] == living.market.seq


@pytest.mark.parametrize(
    "statement, table",
    [
        ("UPDATE curb.fills SET price = price + 1 WHERE fill = 3", "fills"),
        ("DELETE FROM curb.fills WHERE fill = 4", "fills"),
        ("UPDATE curb.fills SET country = 'XX' WHERE fill = 5", "fills"),
        ("DELETE FROM curb.settlements WHERE fill = (SELECT min(fill) FROM curb.settlements)",
         "settlements"),
        ("UPDATE curb.disputes SET buyer_figure = buyer_figure + 1", "disputes"),
        ("UPDATE curb.transfers SET amount = 7 WHERE seq = (SELECT min(seq) FROM curb.transfers)",
         "transfers"),
        ("UPDATE curb.postings SET amount = amount + sign(account - counter)", "postings"),
        (("DELETE FROM curb.postings WHERE amount IN (SELECT max(abs(amount)) FROM curb.postings "
         "UNION SELECT -max(abs(amount)) FROM curb.postings)"), "postings"),
        (("UPDATE curb.accounts SET balance = balance + CASE kind WHEN 'fees' THEN 1 ELSE -1 END "
         "WHERE kind IN ('fees', 'outside')"), "accounts"),
        ("UPDATE curb.participants SET owner_group = 'mine' WHERE handle = 1", "participants"),
        ("UPDATE curb.names SET owner = 2 WHERE kind = 'site' AND handle = 1", "names"),
        (("INSERT INTO curb.disputes SELECT market, 999999, 999999, 0, 0, 1, 1, 0, 0 "
         "FROM curb.progress"), "disputes"),
        ("UPDATE curb.progress SET next_seq = next_seq - 1", "progress"),
    ],
)  # fmt: skip
def test_verify_names_what_was_tampered_with(living, written, statement, table):
    """Each table, each kind of change that the database's own constraints let through."""
    with psycopg.connect(written) as connection:
        assert connection.execute(statement).rowcount > 0
    code, report = checked(living, "--dsn", written)
    assert code == 1
    assert report["journal_ok"] is True
    assert report["ledger_ok"] is False
    assert any(each.startswith(f"{table}:") for each in report["differences"])


def test_a_ledger_that_is_behind_or_not_there_is_said(living, dsn):
    code, report = checked(living, "--dsn", dsn)
    assert (code, report["journal_ok"], report["ledger_ok"]) == (1, True, False)
    assert "at position 0" in report["differences"][0]
    code, report = checked(living, "--dsn", "postgresql://127.0.0.1:1/none?connect_timeout=1")
    assert (code, report["journal_ok"], report["ledger_ok"]) == (1, True, False)
    assert report["digest"] == living.market.digest()


def test_rebuilt_from_the_events_of_another_follower_the_rows_are_the_same(living, written):
    """L3: event files lost and written again with other cuts, database empty: the same rows."""
    before = dump(written)
    shutil.rmtree(living.config.events_folder)
    follow_again = Follower(
        living.folders, living.keys.market,
        TokenMaker(living.keys.token_secret_bytes, living.keys.market), lambda _: None,
    )  # fmt: skip
    while follow_again.round(living.writer.durable, 0):
        pass
    follow_again.save(0)
    follow_again.close()
    empty(written)
    writer = LedgerWriter(connector(written), living.keys.market)
    reader = EventReader(living.config.events_folder, living.keys.market)
    while (batch := reader.read()) is not None:
        writer.write([batch])
    writer.close()
    reader.close()
    assert dump(written) == before


def test_without_the_ledger_only_the_journal_is_judged(living):
    code, report = checked(living, "--journal-only")
    assert (code, report["journal_ok"], report["ledger_ok"]) == (0, True, None)


def test_a_snapshot_of_another_state_is_found(living, tmp_path):
    """One that loads, and says something else than the journal."""
    from exchange import snapshots

    newest = snapshots.newest_first(living.config.snapshots_folder)[0]
    whole = newest.read_bytes()
    loaded = snapshots.load_newest(
        living.config.snapshots_folder, living.keys.market, int(newest.stem)
    )
    loaded.market.columns.s[1] += 1  # its clock
    snapshots.save(tmp_path, living.keys.market, loaded.market, loaded.registry, loaded.position,
                   loaded.prior)  # fmt: skip
    newest.write_bytes((tmp_path / newest.name).read_bytes())
    try:
        code, report = checked(living, "--journal-only")
    finally:
        newest.write_bytes(whole)
    assert (code, report["journal_ok"]) == (1, False)
    assert newest.name in report["differences"][0]


# ----------------------------------------------------------------------------- replay and export
@pytest.mark.parametrize("engine", ENGINES)
def test_replay_gives_the_live_events_and_digest(living, tmp_path, engine):
    """D7 and A2: the journal through either engine, byte for byte what the market said live."""
    out = tmp_path / "events.jsonl"
    result = run(replay, living.config.data, "--events", out, "--engine", engine, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["digest"] == living.market.digest()
    assert json.loads(result.stdout)["commands"] == living.market.seq
    assert out.read_bytes() == said_live(living)


@pytest.mark.parametrize("engine", ENGINES)
def test_export_is_the_journals_twin_without_loss(living, tmp_path, engine):
    """Cleared offline it gives the same events and the same digest, whatever the engine."""
    market, out = tmp_path / "market.jsonl", tmp_path / "events.jsonl"
    assert run(export, living.config.data, "-o", market).exit_code == 0
    assert len(market.read_bytes().splitlines()) == living.market.seq
    result = run(clear, market, "--events", out, "--engine", engine, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["digest"] == living.market.digest()
    assert out.read_bytes() == said_live(living)


def test_export_all_also_shows_what_the_core_passes_over(living):
    result = run(export, living.config.data, "--all")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    noted = [line for line in lines if line["type"] == "note"]
    assert {line["note"] for line in noted} >= {"agent", "session"}
    assert len(lines) - len(noted) == living.market.seq
    assert living.pairs["op-a", 0][1] not in result.stdout  # public keys only
    told = run(export, living.config.data, "--all", "--json").stdout.splitlines()
    assert json.loads(told[-1]) == {"commands": living.market.seq, "notes": len(noted)}


def test_a_folder_without_a_journal_is_said(tmp_path):
    for app in (replay, export, verify):
        result = run(app, tmp_path)
        assert result.exit_code == 1
        assert "no journal here" in result.stderr


def test_a_damaged_journal_is_named_and_no_half_file_is_left(living, tmp_path):
    segment = min(living.config.journal_folder.glob("journal-*.seg"))
    whole = segment.read_bytes()
    segment.write_bytes(whole[:5_000] + bytes([whole[5_000] ^ 1]) + whole[5_001:])
    try:
        for app in (replay, export):
            out = tmp_path / "out"
            option = "--events" if app is replay else "-o"
            result = run(app, living.config.data, option, out)
            assert result.exit_code == 1
            assert "journal damaged at position" in result.stderr
            assert not out.exists()
        code, report = checked(living, "--journal-only")
        assert (code, report["journal_ok"]) == (1, False)
        assert "journal damaged" in report["differences"][0]
    finally:
        segment.write_bytes(whole)


def test_a_large_check_compares_on_the_way(living, written, monkeypatch):
    """The memory of a check does not grow with the journal: small pieces give the same answer."""
    monkeypatch.setattr("exchange.ledger.verify.EVENTS_PER_COMPARISON", 5)
    monkeypatch.setattr("exchange.ledger.fold.SPAN_BITS", 5)
    monkeypatch.setattr("exchange.ledger.verify.SPAN_BITS", 5)
    code, report = checked(living, "--dsn", written)
    assert code == 1  # the postings are of spans of another length, and nothing else differs
    assert {each.partition(":")[0] for each in report["differences"]} == {"postings"}
    monkeypatch.undo()
    monkeypatch.setattr("exchange.ledger.verify.EVENTS_PER_COMPARISON", 5)
    assert checked(living, "--dsn", written)[0] == 0
