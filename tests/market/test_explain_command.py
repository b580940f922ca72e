"""`curb explain` of a market file: anybody can try it without an exchange."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from exchange.commands.explain import app

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
BOOK = "".join(
    (EXAMPLES / f"{name}.jsonl").read_text() for name in ("admin", "verifier", "trading")
)


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.jsonl"
    path.write_text(BOOK)
    return str(path)


def run(*arguments):
    return CliRunner().invoke(app, arguments)


def test_an_unfilled_bid_gets_its_counter_offer(book):
    result = run(book, "--bid", "shop/0/3")
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert first == "bid shop/0/3, campaign chat: 0 of 1 filled (latency)"
    assert second.startswith("  counter-offer: a latency budget of 30,000 µs: ")


def test_what_the_documents_show_is_what_it_prints(book):
    """docs/market.md quotes the command's output; a quotation must not go stale."""
    page = (EXAMPLES.parent / "market.md").read_text()
    quoted = re.search(r"--bid shop/0/3\n((?:    .*\n)+)", page.split("admin.jsonl docs/", 1)[1])
    assert quoted is not None
    shown = "".join(line.removeprefix("    ") for line in quoted[1].splitlines(keepends=True))
    assert run(book, "--bid", "shop/0/3").stdout == shown


def test_a_fill_has_a_price_for_each_constraint_that_is_set(book):
    result = run(book, "--bid", "shop/2", "--exact", "--json")
    answer = json.loads(result.stdout)
    assert [each["constraint"] for each in answer["constraints"]] == [
        "cold",
        "residency",
        "latency",
    ]
    *others, latency = [each["nusd"] for each in answer["constraints"]]
    assert others == [[0], [0]]
    # The 30 ms band's card is twice that of the model: without the budget the bid had paid half.
    assert latency[0] > 0
    text = run(book, "--bid", "shop/2").stdout
    assert "does not bind" in text


def test_exact_shows_every_change_and_rounded_the_counter_offer_alone(book):
    exact = json.loads(run(book, "--bid", "3", "--exact", "--json").stdout)
    told = json.loads(run(book, "--bid", "3", "--json").stdout)
    assert exact["changes"][0]["constraint"] == told["changes"][0]["constraint"]
    assert len(told["changes"]) == 1
    assert not exact["rounded"]
    assert told["rounded"]
    assert told["changes"][0]["value"] >= exact["changes"][0]["value"]


def test_without_a_name_the_flagged_bids_are_explained(tmp_path):
    path = tmp_path / "book.jsonl"
    path.write_text(BOOK.replace('"bid":2,', '"bid":2,"explain":true,'))
    result = run(str(path))
    assert result.exit_code == 0
    assert result.stdout.startswith("bid shop/0/2, ")
    assert result.stdout.count("campaign") == 1


@pytest.mark.parametrize("name", ["shop/0/99", "nobody/1", "shop/1/1", "7"])
def test_a_bid_that_is_not_there_is_exit_1(book, name):
    result = run(book, "--bid", name)
    assert result.exit_code == 1
    assert f"named {name}" in result.stderr


@pytest.mark.parametrize("name", ["", "a/b/c", "shop/", "/1", "shop/0/1/2", "-1"])
def test_a_name_that_is_none_is_exit_2(book, name):
    assert run(book, "--bid", name).exit_code == 2


def test_a_line_that_is_no_command_is_named_and_exit_2(tmp_path):
    path = tmp_path / "book.jsonl"
    path.write_text(BOOK + "{}\n")
    result = run(str(path), "--bid", "1")
    assert result.exit_code == 2
    assert f"book.jsonl:{BOOK.count(chr(10)) + 1}" in result.stderr
