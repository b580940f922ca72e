"""Promises M1 and M3 under faults: whatever breaks, at most once, and every message has one end.

Goal: no schedule of lost connections, lost answers, delays, restarts and sleeping processes applies a
message twice or leaves its sender without a word. Method: one seed, virtual time, both real ends,
a connection that delays, breaks and forgets; then faults stop and everything must end. The auditor
knows only what the client was told and what the fake journal holds.
"""

import random
from collections import deque

import numpy as np
import pytest

from schemas import frames, records
from schemas.commands import Clock
from schemas.session.client import (
    Answered,
    ClientSession,
    Closed,
    MessageRefused,
    NotSent,
    Opened,
    OrderAnswered,
    OutcomeUnknown,
)
from schemas.session.machine import ClientState
from tests.wire.exchange_fake import FakeExchange

MILLISECOND = 10**6
SECOND = 10**9


class Run:
    def __init__(self, seed):
        self.draw = random.Random(seed)
        self.faults = {
            name: self.draw.random() < 0.6 for name in ("break", "restart", "sleep", "slow")
        }
        self.now_ns = 10_000 * SECOND
        self.exchange = FakeExchange(answers_kept=self.draw.choice((1, 3, 256)))
        self.client = ClientSession(cancel_after_us=self.draw.choice((1_000_000, 3_000_000)))
        self.connection = 0
        self.asleep_until_ns = 0
        self.to_exchange: deque[tuple[int, bytes, bytes]] = deque()
        self.to_client: deque[tuple[int, bytes, bytes]] = deque()
        self.content = 0
        self.under_way: dict[int, list[int]] = {}  # first number -> contents
        self.fate: dict[int, str] = {}
        self.sent: list[int] = []
        self.take(self.client.connected(self.now_ns))

    @property
    def peer(self):
        return b"\0%d" % self.connection

    def delay_ns(self):
        return self.draw.randrange(3000 if self.faults["slow"] and self.draw.random() < 0.05 else 20) * MILLISECOND  # fmt: skip

    def carry(self, queue, body, peer):
        due_ns = self.now_ns + self.delay_ns()
        if queue:
            due_ns = max(due_ns, queue[-1][0])  # a connection keeps the order
        queue.append((due_ns, peer, body))

    def step(self, *, faulty):
        self.now_ns += self.draw.choice((1, 10, 100, 400)) * MILLISECOND
        if faulty:
            self.maybe_break()
        while self.to_exchange and self.to_exchange[0][0] <= self.now_ns:
            _, peer, body = self.to_exchange.popleft()
            self.reply(self.exchange.receive(peer, body, self.now_ns))
        self.reply(self.exchange.poll(self.now_ns))
        if self.now_ns < self.asleep_until_ns:
            return
        while self.to_client and self.to_client[0][0] <= self.now_ns:
            _, peer, body = self.to_client.popleft()
            if peer == self.peer or self.draw.random() < 0.5:  # a late one, read after a reconnect
                self.take(self.client.receive(body, self.now_ns))
        if faulty and self.client.state is not ClientState.ENDED and self.draw.random() < 0.5:
            self.send()
        self.take(self.client.poll(self.now_ns))
        while self.client.outbox:
            self.carry(self.to_exchange, self.client.outbox.popleft(), self.peer)
            self.client.sent(self.now_ns)

    def maybe_break(self):
        chance = self.draw.random()
        if self.faults["break"] and chance < 0.05:
            self.to_exchange.clear()
            if self.draw.random() < 0.5:
                self.to_client.clear()
            self.connection += 1
            if self.draw.random() < 0.5:  # else it finds out by itself: not established, or silence
                self.take(self.client.connected(self.now_ns))
        elif self.faults["restart"] and chance < 0.07:
            self.exchange.restart(self.now_ns)
            self.connection += 1
            self.to_exchange.clear()
        elif self.faults["sleep"] and chance < 0.08:
            self.asleep_until_ns = self.now_ns + self.draw.randrange(6) * SECOND

    def reply(self, replies):
        for peer, body in replies:
            if peer == self.peer:
                self.carry(self.to_client, body, peer)

    def send(self):
        if not self.client.room(1000):
            return
        if self.draw.random() < 0.2:
            number = self.client.send_numbered(frames.encode_order(Clock(at=0)))
            assert number not in self.under_way
            self.under_way[number] = []
            return
        contents = [self.content + n for n in range(self.draw.choice((1, 1, 2, 5)))]
        self.content += len(contents)
        array = np.zeros(len(contents), records.RELEASE_RECORD)
        array["fill"] = contents
        first = self.client.send_records(records.RELEASE, array)
        assert first not in self.under_way
        self.under_way[first] = contents
        self.sent += contents

    def take(self, events):
        for event in events:
            match event:
                case Answered(first, statuses, _):
                    contents = self.settle(first, "applied")
                    assert statuses["number"].tolist() == contents  # its own answer, no other's
                case OrderAnswered(number, _):
                    self.settle(number, "applied")
                case OutcomeUnknown(first, _):
                    self.settle(first, "unknown")
                case NotSent(first, _):
                    self.settle(first, "not applied")
                case MessageRefused(first, _, _):
                    self.settle(first, "not applied")
                case Opened(established, resumed):
                    if not resumed:
                        assert not self.under_way or established.last_message == 0
                case Closed(code, why):
                    pytest.fail(f"closed: {code} {why}")

    def settle(self, first, fate):
        contents = self.under_way.pop(first)
        for content in contents:
            assert content not in self.fate
            self.fate[content] = fate
        return contents

    def audit(self):
        applied = [content for _, content in self.exchange.applied if content >= 0]
        assert len(applied) == len(set(applied)), "applied twice"
        assert applied == sorted(applied), "out of order"
        assert set(self.fate) == set(self.sent), "a message without an end"
        seen = set(applied)
        for content, fate in self.fate.items():
            assert fate != "applied" or content in seen
            assert fate != "not applied" or content not in seen
        assert len(self.exchange.ended) == len(set(self.exchange.ended)), "cancels fired twice"
        return list(self.fate.values())


def test_every_message_is_applied_at_most_once_and_has_one_end(long):
    fates = []
    for seed in range(20_000 if long else 250):
        run = Run(seed)
        try:
            for _ in range(150):
                run.step(faulty=True)
            for _ in range(1_000):  # faults stop: within bounded time everything must end
                if not run.client.unanswered and run.client.state is ClientState.OPEN:
                    break
                run.step(faulty=False)
            assert not run.under_way
            fates += run.audit()
        except BaseException:
            print(f"seed {seed}: pytest tests/wire/test_session_faults.py")
            raise
    # The rare is common here: every fate was met, many times over.
    for fate in ("applied", "unknown", "not applied"):
        assert fates.count(fate) > 100
