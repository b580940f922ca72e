"""Sessions at the exchange: at most once, over restarts; what ends one, and what its end cancels."""

import pytest

from exchange import counters
from exchange.journal.record import Kind
from exchange.notes import SessionNote, decode
from schemas import limits, records
from schemas.commands import CampaignEnd, Halt
from schemas.frames import decode_server, encode_message, encode_order, encode_records
from schemas.reasons import REFUSED
from schemas.session.client import (
    Answered,
    Closed,
    MessageRefused,
    OutcomeUnknown,
    SessionEndedError,
)
from schemas.session.messages import (
    Establish,
    Heartbeat,
    Lookup,
    MemberRevoke,
    Refused,
    RegisterAdapters,
    Terminate,
)
from tests.fakes.house import SECOND, Town, campaign, frame, offer


@pytest.fixture
def town():
    return Town()


def resting(peer, town, number=1, **more):
    answer = peer.records(records.BID, town.bid(peer, number, rest_us=60_000_000, **more))
    assert answer.statuses["resting"].tolist() == [1]
    return answer


def last(town, peer):
    """The last message that went to a peer's connection, decoded."""
    return decode_server([s.payload for s in town.house.link.sent if s.peer == peer.id][-1])


def session_notes(town):
    notes = [decode(r.payload) for r in town.house.log.committed if r.kind == Kind.NOTE]
    return [note for note in notes if isinstance(note, SessionNote)]


# ----------------------------------------------------------------------------- at most once
def test_a_repeat_within_the_window_gets_the_same_bytes(town):
    """Promise M1: the first answer again, and no second effect."""
    buyer = town.buyer()
    batch = frame(records.BID, town.bid(buyer, 1), town.bid(buyer, 2, campaign=99))
    payload = encode_records(records.BID, batch, buyer.session.next_number)
    for _ in range(3):
        buyer.raw(payload)
    seq = town.house.market.seq
    town.house.settle()
    buyer.raw(payload)
    town.house.settle()
    answers = [s.payload for s in town.house.link.sent if s.peer == buyer.id][-2:]
    assert answers[0] == answers[1]
    assert town.house.market.seq == seq + 1


def test_a_refused_order_repeated_is_refused_again_in_the_same_words(town):
    buyer = town.buyer()
    order = encode_message(encode_order(campaign("bolt")), buyer.session.next_number)
    buyer.raw(order)
    town.house.settle()
    buyer.raw(order)
    town.house.settle()
    answers = [s.payload for s in town.house.link.sent if s.peer == buyer.id][-2:]
    assert answers[0] == answers[1]
    assert decode_server(answers[0]).message.code == REFUSED["field"]


def test_a_repeat_after_a_restart_is_a_duplicate(town):
    """Goal: what was applied before the restart is not applied again; a query tells the outcome."""
    buyer = town.buyer()
    buyer.session.send_records(records.BID, frame(records.BID, town.bid(buyer, 1)))
    buyer.flush()
    buyer.asleep = True  # its answer is lost
    town.house.settle()
    seq = town.house.market.seq
    town.house.restart()
    buyer.asleep = False
    buyer.reconnect()
    town.house.settle()
    assert buyer.opened[-1] == (1, True)
    assert buyer.got(OutcomeUnknown)
    assert town.house.market.seq == seq
    assert buyer.records(records.BID, town.bid(buyer, 2)).statuses["code"].tolist() == [0]


def test_what_was_not_committed_is_sent_again_and_applied_once(town):
    buyer = town.buyer()
    buyer.session.send_records(records.BID, frame(records.BID, town.bid(buyer, 1)))
    buyer.flush()
    seq = town.house.market.seq
    town.house.restart()  # before any round took it
    buyer.reconnect()
    town.house.settle()
    (answer,) = buyer.got(Answered)
    assert answer.statuses["number"].tolist() == [seq + 1]


@pytest.mark.parametrize("refused", ["the last record", "a whole frame", "an order"])
def test_a_session_goes_on_after_a_restart_behind_messages_that_were_refused(town, refused):
    """Goal: refused messages take numbers that no journal holds; the client must not be told "gap"
    for ever by an exchange that has forgotten them.
    """
    buyer = town.buyer()
    if refused == "an order":
        assert buyer.order(campaign("bolt")).code == REFUSED["field"]
    else:
        good = [town.bid(buyer, 1)] if refused == "the last record" else []
        buyer.records(records.BID, *good, town.bid(buyer, 2, campaign=99))
    town.house.restart()
    buyer.reconnect()
    town.house.settle()
    assert buyer.opened[-1] == (1, True)
    answer = buyer.records(records.BID, town.bid(buyer, 3))
    assert answer.statuses["code"].tolist() == [0]
    # And from here on the number line is strict again.
    number = buyer.session.next_number
    late = encode_records(records.BID, frame(records.BID, town.bid(buyer, 4)), number + 5)
    buyer.raw(late)
    town.house.round()
    assert last(town, buyer).message.code == REFUSED["gap"]


def test_a_gap_is_answered_with_the_number_expected(town):
    buyer = town.buyer()
    number = buyer.session.next_number
    seq = town.house.market.seq
    late = encode_records(records.BID, frame(records.BID, town.bid(buyer, 1)), number + 1)
    buyer.raw(late)
    town.house.round()
    refused = last(town, buyer).message
    assert (refused.code, refused.expected, refused.fatal) == (REFUSED["gap"], number, False)
    assert town.house.market.seq == seq


def test_message_numbers_resume_after_a_restart(town):
    buyer = town.buyer()
    buyer.records(records.BID, town.bid(buyer, 1), town.bid(buyer, 2))
    number = buyer.session.next_number
    town.house.restart()
    buyer.reconnect()
    town.house.settle()
    assert buyer.established.last_message == number - 1
    assert buyer.established.last_bid == 2


# ----------------------------------------------------------------------------- epochs
def test_a_new_session_of_the_agent_ends_the_old_one_with_its_cancels(town):
    """Goal: whoever starts anew starts clean; the process before it is told."""
    old = town.buyer()
    resting(old, town)
    new = town.house.open(town.keys["acme"])
    assert new.opened == [(2, False)]
    assert town.resting() == 0
    (closed,) = old.got(Closed)
    assert closed.code == REFUSED["session"]
    ends = [(n.epoch, n.opened) for n in session_notes(town)][-2:]
    assert ends == [(1, False), (2, True)]


def test_a_resumed_session_keeps_what_it_left(town):
    buyer, operator = town.buyer(), town.operator()
    operator.records(records.OFFER, offer(ask_in=10**9))
    resting(buyer, town, tokens_in=2000)
    for peer in (buyer, operator):
        peer.reconnect()
    town.house.settle()
    assert buyer.opened[-1] == operator.opened[-1] == (1, True)
    assert (town.resting(), town.offers()) == (1, 1)


def test_a_session_survives_the_exchanges_restart(town):
    buyer, operator = town.buyer(), town.operator()
    operator.records(records.OFFER, offer(ask_in=10**9))
    resting(buyer, town, tokens_in=2000)
    town.house.pass_ns(3600 * SECOND // 100)
    town.house.restart()
    for peer in (buyer, operator):
        peer.reconnect()
    town.house.settle()
    assert buyer.opened[-1] == operator.opened[-1] == (1, True)
    assert town.resting() == 1


def test_establish_tells_the_operator_what_its_sites_had(town):
    """WIRE.md, "Establish": per offer of the session's sites the count of fills and the open ones."""
    operator, buyer = town.operator(), town.buyer()
    operator.records(records.OFFER, offer(), offer(number=7))
    fills = buyer.records(records.BID, town.bid(buyer, 1, quantity=2)).fills
    operator.reconnect()
    town.house.settle()
    (site,) = operator.established.sites
    assert site.site == "lantern/one"
    told = {number: (made, list(unended)) for number, made, unended in site.offers}
    number = int(fills["offer"][0])
    assert told[number] == (2, fills["fill"].tolist())


def test_a_site_named_twice_in_establish_is_one_site(town):
    """Goal: the note of a session never grows beyond what was enrolled."""
    peer = town.operator(streams=("lantern/one",) * 300)
    assert peer.opened == [(1, False)]
    assert session_notes(town)[-1].streams == ("lantern/one",)


def test_a_session_streams_no_site_it_is_not_enrolled_for(town):
    peer = town.house.link.connect()
    establish = Establish(version_min=1, version_max=1, streams=("beacon/one",))
    town.house.link.put(peer, town.keys["lantern"], encode_message(establish))
    town.house.round()
    refused = decode_server(town.house.link.sent[-1].payload).message
    assert (refused.code, refused.fatal) == (REFUSED["site"], True)


def test_no_version_in_common_is_said_and_nothing_is_opened(town):
    peer = town.house.link.connect()
    notes = len(session_notes(town))
    establish = encode_message(Establish(version_min=7, version_max=9))
    town.house.link.put(peer, town.keys["acme"], establish)
    town.house.round()
    refused = decode_server(town.house.link.sent[-1].payload).message
    assert refused.code == REFUSED["version"]
    assert len(session_notes(town)) == notes


def test_messages_before_an_establish_are_refused(town):
    peer = town.house.link.connect()
    for message in (Heartbeat(), Terminate(), Lookup(request=1, kind="site")):
        town.house.link.put(peer, town.keys["acme"], encode_message(message))
        town.house.round()
        refused = decode_server(town.house.link.sent[-1].payload).message
        assert isinstance(refused, Refused)
        assert refused.code == REFUSED["not_established"]


# ----------------------------------------------------------------------------- ends
def test_terminate_cancels_bids_at_rest_and_streamed_offers(town):
    buyer, operator = town.buyer(), town.operator()
    operator.records(records.OFFER, offer(ask_in=10**9))
    resting(buyer, town, tokens_in=2000)
    buyer.events += buyer.session.terminate(town.house.mono_ns)
    town.house.settle()
    assert (town.resting(), town.offers()) == (0, 1)
    operator.events += operator.session.terminate(town.house.mono_ns)
    town.house.settle()
    assert town.offers() == 0
    assert buyer.got(Closed)[0].code == operator.got(Closed)[0].code == 0


def test_an_operators_end_leaves_the_sites_it_did_not_stream(town):
    operator = town.operator(streams=())
    operator.records(records.OFFER, offer())
    operator.events += operator.session.terminate(town.house.mono_ns)
    town.house.settle()
    assert town.offers() == 1


def test_silence_ends_a_session_once(town):
    """Promise M9: after `cancel_after_us` of silence the cancels are made, once; not before."""
    buyer = town.buyer()
    resting(buyer, town)
    buyer.asleep = True
    town.house.live(2)
    assert town.resting() == 1
    town.house.live(2)
    assert town.resting() == 0
    ended = [note for note in session_notes(town) if not note.opened]
    town.house.live(5)
    assert [note for note in session_notes(town) if not note.opened] == ended
    assert len(ended) == 1


def test_who_waits_unread_is_not_silent(town):
    """M9. Goal: heartbeats behind others' messages, on a disk so slow that these take five seconds.

    Method: orders, each a round of its own, and the heartbeat last; time passes between the rounds.
    """
    buyer, other = town.buyer(), town.buyer("bolt")
    resting(buyer, town)
    for _ in range(50):
        other.post_order(campaign("acme"))  # refused: not its own
    other.flush()
    buyer.raw(encode_message(Heartbeat()))
    buyer.asleep = True
    while town.house.link.inbox or not town.house.exchange.idle:
        town.house.pass_ns(SECOND // 10)
        town.house.round()
    town.house.live(1)
    assert town.resting() == 1
    town.house.live(4)
    assert town.resting() == 0


def test_nobody_was_silent_while_the_exchange_was_held(town):
    """Goal: a process stopped for ten seconds finds its sockets empty at first; words are on their way."""
    buyer = town.buyer()
    resting(buyer, town)
    town.house.pass_ns(10 * SECOND)
    town.house.round()
    town.house.live(4)  # the buyer speaks again within a quarter of a second
    assert town.resting() == 1


def test_cancel_after_is_the_sessions_own(town):
    buyer = town.buyer(cancel_after_us=10_000_000)
    resting(buyer, town)
    buyer.asleep = True
    town.house.live(9)
    assert town.resting() == 1
    town.house.live(2)
    assert town.resting() == 0


def test_who_comes_back_in_time_loses_nothing(town):
    buyer = town.buyer()
    resting(buyer, town)
    buyer.asleep = True
    town.house.live(2)
    buyer.asleep = False
    buyer.reconnect()
    town.house.settle()
    town.house.live(4)
    assert town.resting() == 1
    assert buyer.opened[-1] == (1, True)


def test_after_a_restart_silence_counts_from_readiness(town):
    """WIRE.md: after a restart of the exchange the time counts from readiness."""
    buyer = town.buyer()
    resting(buyer, town)
    town.house.pass_ns(30 * SECOND)  # it was down for long
    town.house.restart()
    buyer.asleep = True
    town.house.live(2)
    assert town.resting() == 1
    town.house.live(2)
    assert town.resting() == 0


def test_who_was_silent_too_long_may_open_a_new_session(town):
    buyer = town.buyer()
    buyer.asleep = True
    town.house.live(4)
    buyer.asleep = False
    town.house.live(3)
    assert buyer.opened[-1] == (2, False)
    assert buyer.records(records.BID, town.bid(buyer, 1)).statuses["code"].tolist() == [0]


def test_an_idle_session_is_kept_by_heartbeats_both_ways(town):
    buyer = town.buyer()
    sent = len(town.house.link.sent)
    town.house.live(10)
    assert buyer.opened == [(1, False)]
    heard = [decode_server(s.payload).message for s in town.house.link.sent[sent:]]
    beats = [s for s in town.house.link.sent[sent:] if s.peer == buyer.id]
    assert all(isinstance(message, Heartbeat) for message in heard)
    assert 7 <= len(beats) <= 10


# ----------------------------------------------------------------------------- rate
def test_over_the_rate_is_refused_by_number_and_the_session_goes_on():
    """Promise M10: a numbered reject; a second later the next units are there."""
    town = Town(units_per_second=100)
    buyer = town.buyer()
    town.house.live(1)
    answer = buyer.records(records.BID, *[town.bid(buyer, n) for n in range(1, 101)])
    assert not answer.statuses["code"].any()
    answer = buyer.records(records.BID, town.bid(buyer, 101), town.bid(buyer, 102))
    assert answer.statuses["code"].tolist() == [REFUSED["rate"]] * 2
    assert town.house.counts[counters.RATE_REFUSED] == 2
    assert buyer.order(campaign("acme", "two")).code == REFUSED["rate"]
    town.house.live(1)
    assert not buyer.records(records.BID, town.bid(buyer, 103)).statuses["code"].any()


def test_cancels_and_completions_pass_at_any_rate():
    town = Town(units_per_second=10)
    buyer, operator = town.buyer(), town.operator()
    operator.records(records.OFFER, offer())
    town.house.live(1)
    fills = buyer.records(records.BID, town.bid(buyer, 1, quantity=2)).fills
    resting(buyer, town, 2, tokens_in=600)
    refused = buyer.records(records.BID, *[town.bid(buyer, n) for n in range(3, 20)])
    assert set(refused.statuses["code"].tolist()) == {REFUSED["rate"]}
    for kind, row in (
        (records.BID_CANCEL, {"bid": 2}),
        (records.BIDS_CANCEL, {}),
        (records.RELEASE, {"fill": int(fills["fill"][0])}),
        (records.COMPLETE, {"fill": int(fills["fill"][1])}),
    ):
        assert buyer.records(kind, row).statuses["code"].tolist() != [REFUSED["rate"]]
    assert town.resting() == 0
    assert buyer.order(CampaignEnd(at=0, buyer="acme", campaign="chat")).code == 0
    assert buyer.order(Halt(at=0, scope="buyer", name="acme", by="buyer")).code == 0


def test_an_agents_own_rate_goes_before_the_exchanges():
    town = Town(units_per_second=10)
    town.house.member(town.admin, "acme", "buyer", key=town.keys["acme"], units_per_second=500)
    buyer = town.buyer()
    assert buyer.established.units_per_second == 500
    answer = buyer.records(records.BID, *[town.bid(buyer, n) for n in range(1, 300)])
    assert not answer.statuses["code"].any()


def test_far_over_the_rate_ends_the_session_and_cancels_what_it_left():
    """Promise M10: who goes on sending far above its rate is disconnected."""
    town = Town(units_per_second=20)
    buyer = town.buyer()
    town.house.live(1)
    resting(buyer, town)
    for number in range(12):
        rows = [town.bid(buyer, 2 + 20 * number + n) for n in range(20)]
        try:
            buyer.session.send_records(records.BID, frame(records.BID, *rows))
        except SessionEndedError:
            break
        town.house.settle()
    assert buyer.got(Closed)[0].code == REFUSED["rate"]
    assert town.resting() == 0
    ended = [note for note in session_notes(town) if not note.opened]
    assert len(ended) == 1


@pytest.mark.parametrize(
    "message",
    [
        encode_order(campaign("acme", "again")),
        encode_order(campaign("bolt")),  # not its own: refused, and a round all the same
        encode_order(Halt(at=0, scope="exchange", by="admin")),
        RegisterAdapters(adapters=("a",)),
        MemberRevoke(member="bolt"),
    ],
    ids=["taken", "another's", "another's that would be free", "another role's", "the admin's"],
)
def test_far_over_by_messages_ends_the_session_too(message):
    """Goal: whoever is refused for ever must not keep the loop busy with it."""
    town = Town(units_per_second=5)
    buyer = town.buyer()
    for _ in range(80):
        if buyer.got(Closed):
            break
        buyer.post(message)
        town.house.settle()
    assert buyer.got(Closed)[0].code == REFUSED["rate"]


def test_far_over_by_lookups_ends_the_session_too():
    """Goal: requests cost the loop as much as commands; nobody reads the exchange to a halt."""
    town = Town(units_per_second=1_000)
    buyer = town.buyer()
    for number in range(40):
        if buyer.got(Closed):
            break
        buyer.session.send(Lookup(request=number, kind="site"))
        town.house.settle()
    assert buyer.got(Closed)[0].code == REFUSED["rate"]


def test_the_hosts_own_agents_have_no_rate():
    town = Town(units_per_second=1)
    rows = [{"site": 1, "metro": 1, "p99_us": n} for n in range(1000)]
    assert not town.verifier.records(records.RTT, *rows).statuses["code"].any()


def test_the_window_of_answers_is_as_deep_as_what_may_be_unanswered(town):
    """Goal: whatever a client may still ask for again, the exchange still has."""
    buyer = town.buyer()
    number = buyer.session.next_number
    batch = frame(records.BIDS_CANCEL, {})
    for place in range(limits.UNANSWERED_FRAMES_MAX):
        buyer.raw(encode_records(records.BIDS_CANCEL, batch, number + place))
    town.house.settle()
    count = len(town.house.link.sent)
    buyer.raw(encode_records(records.BIDS_CANCEL, batch, number))
    town.house.settle()
    assert len(town.house.link.sent) == count + 1
    assert decode_server(town.house.link.sent[-1].payload).type == records.STATUS
    assert not buyer.got(MessageRefused)
