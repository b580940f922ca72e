"""The documents' tables say what the code says: settings, commands, events, reasons, ends, metrics.

And the worked examples of the market rules: each file is run, and each line of their table must be
what happened.
"""

import re
import tomllib
from typing import Any

import msgspec
import numpy as np
import pytest

from exchange.commands.clear import run
from exchange.config import PREFIX, Config, load
from exchange.follower.status import Exposed
from matching_core.engines import REFERENCE, new_market
from matching_core.market_file import parse_command
from schemas import commands, events, limits, reasons
from schemas.roles import MAY_SEND, ROLES
from ssp_adapters import llama_server, price_list
from ssp_adapters.contract import Policy, Sample, Samples, overcommitted
from tests.tidy.documents import blocks, code_spans, prose, table, tables
from tests.tidy.sources import ROOT, files
from tests.tidy.test_docs import loader

MARKET = "docs/market.md"
OPERATING = "docs/operating.md"
EXAMPLES = ROOT / "docs" / "examples"


# ----------------------------------------------------------------------------- settings
def settings(kind: Any = Config, prefix: str = "") -> dict[str, str]:
    """Return each setting as the documents write it, and its default."""
    found: dict[str, str] = {}
    for field in msgspec.structs.fields(kind):
        if isinstance(field.default, msgspec.Struct):
            found |= settings(type(field.default), f"{field.name}.")
        else:
            found[prefix + field.name] = str(field.default)
    return found


def test_every_setting_is_in_the_table_with_its_default():
    rows = table(OPERATING, "setting", "default")
    written = {row["setting"].strip("`"): row["default"].strip("`") for row in rows}
    assert written == settings()
    assert all(row["meaning"] for row in rows)


def test_every_variable_that_is_named_is_one():
    """`CURB_SECTION__KEY`, with or without `_FILE`, and the few that are no settings."""
    known = {f"{PREFIX}{name.replace('.', '__').upper()}" for name in settings()}
    known |= {f"{name}_FILE" for name in known}
    known |= {f"{PREFIX}SECTION__KEY", f"{PREFIX}PYTHON", f"{PREFIX}ORIGIN"}
    texts = [(str(line), line.text) for line in prose()]
    texts += [(f"{b.document}:{b.number}", "\n".join(b.lines)) for b in blocks()]
    wrong = [
        f"{place}: {name}"
        for place, text in texts
        for name in re.findall(rf"\b{PREFIX}[A-Z_]+\b", text)
        if name not in known
    ]
    assert not wrong, "\n".join(wrong)


def test_the_example_of_a_settings_file_is_one():
    given = load(EXAMPLES / "curb.toml", {})
    plain = tomllib.loads((EXAMPLES / "curb.toml").read_text())
    assert given.exchange.commands_bind == plain["exchange"]["commands_bind"]


# ----------------------------------------------------------------------------- commands and events
def written_fields(cell: str) -> list[str]:
    return [] if cell == "–" else code_spans(cell)


def fields_of(kind: Any, without: set[str]) -> list[str]:
    """Return fields as the documents write them: `name`, `name?` or `name=default`."""
    words = {None: "null", True: "true", False: "false", "": '""', (): "[]"}
    found = []
    for field in msgspec.structs.fields(kind):
        default = field.default
        if field.name in without:
            continue
        if field.required:
            found.append(field.name)
        elif default is msgspec.UNSET:
            found.append(f"{field.name}?")
        else:
            plain = default if type(default) is int else words.get(default, default)
            found.append(f"{field.name}={plain}")
    return found


def test_every_command_is_in_the_table_with_its_fields_and_senders():
    rows = table(MARKET, "command", "who")
    written = {
        row["command"].strip("`"): (row["who"].split(", "), written_fields(row["fields"]))
        for row in rows
    }
    assert written == {
        name: (
            [role for role in ROLES if name in MAY_SEND[role]] or ["exchange"],
            fields_of(kind, {"at"}),
        )
        for name, kind in commands.COMMAND_OF_NAME.items()
    }
    assert [*written] == [*commands.COMMAND_OF_NAME]


def test_every_event_is_in_the_table_with_its_fields_in_order():
    rows = table(MARKET, "event", "what happened")
    written = {row["event"].strip("`"): written_fields(row["fields"]) for row in rows}
    assert written == {
        str(kind.__struct_config__.tag): fields_of(kind, {"seq", "at"}) for kind in events.EVENTS
    }


def test_every_reason_has_its_number_and_its_meaning():
    written = [
        {row["reason"].strip("`"): int(row["number"]) for row in rows}
        for rows in tables(MARKET)
        if rows and {"number", "reason"} <= set(rows[0])
    ]
    rules = {name: reasons.NO_FILL[name] for name in reasons.ELIGIBILITY_RULES}
    endings = {name: number for name, number in reasons.NO_FILL.items() if name not in rules}
    assert written == [rules, reasons.REJECTED, endings, reasons.REFUSED, reasons.ADMISSION]
    assert [list(each) for each in written[:2]] == [list(rules), list(reasons.REJECTED)]


def number_of(text: str) -> int:
    power = re.fullmatch(r"2\^(\d+)( − 1)?", text)
    if power:
        return (1 << int(power[1])) - (1 if power[2] else 0)
    return int(text.replace(",", ""))


def test_every_range_of_a_field_is_the_codes():
    """Method: a field of this name has these bounds in every command that has it."""
    _, components = msgspec.json.schema_components(commands.COMMANDS)
    seen = set()
    for row in table(MARKET, "fields", "unit"):
        low, _, high = row["range"].partition(" … ")
        for name in code_spans(row["fields"]):
            bounds = {
                (choice["minimum"], choice["maximum"])
                for component in components.values()
                for choice in _choices(component.get("properties", {}).get(name, {}))
                if choice.get("type") == "integer"
            }
            if name == "amount":  # the exchange may resolve a dispute at 0
                bounds.discard((0, limits.AMOUNT_NUSD_MAX))
            assert bounds == {(number_of(low), number_of(high))}, name
            seen.add(name)
    assert len(seen) > 30


def _choices(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return list(schema.get("anyOf", [schema]))


# ----------------------------------------------------------------------------- examples
def outcomes(name: str) -> list[Any]:
    """Return the events of an example."""

    class Lines:
        def __init__(self) -> None:
            self.text = b""

        def write(self, data: bytes, /) -> int:
            self.text += data
            return len(data)

    lines = Lines()
    with (EXAMPLES / name).open("rb") as market:
        run(new_market(REFERENCE), market, name, lines)
    return [
        msgspec.json.decode(line, type=events.AnyEvent) for line in lines.text.splitlines()
    ]  # fmt: skip


def shown() -> dict[str, list[dict[str, str]]]:
    """Return the rows of the table of examples by file; a row without one goes with those above."""
    found: dict[str, list[dict[str, str]]] = {}
    name = ""
    for row in table(MARKET, "file", "line", "what happens"):
        link = re.search(r"\]\(examples/([\w.]+)\)", row["file"])
        name = link[1] if link else name
        found.setdefault(name, []).append(row)
    return found


def as_row(event: Any) -> tuple[str, ...]:
    """Return line, event, operator, buyer, n$, contested as the table writes them."""
    yes_no = {True: "yes", False: "no"}
    match event:
        case events.Fill():
            rest = (event.operator, event.buyer, str(event.price), yes_no[event.contested])
        case events.Settled():
            rest = (event.operator, event.buyer, str(event.paid), "")
        case _:
            rest = ("", "", "", "")
    return (str(event.seq), type(event).__name__.lower(), *rest)


def test_the_table_has_every_vector():
    assert set(shown()) == {path.name for path in EXAMPLES.glob("vector_*.jsonl")}


@pytest.mark.parametrize("name", sorted(shown()))
def test_every_worked_example_is_what_happens(name):
    """All fills, settlements and disputes of the file, and no others."""
    told = (events.Fill, events.Settled, events.Disputed)
    happened = [as_row(event) for event in outcomes(name) if isinstance(event, told)]
    # What a fill's settlement shows needs no second row for the fill.
    if any(isinstance(event, events.Settled) for event in outcomes(name)):
        happened = [row for row in happened if row[1] != "fill"]
    columns = ("line", "event", "operator", "buyer", "n$", "contested")
    assert happened == [tuple(row[column] for column in columns) for row in shown()[name]]


def test_the_market_of_the_readme_trades_settles_and_says_why_not():
    """Its three files one after another are one market file; alone they are what `apply` takes."""
    whole = b"".join(
        (EXAMPLES / f"{part}.jsonl").read_bytes() for part in ("admin", "verifier", "trading")
    )
    market = new_market(REFERENCE)
    happened = [
        event for line in whole.splitlines() for event in market.apply_command(parse_command(line))
    ]
    assert not [event for event in happened if isinstance(event, events.Rejected)]
    kinds = {type(event) for event in happened}
    assert {events.Fill, events.Unfilled, events.Settled, events.Released} <= kinds
    for part, role in (("admin", "admin"), ("verifier", "verifier")):
        for line in (EXAMPLES / f"{part}.jsonl").read_bytes().splitlines():
            assert commands.name_of(parse_command(line)) in MAY_SEND[role]


def test_the_example_of_a_price_list_becomes_offers():
    path = EXAMPLES / "prices.csv"
    fleet = price_list.read(Samples(documents=(Sample(source=path.name, text=path.read_text()),)))
    offers = price_list.offers(fleet, Policy(), 0)
    assert offers
    assert not overcommitted(fleet, offers)


def test_the_example_of_an_engines_facts_is_read():
    raw = (EXAMPLES / "engine.json").read_bytes()
    facts = msgspec.json.decode(raw, type=llama_server.Engine)
    assert facts.site == "acme/paris-01"


def test_every_example_is_named_in_a_document():
    texts = [line.text for line in prose()] + [line for b in blocks() for line in b.lines]
    for path in files():
        if path.parts[:2] == ("docs", "examples"):
            assert any(path.name in text for text in texts), path


# ----------------------------------------------------------------------------- ends, metrics
def leaves(command: Any, path: str) -> list[str]:
    """Return every command of `curb` in words."""
    if not hasattr(command, "list_commands"):
        return [path]
    context = command.context_class(command, info_name=path)
    return [
        leaf
        for name in command.list_commands(context)
        for leaf in leaves(command.get_command(context, name), f"{path} {name}")
    ]


def test_every_command_has_its_exit_codes():
    rows = table(OPERATING, "command", "0", "1", "2")
    assert sorted(row["command"].strip("`") for row in rows) == sorted(leaves(loader(), "curb"))
    assert all(row["0"] and row["2"] for row in rows)


def test_every_metric_is_named():
    exposed = Exposed(dict, lambda: np.zeros(256, np.uint64))
    names = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in exposed.collect()
    }  # fmt: skip
    written = [
        span for row in table(OPERATING, "metrics", "say") for span in code_spans(row["metrics"])
    ]
    assert sorted(written) == sorted(names)


def test_every_promise_stands_once_and_what_is_called_shown_names_its_tests():
    shown_rows, part, not_shown = tables("docs/reliability.md")
    ids = [row["id"] for row in (*shown_rows, *part, *not_shown)]
    assert len(ids) == len(set(ids))
    assert all("](../tests/" in row["shown by"] for row in shown_rows)
    assert all(row["missing"] for row in part)
