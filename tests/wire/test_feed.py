"""Promise M2 at the follower's door: every event once, in order, or the gap is seen and filled."""

import random
from collections import deque
from typing import Any

import numpy as np
import pytest

from schemas import frames, records
from schemas.frames import ProtocolError, decode_client, decode_server
from schemas.reasons import REFUSED
from schemas.session.feed import (
    Events,
    FeedClientSession,
    FeedClosed,
    FeedServerSession,
    FeedSilent,
    Missed,
)
from schemas.session.messages import Received, Refused, Subscribe

MILLISECOND = 10**6
SECOND = 10**9
PEER = b"\0one"


def events(first, count):
    array = np.zeros(count, records.EVENT_RECORD)
    array["seq"] = np.arange(first, first + count)
    return array


class Follower:
    """A follower of one member with numbered events, of which the oldest may be gone."""

    def __init__(self, last, kept_from=1):
        self.last, self.kept_from = last, kept_from
        self.session = FeedServerSession(market=9)

    def receive(self, peer, buffer, now_ns):
        reply = self.session.receive(
            peer, decode_client(buffer), last=self.last, kept_from=self.kept_from, now_ns=now_ns
        )
        return [] if reply is None else [reply]

    def pour(self, now_ns, frames_max=10**6):
        poured: list[bytes] = []
        while len(poured) < frames_max:
            first, count = self.session.wanted(self.last)
            if count == 0:
                break
            poured.append(frames.encode_records(records.EVENT, events(first, count), first))
            self.session.sent(count, now_ns)
        return poured


def subscribe(follower, client, now_ns=0):
    client.connected(now_ns)
    [reply] = follower.receive(PEER, client.outbox.popleft(), now_ns)
    return client.receive(reply, now_ns)


def numbers(told):
    return [int(seq) for event in told if isinstance(event, Events) for seq in event.records["seq"]]


@pytest.mark.parametrize("after", [0, 1, 2_999, 3_000])
def test_a_subscription_goes_on_after_what_was_received(after):
    follower, client = Follower(3_000), FeedClientSession(after)
    assert subscribe(follower, client) == []
    told = [event for frame in follower.pour(0) for event in client.receive(frame, 0)]
    assert numbers(told) == list(range(after + 1, 3_001))
    assert (client.last, client.market) == (3_000, 9)


def test_what_is_no_longer_kept_is_said_and_not_passed_over():
    follower, client = Follower(100, kept_from=60), FeedClientSession(5)
    assert subscribe(follower, client) == [Missed(6, 59)]
    told = [event for frame in follower.pour(0) for event in client.receive(frame, 0)]
    assert numbers(told) == list(range(60, 101))


def test_nothing_kept_at_all_is_a_gap_up_to_the_newest():
    follower, client = Follower(100, kept_from=101), FeedClientSession()
    assert subscribe(follower, client) == [Missed(1, 100)]
    follower.last = 101
    told = [event for frame in follower.pour(0) for event in client.receive(frame, 0)]
    assert numbers(told) == [101]


@pytest.mark.parametrize("credit", [1, 3, 1024, 5000])
def test_no_more_than_the_credit_is_ever_under_way(credit):
    follower, client = Follower(5_000), FeedClientSession(credit=credit)
    subscribe(follower, client)
    told: list[Any] = []
    now_ns = 0
    while client.last < 5_000 and len(told) < 5_000:
        before = client.last
        poured = follower.pour(now_ns)
        assert sum(len(decode_server(frame).records) for frame in poured) <= credit
        for frame in poured:
            told += client.receive(frame, now_ns)
        if not client.outbox:  # what is short of a quarter is acknowledged with the heartbeat
            now_ns += SECOND
            assert client.poll(now_ns) == []
        while client.outbox:
            assert follower.receive(PEER, client.outbox.popleft(), now_ns) == []
        assert client.last > before
    assert numbers(told) == list(range(1, 5_001))


def test_a_gap_is_seen_at_once_and_asked_for_again():
    follower, client = Follower(3_000), FeedClientSession()
    subscribe(follower, client)
    first, _, third = follower.pour(0)
    told = client.receive(first, 0) + client.receive(third, 0)
    assert numbers(told) == list(range(1, 1_025))
    [reply] = follower.receive(PEER, client.outbox.popleft(), 0)
    assert client.receive(reply, 0) == []
    told = [event for frame in follower.pour(0) for event in client.receive(frame, 0)]
    assert numbers(told) == list(range(1_025, 3_001))


def test_a_lost_tail_is_seen_by_the_next_heartbeat():
    follower, client = Follower(10), FeedClientSession()
    subscribe(follower, client)
    follower.pour(0)
    beat = follower.session.poll(SECOND)
    assert beat is not None
    assert client.receive(beat, SECOND) == []
    [reply] = follower.receive(PEER, client.outbox.popleft(), SECOND)
    client.receive(reply, SECOND)
    told = [event for frame in follower.pour(SECOND) for event in client.receive(frame, SECOND)]
    assert numbers(told) == list(range(1, 11))


def test_events_that_came_before_are_cut_off():
    follower, client = Follower(10), FeedClientSession()
    subscribe(follower, client)
    assert numbers(client.receive(follower.pour(0)[0], 0)) == list(range(1, 11))
    again = frames.encode_records(records.EVENT, events(5, 10), 5)
    assert numbers(client.receive(again, 0)) == [11, 12, 13, 14]
    assert client.receive(again, 0) == []


def test_a_follower_behind_what_was_received_is_waited_for():
    """It was started again and catches up: nothing is told twice, nothing is given up."""
    follower, client = Follower(10), FeedClientSession(after=15)
    assert subscribe(follower, client) == []
    assert not client.open
    follower.last = 17
    assert client.poll(SECOND) == []
    [reply] = follower.receive(PEER, client.outbox.popleft(), SECOND)
    client.receive(reply, SECOND)
    told = [event for frame in follower.pour(0) for event in client.receive(frame, SECOND)]
    assert numbers(told) == [16, 17]


def test_silence_is_noticed_and_the_subscription_asked_for_again():
    follower, client = Follower(1), FeedClientSession()
    subscribe(follower, client)
    client.poll(SECOND)
    client.poll(2 * SECOND)
    assert client.poll(3 * SECOND) == [FeedSilent()]
    assert isinstance(decode_client(client.outbox[-1]).message, Subscribe)


def test_a_silent_subscriber_is_dropped_and_a_living_one_is_not():
    follower, client = Follower(1), FeedClientSession()
    subscribe(follower, client)
    for second in range(1, 100):
        beat = follower.session.poll(second * SECOND)
        assert beat is not None
        client.receive(beat, second * SECOND)
        assert client.poll(second * SECOND) == []
        while client.outbox:
            follower.receive(PEER, client.outbox.popleft(), second * SECOND)
    for second in range(100, 103):
        follower.session.poll(second * SECOND)
    assert follower.session.due_ns is None
    assert follower.session.wanted(1) == (0, 0)


def test_only_what_was_sent_can_be_received():
    for upto in (0, 10, 11, 2**62):
        follower, client = Follower(20), FeedClientSession(credit=10)
        subscribe(follower, client)
        follower.pour(0)
        reply = follower.receive(PEER, frames.encode_message(Received(upto=upto)), 0)
        assert (reply == []) == (upto <= 10)
    message = decode_server(reply[0]).message
    assert isinstance(message, Refused)
    assert message.fatal
    assert follower.session.peer == b""


def test_another_connection_is_told_to_subscribe_first():
    follower, client = Follower(20), FeedClientSession()
    subscribe(follower, client)
    [reply] = follower.receive(b"\0two", frames.encode_message(Received(upto=1)), 0)
    message = decode_server(reply).message
    assert isinstance(message, Refused)
    assert (message.code, message.fatal) == (REFUSED["not_established"], False)
    client.receive(reply, 0)  # a client that is told so subscribes again
    assert isinstance(decode_client(client.outbox.pop()).message, Subscribe)


def test_a_refusal_for_good_closes_the_feed():
    client = FeedClientSession()
    client.connected(0)
    refusal = frames.encode_message(Refused(code=REFUSED["role"], why="no", fatal=True))
    assert client.receive(refusal, 0) == [FeedClosed(101, "no")]
    client.connected(1)
    assert (client.deadline_ns, client.poll(10 * SECOND)) == (None, [])


def test_frames_of_the_other_door_are_malformed():
    client = FeedClientSession()
    client.connected(0)
    statuses = np.zeros(1, records.STATUS_RECORD)
    with pytest.raises(ProtocolError):
        client.receive(frames.encode_answer(1, statuses), 0)


def test_every_event_arrives_once_in_order_whatever_breaks(long):
    """Random breaks, drops at the high-water mark, restarts of the follower; then they stop."""
    for seed in range(3_000 if long else 60):
        print(f"seed {seed}: pytest tests/wire/test_feed.py")
        draw = random.Random(seed)
        follower, client = Follower(0), FeedClientSession(credit=draw.choice((40, 500, 5_000)))
        to_client: deque[bytes] = deque()
        told: list[Any] = []
        now_ns, peer = 0, 0
        for step in range(4_000):
            faulty = step < 400
            if not faulty and client.last == follower.last:
                break
            now_ns += draw.choice((1, 50, 300, 1_000)) * MILLISECOND
            follower.last += draw.choice((0, 0, 1, 30, 400)) if faulty else 0
            chance = draw.random() if faulty else 1
            if chance < 0.05:
                peer += 1
                to_client.clear()
                if chance < 0.03 or step < 2:
                    client.connected(now_ns)
            elif chance < 0.08:
                follower.session = FeedServerSession(market=9)
            elif chance < 0.15 and to_client:
                to_client.pop()
            elif step == 0:
                client.connected(now_ns)
            while client.outbox:
                to_client.extend(follower.receive(b"\0%d" % peer, client.outbox.popleft(), now_ns))
            if follower.session.peer == b"\0%d" % peer:
                to_client.extend(follower.pour(now_ns, 4))
            if beat := follower.session.poll(now_ns):
                to_client.append(beat)
            for _ in range(draw.choice((0, 1, 5)) if faulty else 100):
                if to_client:
                    told += client.receive(to_client.popleft(), now_ns)
            told += client.poll(now_ns)
        assert numbers(told) == list(range(1, follower.last + 1))
        assert not any(isinstance(event, FeedClosed | Missed) for event in told)
