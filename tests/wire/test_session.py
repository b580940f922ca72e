"""Both ends of a session against each other: numbers, repeats, gaps, resuming, silence, takeover."""

import itertools
from typing import Any

import numpy as np
import pytest

from schemas import frames, limits, records
from schemas.commands import Clock
from schemas.frames import decode_server
from schemas.reasons import REFUSED
from schemas.session.client import (
    Answered,
    ClientSession,
    Closed,
    MessageRefused,
    NotSent,
    Opened,
    OrderAnswered,
    OutcomeUnknown,
    Replied,
    SessionEndedError,
    Silent,
    WindowFullError,
)
from schemas.session.machine import ClientState, ServerState
from schemas.session.messages import Establish, Heartbeat, Lookup, Refused, Terminated
from schemas.session.server import Act
from tests.wire.exchange_fake import FakeExchange

SECOND = 10**9


def releases(*contents):
    array = np.zeros(len(contents), records.RELEASE_RECORD)
    array["fill"] = contents
    return array


class Pair:
    """A client and an exchange with a connection that a test breaks when it likes."""

    def __init__(self, answers_kept=256, **client):
        self.now_ns = 1_000 * SECOND
        self.exchange = FakeExchange(answers_kept)
        self.client = ClientSession(**client)
        self.connection = 0
        self.events: list[Any] = []
        self.say(self.client.connected(self.now_ns))

    def say(self, events):
        self.events += events
        return events

    @property
    def peer(self):
        return b"\0conn%d" % self.connection

    def deliver(self, *, answers=True):
        """Carry everything both ways until nothing moves; `answers` False loses what comes back."""
        while self.client.outbox:
            sent = self.client.outbox.popleft()
            self.client.sent(self.now_ns)
            for peer, reply in self.exchange.receive(self.peer, sent, self.now_ns):
                if answers and peer == self.peer:
                    self.say(self.client.receive(reply, self.now_ns))

    def reconnect(self):
        self.connection += 1
        self.say(self.client.connected(self.now_ns))

    def take(self):
        taken, self.events = self.events, []
        return taken


@pytest.fixture
def pair():
    made = Pair(streams=("acme/one",))
    made.deliver()
    [opened] = made.take()
    assert isinstance(opened, Opened)
    assert not opened.resumed
    return made


def refused_code(reply):
    message = decode_server(reply).message
    assert isinstance(message, Refused)
    return message.code


# ----------------------------------------------------------------------------- the plain way
def test_messages_are_numbered_and_answered_in_order(pair):
    first = pair.client.send_records(records.RELEASE, releases(10, 11, 12))
    number = pair.client.send_numbered(frames.encode_order(Clock(at=0)))
    pair.client.send(Lookup(request=77, kind="model"))
    assert (first, number, pair.client.next_number) == (1, 4, 5)
    pair.deliver()
    answered, ordered, replied = pair.take()
    assert isinstance(answered, Answered)
    assert answered.first == 1
    assert answered.statuses["number"].tolist() == [10, 11, 12]
    assert isinstance(ordered, OrderAnswered)
    assert ordered.number == 4
    assert isinstance(replied, Replied)
    assert pair.client.unanswered == 0
    assert [content for _, content in pair.exchange.applied] == [10, 11, 12, -4]


def test_what_is_sent_before_the_session_is_open_waits_for_it():
    pair = Pair()
    pair.client.send_records(records.RELEASE, releases(5))
    assert len(pair.client.outbox) == 1  # the Establish alone
    pair.deliver()
    opened, answered = pair.take()
    assert isinstance(opened, Opened)
    assert isinstance(answered, Answered)


def test_terminate_ends_both_and_cancels(pair):
    pair.client.send_records(records.RELEASE, releases(5))
    pair.say(pair.client.terminate(pair.now_ns))
    assert pair.client.state is ClientState.ENDING
    with pytest.raises(SessionEndedError):
        pair.client.send_records(records.RELEASE, releases(6))
    pair.deliver()
    answered, closed = pair.take()
    assert isinstance(answered, Answered)
    assert closed == Closed(0, "")
    assert pair.exchange.ended == [1]
    assert pair.exchange.session.state is ServerState.CLOSED
    with pytest.raises(SessionEndedError):
        pair.client.send(Lookup(request=1, kind="model"))


# ----------------------------------------------------------------------------- at most once
def test_a_lost_answer_is_given_again_byte_for_byte(pair):
    pair.client.send_records(records.RELEASE, releases(5, 6))
    pair.deliver(answers=False)
    pair.reconnect()
    pair.deliver()
    opened, answered = pair.take()
    assert opened.resumed
    assert opened.established.last_message == 2
    assert answered.statuses["number"].tolist() == [5, 6]
    assert [content for _, content in pair.exchange.applied] == [5, 6]
    assert pair.exchange.ended == []


def test_after_a_restart_a_repeat_is_duplicate_and_its_outcome_unknown(pair):
    """The window is gone, the number is not: M3, the word for it is OutcomeUnknown."""
    pair.client.send_records(records.RELEASE, releases(5))
    pair.deliver(answers=False)
    pair.exchange.restart(pair.now_ns)
    pair.client.send_records(records.RELEASE, releases(6))
    pair.reconnect()
    pair.deliver()
    opened, unknown, answered = pair.take()
    assert opened.resumed
    assert unknown == OutcomeUnknown(1, 1)
    assert answered.first == 2
    assert [content for _, content in pair.exchange.applied] == [5, 6]


def test_an_answer_out_of_the_window_is_duplicate():
    pair = Pair(answers_kept=2)
    pair.deliver()
    for content in (5, 6, 7):
        pair.client.send_records(records.RELEASE, releases(content))
    pair.deliver(answers=False)
    pair.take()
    pair.reconnect()
    pair.deliver()
    _, unknown, *answered = pair.take()
    assert unknown == OutcomeUnknown(1, 1)
    assert [event.first for event in answered] == [2, 3]
    assert len(pair.exchange.applied) == 3


def test_a_frame_of_which_the_journal_has_a_part_is_not_applied_again(pair):
    """Its last records were refused, so a restart finds a smaller last number (server.py)."""
    pair.client.send_records(records.RELEASE, releases(5, 6, 7))
    pair.deliver(answers=False)
    pair.exchange.last[1] = 2
    pair.exchange.restart(pair.now_ns)
    pair.reconnect()
    pair.client.send_records(records.RELEASE, releases(8))
    pair.deliver()
    _, unknown, answered = pair.take()
    assert unknown == OutcomeUnknown(1, 3)
    assert answered.first == 4
    assert [content for _, content in pair.exchange.applied] == [5, 6, 7, 8]


def test_a_repeat_of_what_is_being_applied_gets_no_second_answer(pair):
    session = pair.exchange.session
    frame = frames.decode_client(frames.encode_records(records.RELEASE, releases(1, 2), 1))
    verdict = session.receive(pair.peer, frame, pair.now_ns)
    assert verdict.act is Act.APPLY
    assert session.receive(pair.peer, frame, pair.now_ns).act is Act.NOTHING
    session.answered(verdict.epoch, 1, 2, b"the answer", pair.now_ns)
    assert session.receive(pair.peer, frame, pair.now_ns) == (Act.REPLY, 0, b"the answer", None)


def test_the_same_number_with_another_count_is_never_applied(pair):
    session = pair.exchange.session
    pair.client.send_records(records.RELEASE, releases(1, 2))
    pair.deliver()
    for count in (1, 3):
        frame = frames.decode_client(
            frames.encode_records(records.RELEASE, releases(*range(count)), 1)
        )
        verdict = session.receive(pair.peer, frame, pair.now_ns)
        assert refused_code(verdict.reply) == REFUSED["duplicate"]


def test_a_gap_is_refused_with_the_number_that_comes_next(pair):
    pair.client.send_records(records.RELEASE, releases(1, 2))
    pair.deliver()
    skipped = frames.encode_records(records.RELEASE, releases(9), 4)
    [(_, reply)] = pair.exchange.receive(pair.peer, skipped, pair.now_ns)
    refused = decode_server(reply)
    assert refused.first == 4
    assert refused.message == Refused(code=110, why="expected number 3", expected=3)
    assert len(pair.exchange.applied) == 2


def test_a_client_in_a_gap_starts_again_from_what_the_exchange_has(pair):
    pair.client.send_records(records.RELEASE, releases(1))
    pair.client.send_records(records.RELEASE, releases(2))
    pair.client.outbox.popleft()  # lost on the way, which ZeroMQ does not do within a connection
    pair.deliver()
    opened, *answered = pair.take()
    assert opened.resumed
    assert [event.first for event in answered] == [1, 2]
    assert [content for _, content in pair.exchange.applied] == [1, 2]


def test_answers_of_an_epoch_that_ended_meanwhile_are_not_kept(pair):
    session = pair.exchange.session
    frame = frames.decode_client(frames.encode_records(records.RELEASE, releases(1), 1))
    old = session.receive(pair.peer, frame, pair.now_ns)
    establish = frames.encode_message(Establish(version_min=1, version_max=1))
    pair.exchange.receive(b"\0other", establish, pair.now_ns)
    session.answered(old.epoch, 1, 1, b"of the old epoch", pair.now_ns)
    assert session.receive(b"\0other", frame, pair.now_ns).act is Act.APPLY


# ----------------------------------------------------------------------------- silence and time
@pytest.mark.parametrize("cancel_after_us", [1_000_000, 3_000_000, 60_000_000])
def test_silence_ends_a_session_once_and_not_a_moment_too_soon(cancel_after_us):
    """Promise M9: cancel on disconnect fires once, and not when the member came back in time."""
    pair = Pair(cancel_after_us=cancel_after_us)
    pair.deliver()
    end_ns = pair.now_ns + 1000 * cancel_after_us
    pair.exchange.poll(end_ns - 1)
    assert pair.exchange.ended == []
    assert pair.exchange.session.due_ns <= end_ns
    pair.exchange.poll(end_ns)
    pair.exchange.poll(end_ns + SECOND)
    assert pair.exchange.ended == [1]
    assert pair.exchange.session.due_ns is None


def test_who_comes_back_in_time_keeps_bids_and_offers(pair):
    pair.now_ns += 3 * SECOND - 1
    pair.reconnect()
    pair.deliver()
    assert pair.take()[0].resumed
    pair.exchange.poll(pair.now_ns + 3 * SECOND - 1)
    assert pair.exchange.ended == []


def test_who_comes_back_late_learns_what_it_cannot_know_and_goes_on(pair):
    pair.client.send_records(records.RELEASE, releases(1))
    pair.deliver(answers=False)
    pair.client.disconnected(pair.now_ns)
    pair.client.send_records(records.RELEASE, releases(2))
    pair.now_ns += 10 * SECOND
    pair.exchange.poll(pair.now_ns)
    pair.reconnect()
    pair.deliver()
    unknown, not_sent, opened = pair.take()
    assert unknown == OutcomeUnknown(1, 1)
    assert not_sent == NotSent(2, 1)
    assert not opened.resumed
    assert (opened.established.epoch, pair.client.next_number) == (2, 1)


def test_a_client_that_slept_on_a_living_connection_gets_a_new_session(pair):
    """The end by silence is not final: the late message is told `not established`, and it asks."""
    pair.now_ns += 10 * SECOND
    notices = pair.exchange.poll(pair.now_ns)
    assert pair.exchange.ended == [1]
    for _, notice in notices:
        pair.say(pair.client.receive(notice, pair.now_ns))
    pair.deliver()
    [opened] = pair.take()
    assert not opened.resumed
    assert pair.client.state is ClientState.OPEN


def test_after_a_restart_silence_counts_from_readiness(pair):
    pair.now_ns += 60 * SECOND
    pair.exchange.restart(pair.now_ns)
    pair.exchange.poll(pair.now_ns + 3 * SECOND - 1)
    assert pair.exchange.ended == []
    pair.exchange.poll(pair.now_ns + 3 * SECOND)
    assert pair.exchange.ended == [1]


def test_heartbeats_keep_a_quiet_session_for_an_hour(pair):
    for _ in range(3600):
        pair.now_ns += SECOND
        pair.say(pair.client.poll(pair.now_ns))
        pair.deliver()
        for _, reply in pair.exchange.poll(pair.now_ns):
            pair.say(pair.client.receive(reply, pair.now_ns))
    assert pair.take() == []
    assert pair.exchange.ended == []


def test_a_short_patience_survives_a_lost_heartbeat():
    """With cancel_after of one second, two heartbeats go out before it is over."""
    pair = Pair(cancel_after_us=1_000_000)
    pair.deliver()
    sent = 0
    for step in range(1, 10):
        pair.client.poll(pair.now_ns + step * SECOND // 10)
        sent += len(pair.client.outbox)
        pair.client.outbox.clear()
    assert sent >= 2


def test_a_silent_exchange_is_noticed_within_three_seconds_and_asked_again(pair):
    for tenth in range(1, 31):
        events = pair.client.poll(pair.now_ns + tenth * SECOND // 10)
        assert (events == [Silent()]) == (tenth == 30)
    assert pair.client.state is ClientState.ESTABLISHING
    asked = []
    for tenth in range(31, 400):
        pair.client.outbox.clear()
        pair.client.poll(pair.now_ns + tenth * SECOND // 10)
        asked += [tenth] * len(pair.client.outbox)
    gaps = [later - sooner for sooner, later in itertools.pairwise(asked)]
    assert gaps == sorted(gaps)
    assert max(gaps) <= 80  # eight seconds at most between two tries


def test_deadlines_never_lie_in_the_past_after_a_poll(pair):
    """Goal: an event loop that sleeps until the deadline neither spins nor oversleeps."""
    for _ in range(200):
        now_ns = pair.client.deadline_ns
        pair.client.poll(now_ns)
        assert pair.client.deadline_ns > now_ns
        pair.client.outbox.clear()
    session = pair.exchange.session
    while session.state is ServerState.OPEN:
        now_ns = session.due_ns
        session.poll(now_ns)
        assert session.due_ns is None or session.due_ns > now_ns


# ----------------------------------------------------------------------------- who speaks
def test_a_newer_session_takes_over_and_the_older_process_does_not_fight(pair):
    newer = ClientSession()
    newer.connected(pair.now_ns)
    out = pair.exchange.receive(b"\0newer", newer.outbox.popleft(), pair.now_ns)
    (old_peer, notice), (new_peer, established) = out
    assert (old_peer, new_peer) == (pair.peer, b"\0newer")
    assert isinstance(newer.receive(established, pair.now_ns)[0], Opened)
    assert pair.exchange.ended == [1]
    [closed] = pair.client.receive(notice, pair.now_ns)
    assert closed.code == REFUSED["session"]
    pair.client.connected(pair.now_ns)
    assert not pair.client.outbox
    # One that missed the notice is refused when it asks for its old epoch.
    stale = frames.encode_message(Establish(version_min=1, version_max=1, epoch=1))
    [(_, reply)] = pair.exchange.receive(b"\0stale", stale, pair.now_ns)
    message = decode_server(reply).message
    assert isinstance(message, Refused)
    assert message.fatal
    assert pair.exchange.session.peer == b"\0newer"


def test_messages_of_a_connection_that_did_not_establish_have_no_effect(pair):
    body = frames.encode_records(records.RELEASE, releases(1), 1)
    [(_, reply)] = pair.exchange.receive(b"\0other", body, pair.now_ns)
    assert refused_code(reply) == REFUSED["not_established"]
    assert pair.exchange.applied == []


def test_malformed_bytes_cost_that_session_and_say_why(pair):
    [(_, notice)] = pair.exchange.receive(pair.peer, b"nonsense", pair.now_ns)
    [closed] = pair.client.receive(notice, pair.now_ns)
    assert closed.code == REFUSED["malformed"]
    assert pair.exchange.ended == [1]


def test_malformed_bytes_of_another_connection_do_not(pair):
    [(peer, reply)] = pair.exchange.receive(b"\0other", b"nonsense", pair.now_ns)
    assert peer == b"\0other"
    assert refused_code(reply) == REFUSED["malformed"]
    assert pair.exchange.ended == []


def test_a_revoked_key_ends_its_session(pair):
    verdict = pair.exchange.session.revoke()
    assert verdict.ended.streams == ("acme/one",)
    [closed] = pair.client.receive(verdict.ended.notice, pair.now_ns)
    assert closed.code == REFUSED["session"]
    assert pair.exchange.session.revoke().act is Act.NOTHING


def test_a_session_streams_only_the_agents_own_sites():
    pair = Pair(streams=("acme/one", "rival/one"))
    pair.deliver()
    [closed] = pair.take()
    assert (closed.code, closed.why) == (REFUSED["site"], "not this agent's: rival/one")


def test_no_common_version_is_refused_for_good():
    pair = Pair(versions=(2, 3))
    pair.deliver()
    [closed] = pair.take()
    assert closed.code == REFUSED["version"]


def test_records_of_another_version_than_agreed_end_the_session(pair):
    body = frames.encode_records(records.RELEASE, releases(1), 1, version=2)
    [(_, notice)] = pair.exchange.receive(pair.peer, body, pair.now_ns)
    message = decode_server(notice).message
    assert isinstance(message, Terminated)
    assert message.code == REFUSED["version"]


def test_an_answer_to_an_earlier_establish_opens_nothing():
    """Goal: no message of one epoch is taken for one of the next (client.py, `request`)."""
    pair = Pair()
    early = pair.client.outbox.popleft()
    [(_, first_answer)] = pair.exchange.receive(pair.peer, early, pair.now_ns)
    pair.now_ns += 2 * SECOND
    pair.client.poll(pair.now_ns)  # it was slow: asked again, and the exchange gives epoch 2
    pair.say(pair.client.receive(first_answer, pair.now_ns))
    assert pair.client.state is ClientState.ESTABLISHING
    pair.deliver()
    [opened] = pair.take()
    assert opened.established.epoch == pair.exchange.session.epoch == 2


# ----------------------------------------------------------------------------- bounds
def test_what_is_unanswered_is_bounded_by_count_and_bytes():
    client = ClientSession(frames_max=3, bytes_max=16 + 16 + 8 + 16 + 24)
    client.send_records(records.RELEASE, releases(1))
    with pytest.raises(WindowFullError):
        client.send_records(records.RELEASE, releases(*range(8)))
    client.send_records(records.RELEASE, releases(1, 2, 3))
    assert client.next_number == 5
    assert not client.room(17)
    client = ClientSession(frames_max=3)
    for _ in range(3):
        client.send_records(records.RELEASE, releases(1))
    with pytest.raises(WindowFullError):
        client.send(Lookup(request=1, kind="model"))
    assert (client.unanswered, client.next_number) == (3, 4)


def test_answers_give_the_room_back(pair):
    for number in range(3 * limits.UNANSWERED_FRAMES_MAX):
        pair.client.send_records(records.RELEASE, releases(number))
        pair.client.send(Lookup(request=number, kind="model"))
        pair.deliver()
    assert pair.client.unanswered == 0
    assert pair.client._bytes == 0


def test_only_numbered_messages_are_numbered():
    client = ClientSession()
    with pytest.raises(TypeError, match="use send"):
        client.send_numbered(Heartbeat())
    assert client.next_number == 1


def test_a_whole_frame_refused_has_had_no_effect(pair):
    pair.client.send_records(records.RELEASE, releases(1, 2))
    refusal = frames.encode_message(Refused(code=REFUSED["rate"], why="slower"), 1)
    [refused] = pair.client.receive(refusal, pair.now_ns)
    assert isinstance(refused, MessageRefused)
    assert (refused.number, refused.numbers, refused.refused.code) == (1, 2, 104)
    assert pair.client.unanswered == 0
