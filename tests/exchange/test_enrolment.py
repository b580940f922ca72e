"""Who may connect and as whom: enrolment over the wire, revocation, and what the registry folds."""

from typing import Any

import pytest

from exchange.identity import HOST_AGENTS
from exchange.registry import Registry
from schemas import records
from schemas.commands import Adapter, Buyer, Deal, Model, Operator
from schemas.frames import encode_message
from schemas.limits import REGISTRATIONS_PER_KIND_MAX
from schemas.link import new_keypair
from schemas.reasons import REFUSED
from schemas.session.client import Closed, OrderAnswered
from schemas.session.messages import Heartbeat, MemberAdd, MemberRevoke, RegisterAdapters
from tests.fakes.house import PAIRS, Town, campaign, offer


@pytest.fixture
def town():
    return Town()


def add(**fields):
    plain: dict[str, Any] = {
        "member": "nova",
        "role": "buyer",
        "agent": 0,
        "public_key": new_keypair()[0],
    }
    return MemberAdd(**(plain | fields))


# ----------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"member": "no/va"}, "name"),
        ({"member": "acme", "role": "operator"}, "name"),  # it is a buyer
        ({"member": "lantern"}, "name"),  # it is an operator
        ({"member": "admin", "agent": 1}, "name"),
        ({"member": "admin", "role": "admin"}, "name"),  # the host's own key
        ({"member": "verifier", "role": "verifier"}, "name"),
        ({"role": "boss"}, "field"),
        ({"sites": ("nova/one",)}, "field"),  # a buyer has none
        ({"role": "operator", "sites": ("lantern/one",)}, "name"),
        ({"role": "operator", "sites": ("novatel/one",)}, "name"),
        ({"public_key": "~" * 40}, "field"),
        ({"public_key": "é" * 40}, "field"),
        ({"public_key": PAIRS[0].public}, "field"),  # the admin's
    ],
)
def test_an_enrolment_that_would_blur_who_is_who_is_refused(town, fields, reason):
    """WIRE.md: names hold no slash and are unique over all roles; a key is one agent's alone."""
    log, agents = len(town.house.log.committed), len(town.house.registry.agents)
    answer = town.admin.ask(add(**fields))
    assert answer.code == REFUSED[reason], answer.why
    assert len(town.house.log.committed) == log
    assert len(town.house.registry.agents) == agents


def test_a_key_of_another_agent_is_refused(town):
    answer = town.admin.ask(add(public_key=town.keys["bolt"]))
    assert answer.code == REFUSED["field"]


@pytest.mark.parametrize(
    "command", [Operator(at=0, operator="acme"), Buyer(at=0, buyer="lantern"),
                Operator(at=0, operator="a/b"), Buyer(at=0, buyer="admin")],
)  # fmt: skip
def test_the_names_of_members_are_held_to_the_same_rule_when_registered_by_command(town, command):
    assert town.admin.order(command).code == REFUSED["name"]


@pytest.mark.parametrize("role", ["verifier", "lantern", "acme"])
def test_nobody_but_the_admin_enrols_or_revokes(town, role):
    peers = {"verifier": town.verifier}
    peer = peers.get(role) or town.house.open(town.keys[role])
    log = len(town.house.log.committed)
    assert peer.ask(add()).code == REFUSED["role"]
    assert peer.ask(MemberRevoke(member="bolt")).code == REFUSED["role"]
    assert len(town.house.log.committed) == log


# ----------------------------------------------------------------------------- what it does
def test_a_new_member_is_registered_and_its_key_admitted(town):
    key = town.house.member(town.admin, "nova", "buyer")
    assert town.house.market.names.handle("buyer", "nova")
    peer = town.house.open(key)
    assert (peer.established.member, peer.established.role) == ("nova", "buyer")
    assert peer.order(campaign("nova")).code == 0


def test_a_second_agent_is_the_same_member_with_bids_of_its_own(town):
    key = town.house.member(town.admin, "acme", "buyer", number=5)
    first, second = town.buyer(), town.buyer_on(key)
    for peer in (first, second):
        assert not peer.records(records.BID, town.bid(peer, 1)).statuses["code"].any()
    assert second.established.agent == 5
    assert first.established.member_handle == second.established.member_handle


def test_enrolling_again_replaces_the_key_and_cuts_the_old(town):
    """Goal: one key per agent; the session under the old one ends with its cancels, at once."""
    old = town.buyer()
    old.records(records.BID, town.bid(old, 1, rest_us=10**7))
    key = town.house.member(town.admin, "acme", "buyer")
    assert town.resting() == 0
    assert old.got(Closed)
    assert town.keys["acme"] not in town.house.registry.by_key
    log = len(town.house.log.committed)
    old.raw(encode_message(Heartbeat()))
    town.house.round()
    assert len(town.house.log.committed) == log
    new = town.buyer_on(key)
    assert new.opened == [(2, False)]


def test_enrolling_again_with_the_same_key_changes_sites_without_a_cut(town):
    operator = town.operator()
    town.house.member(
        town.admin, "lantern", "operator", 0, ("lantern/one", "lantern/two"), town.keys["lantern"]
    )
    assert not operator.got(Closed)
    assert not operator.records(records.OFFER, offer()).statuses["code"].any()
    town.house.member(town.admin, "lantern", "operator", 0, (), town.keys["lantern"])
    refused = operator.records(records.OFFER, offer())
    assert refused.statuses["code"].tolist() == [REFUSED["site"]]


def test_revoking_cuts_at_once_and_for_good(town):
    """Promise S1: the key admits nobody from the next round on, and the cancels are made."""
    buyer = town.buyer()
    buyer.records(records.BID, town.bid(buyer, 1, rest_us=10**7))
    assert town.admin.ask(MemberRevoke(member="acme")).code == 0
    assert town.resting() == 0
    assert buyer.got(Closed)
    assert town.keys["acme"] not in town.house.registry.by_key
    sent = len(town.house.link.sent)
    buyer.id = town.house.link.connect()
    buyer.raw(encode_message(Heartbeat()))
    town.house.round()
    assert len(town.house.link.sent) == sent
    town.house.restart()
    assert town.keys["acme"] not in town.house.registry.by_key


def test_one_key_of_a_member_can_be_revoked_alone(town):
    key = town.house.member(town.admin, "acme", "buyer", number=1)
    buyer = town.buyer()
    assert town.admin.ask(MemberRevoke(member="acme", public_key=key)).code == 0
    assert key not in town.house.registry.by_key
    assert not buyer.got(Closed)
    assert town.admin.ask(MemberRevoke(member="acme", public_key=key)).code == REFUSED["name"]
    assert town.admin.ask(MemberRevoke(member="nobody")).code == REFUSED["name"]


@pytest.mark.parametrize("member", [name for name, _ in HOST_AGENTS])
def test_the_hosts_own_keys_are_not_revoked_over_the_wire(town, member):
    """Goal: the next start would enrol them again; a revocation that undoes itself is none."""
    assert town.admin.ask(MemberRevoke(member=member)).code == REFUSED["name"]
    assert not town.verifier.got(Closed)


def test_an_admin_can_revoke_the_session_it_speaks_in_and_is_answered(town):
    """Goal: the act is done before its session ends, and the last answer still leaves."""
    key = town.house.member(town.admin, "ops", "admin")
    ops = town.house.open(key)
    number = ops.post(MemberRevoke(member="ops"))
    town.house.settle()
    assert [(e.number, e.answer.code) for e in ops.got(OrderAnswered)] == [(number, 0)]
    assert ops.got(Closed)


# ----------------------------------------------------------------------------- adapters, registrations
def adapters(operator, *names):
    for name in names:
        assert operator.order(Adapter(at=0, adapter=name, model="m")).code == 0


def test_a_set_of_adapters_has_one_handle_however_often_it_is_asked_for(town):
    operator = town.operator()
    adapters(operator, "lantern/a", "lantern/b")
    first = operator.ask(RegisterAdapters(adapters=("lantern/a", "lantern/b")))
    again = operator.ask(RegisterAdapters(adapters=("lantern/a", "lantern/b")))
    other = operator.ask(RegisterAdapters(adapters=("lantern/b",)))
    assert (first.handle, again.handle, other.handle) == (1, 1, 2)
    answer = operator.records(records.OFFER, offer(adapter_set=2))
    assert not answer.statuses["code"].any()
    town.house.restart()
    assert town.house.registry.adapter_sets == {("lantern/a", "lantern/b"): 1, ("lantern/b",): 2}


@pytest.mark.parametrize(
    "names, reason",
    [((), "field"), (("lantern/a", "lantern/a"), "field"), (("lantern/x",), "handle")],
)
def test_a_set_that_is_none_is_refused_and_not_journaled(town, names, reason):
    """Goal: a note that the fold cannot apply would stop this start and every later one."""
    operator = town.operator()
    adapters(operator, "lantern/a")
    log = len(town.house.log.committed)
    assert operator.ask(RegisterAdapters(adapters=names)).code == REFUSED[reason]
    assert len(town.house.log.committed) == log


def test_only_operators_register_sets(town):
    assert town.buyer().ask(RegisterAdapters(adapters=("x",))).code == REFUSED["role"]
    assert town.admin.ask(RegisterAdapters(adapters=("x",))).code == REFUSED["role"]


def test_registrations_are_counted_by_handles_given(town):
    """WIRE.md: 65,536 of a kind per member. What is rejected or replaced takes none of them."""
    operator, buyer = town.operator(), town.buyer()
    counted = town.house.registry.registrations
    for _ in range(3):
        assert (
            operator.order(Deal(at=0, deal="lantern/d", operator="lantern", buyers=("acme",))).code
            == 0
        )
    assert buyer.order(campaign("acme")).code > 200  # exists
    assert counted == {("acme", "campaign"): 1, ("lantern", "deal"): 1}
    counted["acme", "campaign"] = REGISTRATIONS_PER_KIND_MAX - 1
    assert buyer.order(campaign("acme", "last")).code == 0
    assert buyer.order(campaign("acme", "more")).code == REFUSED["registrations"]


# ----------------------------------------------------------------------------- the fold
def test_the_registry_after_a_restart_is_what_it_was(town):
    """Goal: agents, keys, roles, sessions, last messages, sets: all from the journal alone."""
    operator, buyer = town.operator(), town.buyer()
    adapters(operator, "lantern/a")
    operator.ask(RegisterAdapters(adapters=("lantern/a",)))
    buyer.records(records.BID, town.bid(buyer, 1), town.bid(buyer, 2))
    town.house.member(town.admin, "nova", "buyer", units_per_second=7)
    town.admin.ask(MemberRevoke(member="bolt"))
    town.admin.order(
        Model(at=0, model="n", family="", params_m=1, context_limit=1, card_in=1, card_out=1)
    )
    before = town.house.registry.snapshot()
    town.house.restart()
    assert town.house.registry.snapshot() == before
    assert Registry.restore(before).snapshot() == before
    restored = Registry.restore(before)
    assert restored.by_key.keys() == town.house.registry.by_key.keys()
    agent = restored.by_name["acme", 0]
    assert agent.last_message == buyer.session.next_number - 1
