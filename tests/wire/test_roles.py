"""Promise S1: role × command × field as MARKET_FILE.md's table says, the whole table, one by one."""

import itertools
from typing import Any

import msgspec
import pytest

from schemas import records, roles
from schemas.commands import COMMAND_OF_NAME, COMMANDS, AnyCommand, name_of

ME, OTHER = "acme", "rival"
AGENT = 7
SITES = ("acme/one", "acme/two")

# MARKET_FILE.md, "Commands": the first column, restated by hand.
ALLOWED = {
    "admin": {
        "operator", "buyer", "deposit", "withdraw", "rules", "model", "price_card", "metro", "site",
        "resolve", "halt", "resume",
    },
    "verifier": {"site_trust", "rtt", "halt", "resume"},
    "operator": {
        "halt", "resume", "deal", "adapter", "offer", "refresh", "renew", "offer_cancel",
        "offers_cancel", "start", "decline", "complete",
    },
    "buyer": {
        "halt", "resume", "adapter", "campaign", "campaign_end", "bid", "bid_cancel",
        "bids_cancel", "release", "complete",
    },
}  # fmt: skip

# The least that each command needs, as this member would write it.
LEAST: dict[str, dict[str, Any]] = {
    "operator": {"operator": ME},
    "buyer": {"buyer": ME},
    "deposit": {"role": "buyer", "member": ME, "transfer": 1, "amount": 1},
    "withdraw": {"role": "buyer", "member": ME, "transfer": 1, "amount": 1},
    "rules": {},
    "model": {
        "model": "m", "family": "f", "params_m": 1, "context_limit": 1, "card_in": 1, "card_out": 1,
    },
    "price_card": {"model": "m", "band": 5, "card_in": 1, "card_out": 1},
    "metro": {"metro": "x", "lat": 0.0, "lon": 0.0, "country": "NL", "population": 1},
    "site": {"site": "acme/one", "operator": ME, "tier": "regional", "lat": 0.0, "lon": 0.0},
    "resolve": {"fill": 1, "amount": 1},
    "site_trust": {"site": "acme/one"},
    "rtt": {"site": "acme/one", "metro": "x", "p99_us": 1},
    "halt": {"scope": "exchange", "by": "admin"},
    "resume": {"scope": "exchange", "by": "admin"},
    "deal": {"deal": "acme/d", "operator": ME, "buyers": []},
    "adapter": {"adapter": "acme/a", "model": "m"},
    "offer": {
        "site": "acme/one", "offer": 1, "model": "m", "hardware": "h100", "ask_in": 1, "ask_out": 1,
        "slots": 1, "ttft_us": 1, "context_limit": 1, "ttl_us": 1,
    },
    "refresh": {
        "site": "acme/one", "offer": 1, "slots": 1, "fills_seen": 0, "ttft_us": 1,
        "prefill_ns_per_token": 0, "tokens_per_second": 0, "ttl_us": 1,
    },
    "renew": {"site": "acme/one", "ttl_us": 1},
    "offer_cancel": {"site": "acme/one", "offer": 1},
    "offers_cancel": {"site": "acme/one"},
    "campaign": {
        "campaign": "c", "buyer": ME, "models": [{"model": "m"}], "latency_budget_us": 1,
        "max_unit_price": 1,
    },
    "campaign_end": {"buyer": ME, "campaign": "c"},
    "bid": {
        "buyer": ME, "agent": AGENT, "bid": 1, "campaign": "c", "origin": "x", "tokens_in": 1,
        "tokens_out": 1,
    },
    "bid_cancel": {"buyer": ME, "agent": AGENT, "bid": 1},
    "bids_cancel": {"buyer": ME, "agent": AGENT},
    "start": {"operator": ME, "fill": 1},
    "decline": {"operator": ME, "fill": 1, "reason": "refused"},
    "release": {"buyer": ME, "fill": 1},
    "complete": {
        "role": "buyer", "member": ME, "fill": 1, "tokens_in": 1, "tokens_out": 1, "ttft_us": 1,
    },
    "clock": {},
}  # fmt: skip

# The words by which a command says who or where its sender is. Values that are tried in each.
IDENTITY: dict[str, tuple[Any, ...]] = {
    "operator": (ME, OTHER),
    "buyer": (ME, OTHER),
    "member": (ME, OTHER),
    "role": ("buyer", "operator"),
    "agent": (AGENT, 0, AGENT + 1),
    "site": (*SITES, "acme/three", "rival/one", "one", "acme/", "acmeX/one", "acme"),
    "adapter": ("acme/a", "rival/a", "a", "acme/", "acme"),
    "deal": ("acme/d", "rival/d", "d", "acme/", "acme"),
    "by": ("admin", "verifier", "operator", "buyer", "risk"),
}
# Offers name adapters and deals of whoever made them; only who registers one must own its name.
OWNED = {("adapter", "adapter"), ("deal", "deal")}
FIXED_SITE = {"offer", "refresh", "renew", "offer_cancel", "offers_cancel"}
SCOPES = [
    ("exchange", ""), ("operator", ME), ("operator", OTHER), ("site", "acme/one"),
    ("site", "acme/elsewhere"), ("site", "rival/one"), ("site", "acme"), ("model", "m"),
    ("buyer", ME), ("buyer", OTHER),
]  # fmt: skip


def make(command, /, **fields):
    body = {"type": command, "at": 0, **LEAST[command], **fields}
    return msgspec.convert(body, AnyCommand)


def allowed_by_the_page(role, name, field, value, command):
    """State what MARKET_FILE.md and WIRE.md say of one field, in words of their own."""
    if role == "admin":
        if name == "site" and field in {"site", "operator"}:
            return command.site.startswith(command.operator + "/") and not command.site.endswith(
                "/"
            )
        return field != "by" or value in {"admin", "risk"}
    if role == "verifier":
        return field != "by" or value == "verifier"
    if field == "by":
        return value == role
    if (name, field) in OWNED:
        return value in {"acme/a", "acme/d"}
    if field == "site":
        return value in SITES if name in FIXED_SITE else True
    if field in {"operator", "buyer", "member"}:
        return value == ME
    if field == "role":
        return value == role
    if field == "agent":
        return value == AGENT
    return True


def fitting(role, name):
    """Fields that make the command right for this role, so that one field at a time is wrong."""
    fields = {}
    if name == "complete":
        fields["role"] = role if role in {"buyer", "operator"} else "buyer"
    if name in {"halt", "resume"}:
        fields["by"] = role
        scope, target = {
            "admin": ("exchange", ""),
            "verifier": ("site", "acme/one"),
            "operator": ("operator", ME),
            "buyer": ("buyer", ME),
        }[role]
        fields |= {"scope": scope, "name": target}
    return fields


def test_the_samples_are_every_command():
    assert set(LEAST) == {name_of(make(name)) for name in LEAST} == set(COMMAND_OF_NAME)
    assert len(LEAST) == len(COMMANDS)


@pytest.mark.parametrize("role", [*roles.ROLES, "risk", "sequencer", ""])
@pytest.mark.parametrize("name", LEAST)
def test_every_role_may_send_what_the_table_says_and_nothing_else(role, name):
    known = role in roles.ROLES
    command = make(name, **(fitting(role, name) if known else {}))
    refusal = roles.check(role, ME, AGENT, SITES, command)
    if name in ALLOWED.get(role, set()):
        assert refusal is None
    else:
        assert refusal == ("role", "type")
        assert refusal.code == 101


CASES = [
    (role, name, field, value)
    for role, name in itertools.product(roles.ROLES, LEAST)
    if name in ALLOWED[role]
    for field, values in IDENTITY.items()
    if field in COMMAND_OF_NAME[name].__struct_fields__
    for value in values
]


def test_every_identity_field_is_the_senders_own_or_refused():
    """Goal: no forged id in any command. Every role × command × identity field × value."""
    for role, name, field, value in CASES:
        command = make(name, **{**fitting(role, name), field: value})
        refusal = roles.check(role, ME, AGENT, SITES, command)
        expected = allowed_by_the_page(role, name, field, value, command)
        assert (refusal is None) == expected, (role, name, field, value, refusal)
        if refusal is not None and not (name == "site" and field == "operator"):
            assert refusal.field == field
            assert refusal.code in {102, 114, 115}
    assert len(CASES) > 150


def test_no_field_that_says_who_is_forgotten():
    """Goal: a new command with an identity field fails here until somebody decides about it."""
    seen = {field for _, _, field, _ in CASES}
    assert seen == set(IDENTITY)
    for role, commands in roles.MAY_SEND.items():
        for name, rules in commands.items():
            assert set(rules) <= set(COMMAND_OF_NAME[name].__struct_fields__), (role, name)


@pytest.mark.parametrize("name", ["halt", "resume"])
@pytest.mark.parametrize("role", roles.ROLES)
@pytest.mark.parametrize("scope,target", SCOPES)
def test_nobody_halts_beyond_its_reach(name, role, scope, target):
    reach = {
        "admin": True,
        "verifier": scope == "site",
        "operator": (scope, target)
        in {("operator", ME), ("site", "acme/one"), ("site", "acme/elsewhere")},
        "buyer": (scope, target) == ("buyer", ME),
    }[role]
    command = make(name, scope=scope, name=target, by=role)
    refusal = roles.check(role, ME, AGENT, SITES, command)
    assert refusal == (None if reach else ("field", "scope"))


def test_hot_frames_have_the_roles_of_their_commands():
    for kind, name in records.COMMAND_NAMES.items():
        assert set(roles.HOT_ROLES[kind]) == {role for role in ALLOWED if name in ALLOWED[role]}
    assert {records.COMMAND_NAMES[kind] for kind in roles.HOT_SITE_KINDS} == FIXED_SITE


def test_agents_without_sites_may_name_none():
    assert roles.check("operator", ME, AGENT, (), make("renew")) == ("site", "site")


@pytest.mark.parametrize("name,ok", [("acme", True), ("a/b", False), ("/", False), ("", False)])
def test_member_names_hold_no_slash(name, ok):
    assert roles.member_name_ok(name) is ok
