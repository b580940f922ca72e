"""One round: what was judged is numbered, made durable, applied and answered, in that order."""

import numpy as np
import pytest

from exchange import counters
from exchange.journal.errors import JournalFailed
from exchange.journal.record import Kind
from exchange.round import ROUND_UNITS_MAX
from schemas import records
from schemas.commands import Metro
from schemas.frames import decode_server, encode_message, encode_order, encode_records
from schemas.reasons import REFUSED, REJECTED
from schemas.session.messages import OrderAnswer
from tests.fakes.house import SECOND, START_NS, House, Town, frame, offer


@pytest.fixture
def town():
    return Town()


def kinds(log):
    return [(record.kind, record.seq, record.count) for record in log.committed]


# ----------------------------------------------------------------------------- commit before answer
def test_answers_leave_only_after_the_commit(town):
    """Promise D1 in the loop: whenever something is sent, nothing is waiting to be made durable."""
    operator, buyer = town.operator(), town.buyer()
    operator.records(records.OFFER, offer())
    buyer.records(records.BID, town.bid(buyer, 1))
    town.admin.order(Metro(at=0, metro="Rome", lat=0.0, lon=0.0, country="IT", population=1))
    answers = [sent for sent in town.house.link.sent if sent.commits]
    assert len(answers) > 10
    assert all(sent.waiting == 0 for sent in town.house.link.sent)


def test_a_commit_that_fails_lets_no_answer_out(town):
    """Goal: a disk that is gone ends the exchange; nobody hears of what it did not keep."""
    buyer = town.buyer()
    before = len(town.house.link.sent)
    state = town.house.market.digest()
    buyer.session.send_records(records.BID, frame(records.BID, town.bid(buyer, 1)))
    buyer.flush()
    town.house.log.fails = True
    with pytest.raises(JournalFailed):
        town.house.round()
    assert town.house.link.sent[before:] == []
    assert town.house.market.digest() == state


def test_one_sync_is_shared_by_all_that_arrived(town):
    """Group commit: two sessions' frames are one write, numbered in the order in which they came."""
    one, two = town.buyer("acme"), town.buyer("bolt")
    for peer in (one, two):
        rows = [town.bid(peer, number) for number in (1, 2)]
        peer.session.send_records(records.BID, frame(records.BID, *rows))
        peer.flush()
    commits, seq = town.house.log.commits, town.house.market.seq
    town.house.round()
    assert town.house.log.commits == commits + 1
    assert [a.statuses["number"].tolist() for a in (one.events[-1], two.events[-1])] == [
        [seq + 1, seq + 2],
        [seq + 3, seq + 4],
    ]
    assert town.house.market.seq == seq + 4


def test_a_round_with_nothing_to_keep_writes_nothing(town):
    commits = town.house.log.commits
    for _ in range(5):
        town.house.round()
    assert town.house.log.commits == commits


# ----------------------------------------------------------------------------- batches
def test_a_rare_message_ends_the_batch(town):
    """Goal: what comes behind a registration may name what it registers; the round waits for it."""
    admin, buyer = town.admin, town.buyer()
    admin.post(
        encode_order(Metro(at=0, metro="Rome", lat=0.0, lon=0.0, country="IT", population=1))
    )
    admin.flush()
    rome = town.house.market.handle_count("metro") + 1
    buyer.session.send_records(records.BID, frame(records.BID, town.bid(buyer, 1, origin=rome)))
    buyer.flush()
    town.house.round()
    assert not town.house.exchange.idle
    assert buyer.events[-1].__class__.__name__ == "OrderAnswered"  # still its campaign's
    town.house.round()
    assert buyer.events[-1].statuses["code"].tolist() == [0]


def test_refused_records_split_a_frame_and_its_numbers_go_on(town):
    """Goal: a record that is refused costs its own place only: not numbered, not journaled."""
    buyer = town.buyer()
    rows = [town.bid(buyer, number) for number in (1, 2, 3, 4, 5)]
    rows[1]["campaign"] = 77  # never given
    rows[3]["lease_us"] = 1
    seq, length = town.house.market.seq, len(town.house.log.committed)
    answer = buyer.records(records.BID, *rows)
    assert answer.statuses["code"].tolist() == [0, REFUSED["handle"], 0, REFUSED["lease"], 0]
    assert answer.statuses["number"].tolist() == [seq + 1, 0, seq + 2, 0, seq + 3]
    parts = town.house.log.committed[length:]
    first = answer.first
    assert [(p.count, p.message) for p in parts] == [(1, first), (1, first + 2), (1, first + 4)]
    # The number line of the session goes on behind the refused ones.
    again = buyer.records(records.BID, town.bid(buyer, 6))
    assert again.first == first + 5
    assert again.statuses["code"].tolist() == [0]


def test_records_of_an_unknown_handle_are_neither_numbered_nor_journaled(town):
    operator = town.operator()
    seq, log = town.house.market.seq, len(town.house.log.committed)
    answer = operator.records(records.OFFER, offer(model=9), offer(deal=4), offer(adapter_set=3))
    assert answer.statuses["code"].tolist() == [REFUSED["handle"]] * 3
    assert town.house.market.seq == seq
    assert len(town.house.log.committed) == log


def test_a_round_ends_when_it_has_enough_to_do():
    """Goal: a long queue is worked in bounded rounds, so that the first answer need not wait for all."""
    town = Town(units_per_second=10**6)
    buyer = town.buyer()
    assert ROUND_UNITS_MAX == 2 * 4096
    rows = [town.bid(buyer, number, quantity=4) for number in range(1, 1025)]
    for start in range(3):
        for row in rows:
            row["bid"] += 1024 if start else 0
        buyer.session.send_records(records.BID, frame(records.BID, *rows))
    buyer.flush()
    seq = town.house.market.seq
    town.house.round()
    assert town.house.market.seq == seq + 2 * 1024
    assert not town.house.exchange.idle
    town.house.round()
    assert town.house.market.seq == seq + 3 * 1024


# ----------------------------------------------------------------------------- answers
def test_a_bids_answer_carries_its_fills_and_their_tokens(town):
    operator, buyer = town.operator(), town.buyer()
    made = operator.records(records.OFFER, offer(slots=3))
    assert made.statuses["number"].tolist() == [0]  # fills made under this name
    answer = buyer.records(records.BID, town.bid(buyer, 1, quantity=2), town.bid(buyer, 2))
    assert answer.statuses["fills"].tolist() == [2, 1]
    assert answer.fills["bid"].tolist() == [1, 1, 2]
    assert answer.fills["unit"].tolist() == [0, 1, 0]
    assert np.unique(answer.fills["token"], axis=0).shape[0] == 3
    more = operator.records(records.OFFER, offer(slots=1, fills_seen=3))
    assert more.statuses["number"].tolist() == [3]


def test_a_bid_that_does_not_fill_says_why_and_one_that_rests_how_much(town):
    buyer = town.buyer()
    answer = buyer.records(
        records.BID, town.bid(buyer, 1, quantity=2), town.bid(buyer, 2, rest_us=10**6, quantity=3)
    )
    assert answer.statuses["ended"].tolist() == [2, 0]
    assert answer.statuses["reason"][0] > 300
    assert answer.statuses["resting"].tolist() == [0, 3]


def test_a_number_used_twice_hears_only_of_its_own_rejection(town):
    """Goal: the outcome of the first bid of that number, ending just now, is not told as the second's."""
    buyer = town.buyer()
    buyer.records(records.BID, town.bid(buyer, 1, rest_us=10**6))
    town.house.pass_ns(2 * SECOND)
    answer = buyer.records(records.BID, town.bid(buyer, 1))
    assert answer.statuses["code"].tolist() == [REJECTED["duplicate"]]
    assert answer.statuses["ended"].tolist() == [0]


def test_a_registration_is_answered_with_its_handle(town):
    metro = Metro(at=0, metro="Rome", lat=0.0, lon=0.0, country="IT", population=1)
    answer = town.admin.order(metro)
    assert answer == OrderAnswer(code=0, seq=town.house.market.seq, handle=2)
    assert town.admin.order(metro).handle == 2


# ----------------------------------------------------------------------------- time
def test_time_never_runs_backwards(town):
    """Promise M8: a clock that jumps back is waited for; `at` stays where it was."""
    buyer = town.buyer()
    buyer.records(records.BID, town.bid(buyer, 1))
    at = town.house.sequencer.at_ns
    town.house.now_ns -= 3600 * SECOND
    buyer.records(records.BID, town.bid(buyer, 2))
    assert town.house.sequencer.at_ns == at
    town.house.restart()
    assert town.house.sequencer.at_ns == at
    stamps = [record.at_ns for record in town.house.log.committed]
    assert stamps == sorted(stamps)
    assert stamps[0] == START_NS


def test_the_clock_ticks_when_something_is_due_and_only_then(town):
    """Goal: an expiry is journaled as a command, once; an idle market writes nothing."""
    house = town.house
    operator = town.operator()
    operator.records(records.OFFER, offer(ttl_us=5_000_000))
    seq = house.market.seq
    for _ in range(4):
        house.live(1)
        assert house.market.seq == seq
    assert town.offers() == 1
    house.live(2)
    assert town.offers() == 0
    assert house.market.seq == seq + 1
    house.live(3)
    assert house.market.seq == seq + 1
    ticks = [r for r in house.log.committed if r.kind == Kind.RARE and r.agent == 0]
    assert ticks[-1].seq == seq + 1


def test_a_renewed_offer_costs_at_most_one_tick_per_due_time(town):
    """Goal: the hint of when something is due may be early; it must not make the exchange spin."""
    house = town.house
    operator = town.operator()
    operator.records(records.OFFER, offer(ttl_us=2_000_000))
    operator.records(records.RENEW, {"site": 1, "ttl_us": 60_000_000})
    seq = house.market.seq
    house.live(6)
    assert town.offers() == 1
    assert house.market.seq <= seq + 1
    assert house.exchange.wait_ms() > 0


def test_a_command_lets_what_is_due_happen_without_a_tick(town):
    house = town.house
    operator, buyer = town.operator(), town.buyer()
    operator.records(records.OFFER, offer(ttl_us=1_000_000))
    house.pass_ns(2 * SECOND)
    seq = house.market.seq
    answer = buyer.records(records.BID, town.bid(buyer, 1))
    assert answer.statuses["fills"].tolist() == [0]
    assert house.market.seq == seq + 1


def test_the_loop_sleeps_no_longer_than_until_the_next_expiry(town):
    operator = town.operator()
    assert town.house.exchange.wait_ms() == 100
    operator.records(records.OFFER, offer(ttl_us=30_000))
    assert 0 < town.house.exchange.wait_ms() <= 30


# ----------------------------------------------------------------------------- replay
def test_the_live_state_is_what_its_journal_replays_to(town):
    """Promise D7: live == recovery, market and registry, record for record."""
    house = town.house
    operator, buyer = town.operator(), town.buyer()
    operator.records(records.OFFER, offer(), offer(number=2, ask_in=40_000))
    fills = buyer.records(records.BID, town.bid(buyer, 1, quantity=3, rest_us=10**7)).fills
    operator.records(records.START, {"fill": int(fills["fill"][0])})
    for peer in (operator, buyer):
        peer.records(records.COMPLETE, {"fill": int(fills["fill"][0]), "tokens_in": 10})
    buyer.records(records.RELEASE, {"fill": int(fills["fill"][1])}, {"fill": 999})
    buyer.records(records.BID, town.bid(buyer, 2, rest_us=10**6), town.bid(buyer, 2))
    house.live(3)
    market, registry = house.replayed()
    assert market.digest() == house.market.digest()
    assert market.seq == house.market.seq == house.sequencer.next_seq - 1
    assert registry.snapshot() == house.registry.snapshot()
    market.audit()


def test_numbers_are_dense_over_rounds_and_restarts(town):
    house = town.house
    buyer = town.buyer()
    buyer.records(records.BID, town.bid(buyer, 1), town.bid(buyer, 2))
    house.restart()
    buyer.reconnect()
    house.settle()
    buyer.records(records.BID, town.bid(buyer, 3))
    expected = 1
    for _, seq, count in kinds(house.log):
        assert seq == expected
        expected += count


# ----------------------------------------------------------------------------- others' trouble
def test_a_malformed_message_costs_its_session_and_no_other(town):
    one, two = town.buyer("acme"), town.buyer("bolt")
    one.records(records.BID, town.bid(one, 1, rest_us=10**7))
    one.raw(b"\xff" * 40)
    town.house.settle()
    assert town.resting() == 0  # its end cancelled what rested
    assert two.records(records.BID, town.bid(two, 1)).statuses["code"].tolist() == [0]
    assert town.house.counts[counters.MALFORMED] == 1
    with pytest.raises(Exception, match="over"):
        one.records(records.BID, town.bid(one, 2))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x06\x00",
        encode_message(OrderAnswer(code=0)),  # the exchange's own words
        encode_records(records.STATUS, np.zeros(1, records.STATUS_RECORD), 1),
        encode_records(records.BID, np.zeros(1, records.BID_RECORD), 1)[:-1],
    ],
)
def test_nonsense_is_answered_and_leaves_no_trace(town, payload):
    """Goal: from a connection that established nothing, the answer says malformed and the state stays."""
    house = town.house
    peer = house.link.connect()
    log = len(house.log.committed)
    house.link.put(peer, town.keys["acme"], payload)
    house.round()
    (sent,) = [sent for sent in house.link.sent if sent.peer == peer]
    assert decode_server(sent.payload).message.code == REFUSED["malformed"]
    assert len(house.log.committed) == log


def test_what_a_key_that_is_not_enrolled_says_is_not_heard():
    """Goal: a connection whose key was revoked after its handshake is dropped in silence."""
    house = House()
    peer = house.link.connect()
    house.link.put(peer, "x" * 40, encode_message(OrderAnswer(code=0)))
    house.round()
    assert house.link.sent == []


def test_a_peer_that_does_not_read_loses_its_answers_and_nothing_else(town):
    one, two = town.buyer("acme"), town.buyer("bolt")
    town.house.link.gone.add(one.id)
    one.session.send_records(records.BID, frame(records.BID, town.bid(one, 1)))
    answer = two.records(records.BID, town.bid(two, 1))
    assert answer.statuses["code"].tolist() == [0]
    assert town.house.counts[counters.ANSWERS_LOST] == 1
    town.house.link.gone.clear()
    one.reconnect()
    town.house.settle()
    assert one.events[-1].statuses["code"].tolist() == [0]  # the first answer, kept


def test_the_counters_say_what_happened(town):
    counts = town.house.counts
    open_now = int(counts[counters.SESSIONS])
    buyer = town.buyer()
    assert counts[counters.SESSIONS] == open_now + 1
    records_before = int(counts[counters.RECORDS])
    buyer.records(records.BID, town.bid(buyer, 1), town.bid(buyer, 2, campaign=99))
    assert counts[counters.RECORDS] == records_before + 2
    assert counts[counters.REFUSED] >= 1
    buyer.events += buyer.session.terminate(town.house.mono_ns)
    town.house.settle()
    assert counts[counters.SESSIONS] == open_now
    histogram = counts[counters.ROUND_RECORDS_BUCKETS :][: counters.RECORDS_BUCKETS]
    assert histogram.sum() == counts[counters.ROUNDS]
