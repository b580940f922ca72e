"""Lookups, queries and keys: everybody sees the public market, and of the rest only what is its own."""

import itertools

import msgspec
import pytest

from schemas import records
from schemas.commands import AnyCommand, Deal, Metro, Site
from schemas.session.messages import Found, Lookup, Outcome, Query, SiteKey
from schemas.token import TokenChecker, TokenRefused
from tests.fakes.house import IDENTITY, Town, campaign, offer

REQUESTS = itertools.count(1)


@pytest.fixture
def town():
    return Town()


def names(reply):
    assert isinstance(reply, Found)
    return [entry.name for entry in reply.entries]


def look(peer, kind, **more):
    return peer.request(Lookup(request=next(REQUESTS), kind=kind, **more))


def ask(peer, **more):
    reply = peer.request(Query(request=next(REQUESTS), **more))
    assert isinstance(reply, Outcome)
    return reply


def test_the_public_kinds_are_everybodys(town):
    for peer in (town.admin, town.verifier, town.operator(), town.buyer("bolt")):
        assert names(look(peer, "site")) == ["lantern/one", "beacon/one"]
        assert names(look(peer, "operator")) == ["lantern", "beacon"]
        (entry,) = look(peer, "metro").entries
        assert (entry.handle, entry.name) == (1, "Berlin")
        known = msgspec.msgpack.decode(entry.detail, type=AnyCommand)
        assert isinstance(known, Metro)
        assert known.country == "DE"


def test_buyers_are_nobodys_to_look_up(town):
    assert names(look(town.buyer(), "buyer")) == []
    assert names(look(town.admin, "buyer")) == []


def test_campaigns_are_shown_to_their_buyer_alone(town):
    acme, bolt, operator = town.buyer("acme"), town.buyer("bolt"), town.operator()
    bolt.order(campaign("bolt", "secret"))
    handles = tuple(range(1, 9))
    assert names(look(acme, "campaign")) == ["chat"]
    assert names(look(acme, "campaign", handles=handles)) == ["chat"]
    assert names(look(acme, "campaign", names=("secret", "chat"))) == ["chat"]
    assert names(look(bolt, "campaign")) == ["chat", "secret"]
    for other in (operator, town.admin):
        assert names(look(other, "campaign")) == []
        assert names(look(other, "campaign", handles=handles)) == []


def test_a_deal_is_shown_to_its_operator_and_its_buyers(town):
    operator, other = town.operator(), town.operator("beacon")
    acme, bolt = town.buyer("acme"), town.buyer("bolt")
    deal = Deal(at=0, deal="lantern/d", operator="lantern", buyers=("acme",))
    assert operator.order(deal).code == 0
    for peer, seen in ((operator, 1), (acme, 1), (other, 0), (bolt, 0), (town.admin, 0)):
        assert len(look(peer, "deal").entries) == seen
        assert len(look(peer, "deal", names=("lantern/d",)).entries) == seen
        assert len(look(peer, "deal", handles=(1,)).entries) == seen


@pytest.mark.parametrize("kind", ["", "nothing", "adapter_set", "fill"])
def test_an_unknown_kind_finds_nothing(town, kind):
    assert names(look(town.buyer(), kind)) == []


def test_unknown_names_and_handles_are_left_out(town):
    buyer = town.buyer()
    assert names(look(buyer, "site", names=("beacon/one", "nobody/one"))) == ["beacon/one"]
    assert names(look(buyer, "site", handles=(0, 2, 77, 2**32 - 1))) == ["beacon/one"]


def test_a_long_list_comes_in_parts(town):
    """Goal: no answer outgrows a message; the asker goes on behind the last entry."""
    for number in range(1100):
        town.admin.post_order(metro(f"m{number}"))
        if number % 100 == 99:
            town.house.settle()
    buyer = town.buyer()
    first = look(buyer, "metro")
    assert (len(first.entries), first.more) == (1024, True)
    rest = look(buyer, "metro", after=first.entries[-1].handle)
    assert (len(rest.entries), rest.more) == (1101 - 1024, False)


def metro(name):
    return Metro(at=0, metro=name, lat=0.0, lon=0.0, country="DE", population=1)


# ----------------------------------------------------------------------------- queries
def test_a_query_tells_of_ones_own_bids_and_fills_alone(town):
    """Promise M3: after a lost answer the outcome can be asked for, by whom it concerns."""
    operator, acme = town.operator(), town.buyer("acme")
    other, bolt = town.operator("beacon"), town.buyer("bolt")
    operator.records(records.OFFER, offer(slots=1))
    fill = int(
        acme.records(records.BID, town.bid(acme, 9, quantity=3, rest_us=10**7)).fills["fill"][0]
    )
    bid = ask(acme, bid=9)
    assert (bid.known, bid.resting, bid.fills) == (True, 2, (fill,))
    assert not ask(acme, bid=10).known
    assert not ask(acme).known
    assert not ask(bolt, bid=9).known
    assert not ask(operator, bid=9).known
    for peer, known in ((acme, True), (operator, True), (bolt, False), (other, False)):
        found = ask(peer, fill=fill)
        assert (found.known, found.state) == (known, "leased" if known else "")
    assert not ask(town.admin, fill=fill).known
    assert not ask(acme, fill=fill + 1).known


def test_another_agent_of_the_buyer_sees_its_fills_but_has_bids_of_its_own(town):
    key = town.house.member(town.admin, "acme", "buyer", number=1)
    operator, first, second = town.operator(), town.buyer(), town.buyer_on(key)
    operator.records(records.OFFER, offer())
    fill = int(first.records(records.BID, town.bid(first, 3)).fills["fill"][0])
    assert ask(second, fill=fill).known
    assert not ask(second, bid=3).known


# ----------------------------------------------------------------------------- token keys
def test_a_sites_token_key_goes_to_the_admin_alone_and_judges_its_tokens(town):
    operator, buyer = town.operator(), town.buyer()
    operator.records(records.OFFER, offer())
    fills = buyer.records(records.BID, town.bid(buyer, 1)).fills
    for peer in (operator, buyer, town.verifier):
        reply = peer.request(SiteKey(request=next(REQUESTS), site="lantern/one"))
        assert (reply.key, reply.key_id, reply.site_handle) == (b"", 0, 0)
    assert town.admin.request(SiteKey(request=next(REQUESTS), site="nobody/one")).key == b""
    reply = town.admin.request(SiteKey(request=next(REQUESTS), site="lantern/one"))
    checker = TokenChecker({reply.key_id: reply.key}, IDENTITY.market, reply.site_handle)
    now_ns = town.house.now_ns
    token = bytes(fills["token"][0])
    checked = checker.check(token, now_ns)
    assert not isinstance(checked, TokenRefused)
    assert checked.fill == int(fills["fill"][0])
    forged = token[:-1] + bytes([token[-1] ^ 1])
    assert checker.check(forged, now_ns) == TokenRefused("mac")


def test_reads_see_the_state_behind_the_rounds_commit(town):
    """Goal: what arrives behind a frame in the same round is answered from what the frame did."""
    admin, buyer = town.admin, town.buyer()
    site = Site(at=0, site="lantern/two", operator="lantern", tier="metro_colo", lat=0.0, lon=0.0)
    admin.post_order(site)
    admin.session.send(Lookup(request=next(REQUESTS), kind="site"))
    admin.flush()
    town.house.settle()
    reply = admin.events[-1].message
    assert names(reply)[-1] == "lantern/two"
    assert names(look(buyer, "site"))[-1] == "lantern/two"
