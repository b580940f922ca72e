"""docs/wire.md and docs/schema/ against the code: every table, every number, every byte.

Goal: the page suffices to write a client in another language. What is compared here is parsed from the
page, so that the page is the list and the code must agree with it (promise A9: numbers never change).
"""

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from schemas import export, frames, lists, reasons, records, roles
from schemas.commands import COMMAND_OF_NAME, COMMANDS, Campaign
from schemas.events import EVENTS, OfferExpired
from schemas.session import messages
from schemas.token import TOKEN_LAYOUT, TokenMaker, site_key

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "wire.md").read_text()
NUMBERED_ITEM = re.compile(r"(\d+) `([^`]*)`")
LAYOUTS = {
    "header": records.FRAME_HEADER,
    "token": TOKEN_LAYOUT,
    **{records.COMMAND_NAMES[kind]: dtype for kind, dtype in records.COMMAND_RECORDS.items()},
    "status": records.STATUS_RECORD,
    "fill": records.FILL_RECORD,
    "event": records.EVENT_RECORD,
    "tape": records.TAPE_RECORD,
    "book": records.BOOK_RECORD,
}
TYPES = {name: kind for kind, name in records.COMMAND_NAMES.items()} | {
    "status": records.STATUS,
    "fill": records.FILL,
    "event": records.EVENT,
    "tape": records.TAPE,
    "book": records.BOOK,
}


def section(heading):
    return PAGE.split(f"\n{heading}", 1)[1].split("\n#", 1)[0]


def rows(text):
    """Return the cells of every row of the tables in a text, without heads and rules."""
    lines = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in cells] for cells in lines if "---" not in cells[0]]


def type_of(dtype):
    base = dtype.base
    name = f"char[{base.itemsize}]" if base.kind == "S" else f"{base.kind}{8 * base.itemsize}"
    return name + (f"[{dtype.shape[0]}]" if dtype.shape else "")


def hex_after(words):
    """Return the bytes of the indented block that follows these words on the page."""
    block = PAGE.split(words, 1)[1].split("\n\n", 2)[1]
    return bytes.fromhex(block)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_stands_on_the_page_byte_for_byte(name):
    dtype = LAYOUTS[name]
    fields = dtype.fields
    assert fields is not None
    head = f"### {name} · " + (f"type {TYPES[name]} · " if name in TYPES else "")
    table = rows(section(f"{head}{dtype.itemsize} bytes\n"))[1:]
    expected = sorted((field[1], type_of(field[0]), key) for key, field in fields.items())
    assert [(int(row[0]), row[1], row[2].strip("`")) for row in table] == expected
    assert not dtype.names or all(field[0].base.byteorder in "<|=" for field in fields.values())


def test_the_page_has_no_layout_that_the_code_has_not():
    assert set(re.findall(r"^### (\w+) · .*bytes$", PAGE, re.MULTILINE)) == set(LAYOUTS)


@pytest.mark.parametrize(
    "heading,union",
    [
        ("### From the client", messages.ClientMessage),
        ("### To the client", messages.ServerMessage),
    ],
)
def test_every_message_stands_on_the_page_with_its_fields(heading, union):
    table = {row[0].strip("`"): row[1:] for row in rows(section(heading + "\n"))[1:]}
    structs = {str(struct.__struct_config__.tag): struct for struct in union.__args__}
    assert set(table) == set(structs)
    for tag, struct in structs.items():
        numbered, fields = table[tag]
        assert (numbered == "yes") == issubclass(struct, messages.NUMBERED)
        expected = [
            f"`{field.encode_name}`" + ("" if field.required else "?")
            for field in msgspec.structs.fields(struct)
        ]
        assert [name for name in fields.split(", ") if name] == expected


def test_every_number_of_a_closed_list_stands_on_the_page():
    """Golden: a list that changed but at its end, or a reason with another number, fails here."""
    page = {row[0]: NUMBERED_ITEM.findall(row[1]) for row in rows(section("## Numbers\n"))}
    expected = {
        "tiers": lists.TIERS,
        "contracts": lists.CONTRACTS,
        "hardware": lists.HARDWARE,
        "precisions": lists.PRECISIONS,
        "capabilities": lists.CAPABILITIES,
        "decline reasons": lists.DECLINE_REASONS,
        "settled by": lists.SETTLED_BY,
        "bands (ms; 0: best effort)": lists.BANDS_MS,
        "event types": records.EVENT_TYPES,
    }
    page.pop("list")
    page.pop("reasons")
    for label, entries in expected.items():
        assert page.pop(label) == [(str(number), str(name)) for number, name in enumerate(entries)]
    for label, numbers in {
        "refused": reasons.REFUSED,
        "rejected": reasons.REJECTED,
        "no fill": reasons.NO_FILL,
    }.items():
        assert page.pop(label) == [(str(number), name) for name, number in numbers.items()]
    assert page == {}


def test_who_may_send_what_stands_on_the_page():
    table = rows(section("## Who may send what\n"))[1:]
    assert [row[0] for row in table] == list(roles.ROLES)
    hot_names = set(records.COMMAND_NAMES.values())
    for role, hot, orders, others in table:
        kinds = {int(kind) for kind in hot.split(", ") if kind}
        assert kinds == {kind for kind, allowed in roles.HOT_ROLES.items() if role in allowed}
        assert set(orders.split(", ")) == set(roles.MAY_SEND[role]) - hot_names
        sends = {name for name in others.split(", ") if name}
        assert sends == {tag for tag, allowed in roles.MESSAGE_ROLES.items() if role in allowed}


def test_the_worked_frames_are_what_the_code_reads_and_writes():
    establish = hex_after("`establish` of an operator's agent")
    decoded = frames.decode_client(establish)
    assert decoded.message == messages.Establish(
        version_min=1,
        version_max=1,
        request=1,
        streams=("acme/one",),
        software="example",
    )
    assert frames.encode_message(decoded.message, 0) == establish
    body = hex_after("A bid, number 1 in its session")
    bids = np.zeros(1, records.BID_RECORD)
    bids[0] = (1, 2**64 - 1, 5, 9, 0, 1000, 200, 0, 0, 5_000_000, 2**32 - 1, 2, 0, 0)
    assert frames.encode_records(records.BID, bids, 1) == body
    assert frames.decode_client(body).units == 2


def test_the_token_vector_is_what_the_code_makes():
    match = re.search(r"secret `([0-9a-f]{64})`.*?\n?.*?the key `([0-9a-f]{64})`", PAGE, re.DOTALL)
    assert match
    secret, key = map(bytes.fromhex, match.groups())
    assert site_key(secret, 0x01020304, 77, 1) == key
    token = TokenMaker(secret, 0x01020304).make(
        fill=123_456_789, site=77, offer=12, model=3, adapter=0, tokens_in=1000, tokens_out=200,
        lease_until_ns=1_700_000_005_000_000_000,
    )  # fmt: skip
    assert hex_after("lease until 1700000005000000000 give the token") == token


@pytest.mark.parametrize("kind", export.KINDS)
def test_the_json_schemas_in_docs_are_those_of_the_code(kind):
    kept = (DOCS / "schema" / f"{kind}.json").read_text()
    assert kept == export.text(kind), f"python -m schemas.export {kind} > docs/schema/{kind}.json"


def test_the_json_schemas_name_every_command_and_event():
    commands = export.document("commands")["$defs"]
    tags = {d["properties"]["type"]["enum"][0] for d in commands.values() if "type" in d["properties"]}  # fmt: skip
    assert tags == set(COMMAND_OF_NAME)
    assert len(export.document("commands")["oneOf"]) == len(COMMANDS)
    assert len(export.document("events")["oneOf"]) == len(EVENTS)
    assert set(commands["Campaign"]["properties"]) == {"type", *Campaign.__struct_fields__}
    assert commands["Campaign"]["additionalProperties"] is False
    event = export.document("events")["$defs"]["OfferExpired"]
    assert list(event["properties"]) == ["type", *OfferExpired.__struct_fields__]
