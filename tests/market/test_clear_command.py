"""`curb clear`: exit codes, where things are written, and that a bad line leaves no trace."""

import json
import subprocess
import sys

import pytest

from matching_core.engines import ENGINES
from matching_core.market_file import format_command, format_event
from matching_core.reference import ReferenceMarket
from tests.market.generator import commands

GOOD = b'{"type":"clock","at":1}\n'
BAD = b'{"type":"clock","at":1,"colour":2}\n'


def _curb_clear(*arguments, stdin=b""):
    """Run `curb clear` as a user does."""
    code = "from schemas.command import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "clear", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        check=False,
    )


@pytest.fixture
def market(tmp_path):
    path = tmp_path / "market.jsonl"
    path.write_bytes(b"".join(map(format_command, commands(2, 400))))
    return path


def _expected():
    market = ReferenceMarket()
    events = [event for command in commands(2, 400) for event in market.apply(command)]
    return b"".join(map(format_event, events)), market.digest()


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_events_and_digest_are_the_engines(engine, market, tmp_path):
    lines, digest = _expected()
    ran = _curb_clear(market, "--events", tmp_path / "events.jsonl", "--engine", engine, "--json")
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert (tmp_path / "events.jsonl").read_bytes() == lines
    summary = json.loads(ran.stdout)
    assert summary["digest"] == digest
    assert summary["commands"] == 400
    for kind, name in (("fill", "fills"), ("unfilled", "unfilled"), ("rejected", "rejected")):
        assert summary[name] == lines.count(b'{"type":"%s"' % kind.encode())
    assert summary["auctions_per_second"] > 0


def test_a_dash_is_standard_input_and_output(market):
    lines, digest = _expected()
    ran = _curb_clear("-", "--events", "-", "--engine", "reference", stdin=market.read_bytes())
    assert (ran.returncode, ran.stdout) == (0, lines)
    assert digest.encode() in ran.stderr
    assert ran.stderr.startswith(b"400 commands, ")
    assert ran.stderr.count(b"\n") == 1


def test_a_bad_line_is_named_and_the_events_file_is_left_alone(tmp_path):
    market, events = tmp_path / "m.jsonl", tmp_path / "events.jsonl"
    market.write_bytes(GOOD * 3 + BAD + GOOD)
    events.write_text("from yesterday\n")
    ran = _curb_clear(market, "--events", events, "--engine", "reference")
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert ran.stderr.decode() == f"{market}:4: colour: unknown field\n"
    assert events.read_text() == "from yesterday\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.jsonl", "m.jsonl"]


def test_a_bad_line_of_standard_input_leaves_standard_output_empty():
    line = b'{"type":"operator","at":1,"operator":"A"}\n'
    ran = _curb_clear("-", "--events", "-", "--engine", "reference", stdin=line * 2 + BAD)
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert ran.stderr == b"<stdin>:3: colour: unknown field\n"


def test_a_smaller_at_is_an_error():
    ran = _curb_clear("-", "--engine", "reference", stdin=GOOD + b'{"type":"clock","at":0}\n')
    assert ran.returncode == 2
    assert ran.stderr.startswith(b"<stdin>:2: at: ")


def test_an_empty_file_is_a_market_nothing_happened_in():
    ran = _curb_clear("-", "--engine", "reference", "--json", stdin=b"")
    assert ran.returncode == 0
    assert json.loads(ran.stdout)["commands"] == 0


def test_a_last_line_without_its_newline_counts():
    ran = _curb_clear("-", "--engine", "reference", "--json", stdin=GOOD + GOOD.rstrip())
    assert json.loads(ran.stdout)["commands"] == 2


@pytest.mark.parametrize(
    "arguments",
    [["/nowhere/m.jsonl"], ["-", "--engine", "abacus"], ["-", "--events", "/nowhere/e"]],
)
def test_what_cannot_be_read_written_or_run_is_exit_2(arguments):
    ran = _curb_clear(*arguments, *([] if "--engine" in arguments else ["--engine", "reference"]))
    assert ran.returncode == 2
    assert ran.stderr
