"""Promise S1: role × command × field, the whole table: what is not yours to say has no effect."""

import pytest

from schemas import commands as c
from schemas import records
from schemas.reasons import REFUSED, REJECTED
from schemas.session.messages import (
    Lookup,
    MemberAdd,
    MemberRevoke,
    Query,
    RegisterAdapters,
    SiteKey,
)
from tests.doors.role_table import HOT, NAMES_A_FILL, NAMES_A_SITE, RARE, SENDERS, hot_row
from tests.doors.served import state
from tests.fakes.house import Town, offer

REFUSALS = set(REFUSED.values())


class Cast:
    """Everybody of the town, with an offer that stands, a bid at rest and a fill to be forged."""

    def __init__(self):
        self.town = Town()
        self.peers = {
            "admin": self.town.admin,
            "verifier": self.town.verifier,
            "lantern": self.town.operator("lantern"),
            "beacon": self.town.operator("beacon"),
            "acme": self.town.buyer("acme"),
            "bolt": self.town.buyer("bolt"),
        }
        acme, lantern = self.peers["acme"], self.peers["lantern"]
        lantern.records(records.OFFER, offer(slots=1))
        made = acme.records(records.BID, self.town.bid(acme, 1))
        self.fill = int(made.fills["fill"][0])
        acme.records(records.BID, self.town.bid(acme, 2, rest_us=60_000_000))
        self.campaign = acme.campaign

    def trace(self):
        market = self.town.house.market
        return market.digest(), len(self.town.house.log.committed)


@pytest.fixture
def cast():
    return Cast()


def test_the_table_here_covers_every_command():
    """Goal: a command that is added is added here, too."""
    said = {c.name_of(command) for command, _ in RARE.values()}
    assert said == set(c.COMMAND_OF_NAME)
    assert set(HOT) == set(records.COMMAND_RECORDS)


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("kind", HOT, ids=lambda kind: records.COMMAND_NAMES[kind])
def test_a_frame_of_another_role_has_no_effect(cast, kind, sender):
    peer, before = cast.peers[sender], cast.trace()
    answer = peer.records(kind, hot_row(kind, cast.campaign, cast.fill))
    (code,) = answer.statuses["code"].tolist()
    if SENDERS[sender] not in HOT[kind]:
        assert code == REFUSED["role"]
        assert cast.trace() == before
    elif sender == "beacon" and kind in NAMES_A_SITE:
        assert code == REFUSED["site"]
        assert cast.trace() == before
    elif sender == "bolt" and kind == records.BID:
        assert code == REFUSED["handle"]  # another's campaign is as good as none
        assert cast.trace() == before
    else:
        assert code not in REFUSALS


@pytest.mark.parametrize("sender", ["beacon", "bolt"])
@pytest.mark.parametrize("kind", sorted(NAMES_A_FILL), ids=lambda kind: records.COMMAND_NAMES[kind])
def test_a_fill_of_others_cannot_be_touched(cast, kind, sender):
    """Goal: the member is taken from the key: another's fill is unknown, and nothing changes."""
    if SENDERS[sender] not in HOT[kind]:
        return
    before = state(cast.town.house.market)
    answer = cast.peers[sender].records(kind, hot_row(kind, cast.campaign, cast.fill))
    assert answer.statuses["code"].tolist() == [REJECTED["unknown"]]
    assert state(cast.town.house.market) == before


def test_a_bid_of_another_buyer_cannot_be_cancelled(cast):
    before = state(cast.town.house.market)
    bolt = cast.peers["bolt"]
    assert bolt.records(records.BID_CANCEL, {"bid": 2}).statuses["code"][0] == REJECTED["state"]
    assert bolt.records(records.BIDS_CANCEL, {}).statuses["code"][0] == 0
    assert state(cast.town.house.market) == before


def test_a_bid_of_another_agent_of_the_buyer_cannot_be_cancelled(cast):
    house, town = cast.town.house, cast.town
    second = town.buyer_on(house.member(town.admin, "acme", "buyer", number=1))
    before = state(house.market)
    assert second.records(records.BID_CANCEL, {"bid": 2}).statuses["code"][0] == REJECTED["state"]
    second.records(records.BIDS_CANCEL, {})
    assert state(house.market) == before


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("case", RARE)
def test_an_order_of_another_role_has_no_effect(cast, case, sender):
    command, meant_for = RARE[case]
    before = cast.trace()
    answer = cast.peers[sender].order(command)
    if sender in meant_for:
        assert answer.code not in REFUSALS, answer
    else:
        assert answer.code in REFUSALS, answer
        assert cast.trace() == before


@pytest.mark.parametrize("sender", SENDERS)
def test_session_messages_of_another_role_have_no_effect(cast, sender):
    peer, before = cast.peers[sender], cast.trace()
    key = cast.town.keys["bolt"]
    if sender != "admin":
        enrol = MemberAdd(member="x", role="buyer", agent=0, public_key="1" * 40)
        for message in (
            enrol,
            MemberRevoke(member="bolt"),
            MemberRevoke(member="bolt", public_key=key),
        ):
            assert peer.ask(message).code == REFUSED["role"]
        assert peer.request(SiteKey(request=1, site="lantern/one")).key == b""
    if SENDERS[sender] != "operator":
        assert peer.ask(RegisterAdapters(adapters=("a",))).code == REFUSED["role"]
    peer.request(Lookup(request=2, kind="campaign"))
    peer.request(Query(request=3, fill=cast.fill))
    assert cast.trace() == before
