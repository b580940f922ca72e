"""The market file: which lines are commands, and what is said of those that are not."""

import json
from typing import Any, get_args

import msgspec
import pytest
from msgspec import UNSET

from matching_core.market_file import (
    MarketFileError,
    format_command,
    format_event,
    parse_command,
    read_commands,
)
from schemas import commands as c
from schemas import events as e
from schemas.commands import FieldError
from tests.market.generator import commands

# The smallest line of every command: what has no default, and nothing else.
REQUIRED: dict[str, dict[str, Any]] = {
    "operator": {"operator": "A"},
    "buyer": {"buyer": "X"},
    "deposit": {"role": "buyer", "member": "X", "transfer": 1, "amount": 1},
    "withdraw": {"role": "operator", "member": "A", "transfer": 1, "amount": 1},
    "rules": {},
    "model": {"model": "m", "family": "f", "params_m": 0, "context_limit": 1, "card_in": 0,
              "card_out": 0},
    "price_card": {"model": "m", "band": 0, "card_in": 0, "card_out": 0},
    "metro": {"metro": "p", "lat": 0, "lon": 0, "country": "FR", "population": 0},
    "site": {"site": "s", "operator": "A", "tier": "on_prem", "lat": 0.5, "lon": -0.5},
    "resolve": {"fill": 1, "amount": 0},
    "site_trust": {"site": "s"},
    "rtt": {"site": "s", "metro": "p", "p99_us": None},
    "halt": {"scope": "exchange", "by": "admin"},
    "resume": {"scope": "exchange", "by": "admin"},
    "deal": {"deal": "d", "operator": "A", "buyers": []},
    "adapter": {"adapter": "l", "model": "m"},
    "offer": {"site": "s", "offer": 1, "model": "m", "hardware": "cpu", "ask_in": 0, "ask_out": 0,
              "slots": 0, "ttft_us": 0, "context_limit": 1, "ttl_us": 1},
    "refresh": {"site": "s", "offer": 1, "slots": 0, "fills_seen": 0, "ttft_us": 0,
                "prefill_ns_per_token": 0, "tokens_per_second": 0, "ttl_us": 1},
    "renew": {"site": "s", "ttl_us": 1},
    "offer_cancel": {"site": "s", "offer": 1},
    "offers_cancel": {"site": "s"},
    "start": {"operator": "A", "fill": 1},
    "decline": {"operator": "A", "fill": 1, "reason": "refused"},
    "campaign": {"campaign": "c", "buyer": "X", "models": [{"model": "m"}], "latency_budget_us": 0,
                 "max_unit_price": 0},
    "campaign_end": {"buyer": "X", "campaign": "c"},
    "bid": {"buyer": "X", "bid": 1, "campaign": "c", "origin": "p", "tokens_in": 1,
            "tokens_out": 1},
    "bid_cancel": {"buyer": "X", "bid": 1},
    "bids_cancel": {"buyer": "X"},
    "release": {"buyer": "X", "fill": 1},
    "complete": {"role": "buyer", "member": "X", "fill": 1, "tokens_in": 0, "tokens_out": 0,
                 "ttft_us": 0},
    "clock": {},
}  # fmt: skip

UNIT_PRICE, MONEY, SECOND, LATENCY = (0, 10**10), (0, 2**48), (0, 2**36), (0, 10**9)
TOKENS, LIFE, PPM, DEADLINE = (0, 2**23), (1, 60_000_000), (0, 10**6), (0, 10**12)
NUMBER = (1, 2**63 - 1)

# MARKET.md §1 written out again, so that a slip in schemas.limits is a difference here.
BOUNDS: dict[str, tuple[int, int]] = {
    "at": (0, 2**62), "amount": (1, 2**60), "transfer": NUMBER, "bid": NUMBER, "fill": NUMBER,
    "card_in": UNIT_PRICE, "card_out": UNIT_PRICE, "ask_in": UNIT_PRICE, "ask_out": UNIT_PRICE,
    "max_unit_price": UNIT_PRICE, "markdown": MONEY, "max_price": MONEY, "ask_second": SECOND,
    "card_second": SECOND, "time_value": (0, 2**24), "tokens_in": TOKENS, "tokens_out": TOKENS,
    "context_limit": (1, 2**24), "ttft_us": LATENCY, "p99_us": LATENCY, "cold_start_us": LATENCY,
    "adapter_load_us": LATENCY, "latency_budget_us": LATENCY, "latency_margin_us": LATENCY,
    "prefill_ns_per_token": (0, 10**7), "tokens_per_second": (0, 10**6),
    "min_tokens_per_second": (0, 10**6), "ttl_us": LIFE, "lease_us": LIFE,
    "rest_us": (0, 60_000_000), "settle_us": DEADLINE, "deliver_us": DEADLINE,
    "dispute_us": DEADLINE, "take_rate_ppm": PPM, "rent_ppm_per_s": PPM, "tolerance_ppm": PPM,
    "slots": (0, 65_535), "fills_seen": (0, 2**62), "quantity": (1, 64), "offer": (1, 4096),
    "agent": (0, 4095), "trust": (0, 3), "min_trust": (0, 3), "origin_asn": (0, 2**32 - 1),
    "params_m": (0, 2**62), "population": (0, 2**62), "power_kw": (0, 2**62),
}  # fmt: skip
EXCEPTIONS = {("resolve", "amount"): (0, 2**60)}  # half of nothing may be the right answer


def _line(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, "at": 0} | REQUIRED[kind] | fields).encode()


def _right(line: bytes) -> bool:
    """Tell that the line is a command; raises when it is not."""
    return isinstance(parse_command(line), c.Command)


def _wrong(line: bytes) -> str:
    """Return the field that is said to be wrong."""
    with pytest.raises(FieldError) as raised:
        parse_command(line)
    assert str(raised.value).startswith(f"{raised.value.field}: ")
    return raised.value.field


def _fields() -> list[tuple[str, str, Any]]:
    return [
        (kind, field.encode_name, field.type)
        for kind, struct in c.COMMAND_OF_NAME.items()
        for field in msgspec.structs.fields(struct)
    ]


def _is_integer(annotation: Any) -> bool:
    parts = get_args(annotation) if not hasattr(annotation, "__metadata__") else ()
    inner = getattr(annotation, "__origin__", annotation)
    return inner is int or any(_is_integer(part) for part in parts if part is not type(UNSET))


INTEGERS = [(kind, name) for kind, name, kind_of in _fields() if _is_integer(kind_of)]


# ----------------------------------------------------------------------------- A7: every bound
def test_every_integer_field_has_its_bounds_in_the_table():
    assert {name for _, name in INTEGERS} == set(BOUNDS) - {"markdown"}
    assert len(INTEGERS) > 100


@pytest.mark.parametrize("kind,field", INTEGERS)
def test_every_bound_holds_at_one_below_at_it_and_one_above(kind, field):
    low, high = EXCEPTIONS.get((kind, field), BOUNDS[field])
    for good in (low, low + 1, high - 1, high):
        assert getattr(parse_command(_line(kind, **{field: good})), field) == good
    outside: tuple[object, ...] = (low - 1, high + 1, 10**30, -(10**30))
    of_other_types: tuple[object, ...] = (float(low + 1), True, str(low + 1), [low + 1])
    for bad in (*outside, *of_other_types):
        assert _wrong(_line(kind, **{field: bad})) == field


@pytest.mark.parametrize("bad", [-1, 2**48 + 1])
def test_a_field_within_a_list_is_named_with_its_place(bad):
    models = [{"model": "m", "markdown": 2**48}, {"model": "n", "markdown": bad}]
    assert _wrong(_line("campaign", models=models)) == "models[1].markdown"


def test_a_bid_has_at_least_one_token():
    assert _wrong(_line("bid", tokens_in=0, tokens_out=0)) == "tokens_out"
    assert _right(_line("bid", tokens_in=0, tokens_out=1))
    assert _right(_line("bid", tokens_in=1, tokens_out=0))


LISTS = {
    "control": 256, "data_countries": 256, "asns": 256, "buyers": 256, "residency": 256,
    "data_residency": 256, "sovereignty": 256, "allow_operators": 256, "deny_operators": 256,
    "adapters": 64, "models": 4,
}  # fmt: skip


@pytest.mark.parametrize("field,limit", LISTS.items())
def test_every_list_has_a_limit_and_no_entry_twice(field, limit):
    kind = next(kind for kind, name, _ in _fields() if name == field)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    make = {
        "asns": lambda n: n + 1,
        "models": lambda n: {"model": f"m{n}"},
        "buyers": lambda n: f"b{n}",
        "allow_operators": lambda n: f"o{n}",
        "deny_operators": lambda n: f"o{n}",
        "adapters": lambda n: f"l{n}",
    }.get(field, lambda n: letters[n // 26] + letters[n % 26])
    assert _right(_line(kind, **{field: [make(n) for n in range(limit)]}))
    assert _wrong(_line(kind, **{field: [make(n) for n in range(limit + 1)]})) == field
    assert _wrong(_line(kind, **{field: [make(0), make(1), make(0)]})) == field


@pytest.mark.parametrize(
    "kind,field",
    [("site", "certifications"), ("offer", "capabilities"), ("campaign", "certifications"),
     ("campaign", "capabilities"), ("campaign", "tiers"), ("campaign", "hardware"),
     ("campaign", "precisions"), ("campaign", "contracts")],
)  # fmt: skip
def test_a_closed_list_takes_its_names_once_and_no_others(kind, field):
    names = {
        "certifications": ["soc2", "c5"], "capabilities": ["tools", "vision"],
        "tiers": ["on_prem", "central"], "hardware": ["h100", "other"],
        "precisions": ["fp8", "other"], "contracts": ["spot", "reserved"],
    }[field]  # fmt: skip
    assert _right(_line(kind, **{field: names}))
    assert _wrong(_line(kind, **{field: [names[0], names[0]]})) == field
    assert _wrong(_line(kind, **{field: [names[0], "gold"]})) == f"{field}[1]"


# ----------------------------------------------------------------------------- names and text
@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb", "a\n", "a\x7f", "\x85", 5, None])
def test_a_name_has_1_to_128_characters_and_no_control_character(name):
    assert _wrong(_line("buyer", buyer=name)) == "buyer"


@pytest.mark.parametrize("name", ["x", "é" * 128, "A/1 ☃", '"\\', "\U0001f600" * 128])
def test_a_name_may_be_anything_else(name):
    command = parse_command(_line("buyer", buyer=name))
    assert isinstance(command, c.Buyer)
    assert command.buyer == name
    assert parse_command(format_command(command)) == command


@pytest.mark.parametrize("country", ["fr", "FRA", "F", "", "F1", "FR\n", None])
def test_a_country_is_two_capital_letters(country):
    assert _wrong(_line("metro", country=country)) == "country"


def test_null_stands_only_where_the_page_says_so():
    """For a site's country, an RTT, and a bid's own budget and ceiling."""
    may_be_null = set()
    for kind, field, _ in _fields():
        try:
            parse_command(_line(kind, **{field: None}))
            may_be_null.add((kind, field))
        except FieldError as error:
            assert error.field == field  # noqa: PT017  # every field is tried, both ends matter
    assert may_be_null == {
        ("site", "country"), ("rtt", "p99_us"), ("bid", "latency_budget_us"), ("bid", "max_price"),
    }  # fmt: skip


def test_a_halt_of_the_exchange_has_no_name_and_any_other_has_one():
    for kind in ("halt", "resume"):
        assert _right(_line(kind, name=""))
        assert _wrong(_line(kind, name="x")) == "name"
        assert _wrong(_line(kind, scope="site")) == "name"
        assert _wrong(_line(kind, scope="region", name="x")) == "scope"


# ----------------------------------------------------------------------------- whole lines
def test_every_command_has_its_smallest_line():
    assert set(REQUIRED) == set(c.COMMAND_OF_NAME)
    for kind, struct in c.COMMAND_OF_NAME.items():
        assert isinstance(parse_command(_line(kind)), struct)


@pytest.mark.parametrize("kind", sorted(REQUIRED))
def test_a_missing_and_an_unknown_field_are_named(kind):
    for field in ("at", *REQUIRED[kind]):
        fields = json.loads(_line(kind))
        del fields[field]
        assert _wrong(json.dumps(fields).encode()) == field
    assert _wrong(_line(kind, colour=1)) == "colour"


def test_unknown_and_missing_are_named_within_a_list_too():
    assert _wrong(_line("campaign", models=[{"model": "m", "x": 1}])) == "models[0].x"
    assert _wrong(_line("campaign", models=[{"model": "m"}, {}])) == "models[1].model"
    assert _wrong(_line("campaign", models=["m"])) == "models[0]"


@pytest.mark.parametrize(
    "line,field",
    [
        (b'{"at":1}', "type"),
        (b'{"type":"klock","at":1}', "type"),
        (b'{"type":7,"at":1}', "type"),
        (b'{"type":"clock","at":1,"at":1}', "at"),
        (b'{"type":"clock","type":"clock","at":1}', "type"),
        (b'{"type":"clock","at":01}', "line"),
        (b'{"type":"clock","at":1', "line"),
        (b'{"type":"clock","at":1}{}', "line"),
        (b'{"type":"clock","at":1e0}', "at"),
        (b'{"type":"clock","at":NaN}', "line"),
        (b'[{"type":"clock","at":1}]', "line"),
        (b"7", "line"),
        (b"null", "line"),
        (b"", "line"),
        (b"  \r\n", "line"),
        (b"# comment", "line"),
        (b'\xef\xbb\xbf{"type":"clock","at":1}', "line"),
        (b'{"type":"buyer","at":1,"buyer":"\xff"}', "line"),
        (b'{"type":"buyer","at":1,"buyer":"\\ud800"}', "line"),
        (b'{"type":"clock","at":1,"x":' + b"[" * 100_000, "x"),
        (b'{"x":' + b"[" * 100_000 + b',"type":"clock","at":1}', "line"),
    ],
)
def test_a_line_that_is_no_command_says_what_is_wrong_with_it(line, field):
    assert _wrong(line) == field


def test_an_error_names_file_line_and_field_and_the_lines_before_stand():
    lines = [_line("clock", at=5), _line("clock", at=5), _line("clock", at=4)]
    read = read_commands(lines, "m.jsonl")
    assert [next(read).at, next(read).at] == [5, 5]
    with pytest.raises(MarketFileError, match=r"\Am\.jsonl:3: at: smaller than 5") as raised:
        next(read)
    assert (raised.value.file, raised.value.line, raised.value.field) == ("m.jsonl", 3, "at")


def test_every_command_survives_being_written_and_read():
    for command in commands(3, 800):
        assert parse_command(format_command(command)) == command


def test_an_event_is_written_byte_for_byte_as_the_page_says():
    fill = e.Fill(
        seq=9, at=5, fill=1, buyer="Ä/\u2028", agent=0, bid=2, unit=0, operator='"A\\', site="s",
        offer=3, ordinal=1, model="m", hardware="h100", precision="fp8", contract="spot",
        tier="on_prem", country=None, cold=False, tokens_in=1, tokens_out=2, price=7, cost=3,
        score=9, rival_score=None, contested=False, latency_us=4, lease_until=99, resting=True,
    )  # fmt: skip
    assert format_event(fill).decode() == (
        '{"type":"fill","seq":9,"at":5,"fill":1,"buyer":"Ä/\u2028","agent":0,"bid":2,"unit":0,'
        '"operator":"\\"A\\\\","site":"s","offer":3,"ordinal":1,"model":"m","hardware":"h100",'
        '"precision":"fp8","contract":"spot","tier":"on_prem","country":null,"cold":false,'
        '"tokens_in":1,"tokens_out":2,"price":7,"cost":3,"score":9,"rival_score":null,'
        '"contested":false,"latency_us":4,"lease_until":99,"resting":true}\n'
    )


def test_the_other_events_have_the_fields_of_the_page_in_its_order():
    fields = {
        e.Resting: "buyer agent bid quantity", e.Unfilled: "buyer agent bid quantity reason",
        e.Rejected: "command reason", e.OfferExpired: "site offer",
        e.Releasing: "fill lease_until", e.Released: "fill paid refund",
        e.Declined: "fill reason", e.Disputed: "fill buyer_figure operator_figure",
        e.Settled: "fill buyer operator paid fee earned withheld refund by",
    }  # fmt: skip
    for event, names in fields.items():
        assert event.__struct_encode_fields__ == ("seq", "at", *names.split())
    assert {*fields, e.Fill} == set(e.EVENTS)
