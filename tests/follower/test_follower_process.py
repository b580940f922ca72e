"""The follower's process, over real sockets: members, the public, and whoever watches it."""

import contextlib
import http.client
import json
import threading
import time
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from exchange import notes, ports
from exchange.follower import main
from exchange.follower.status import HttpRefused, StatusServer
from schemas import events as e
from schemas import frames, records
from schemas.link import ClientLink, FeedClient, new_context, new_keypair
from schemas.session.feed import Events, FeedClientSession, FeedClosed
from tests.follower.living import BUYERS, OPERATORS, Living
from tests.waiting import until


@contextlib.contextmanager
def running(config):
    stop, errors = threading.Event(), []

    def body():
        try:
            main.run(config, stop)
        except Exception as error:  # noqa: BLE001 -- handed to the test's own thread
            errors.append(error)

    (config.run_folder / main.STATUS_NAME).unlink(missing_ok=True)
    thread = threading.Thread(target=body)
    thread.start()
    try:
        until(lambda: errors or (config.run_folder / main.STATUS_NAME).exists(), 60)
        assert not errors, errors
        yield ports.load(config)
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
        assert not errors, errors


@pytest.fixture
def living(tmp_path):
    market = Living(tmp_path / "data", seed=5)
    market.open()
    ports.resolve(market.config)
    return market


class Wire:
    """What a test connects, closed after it."""

    def __init__(self):
        self.context = new_context()
        self.links: list[Any] = []

    def open(self, kind, *arguments):
        self.links.append(kind(self.context, *arguments))
        return self.links[-1]


@pytest.fixture
def wire():
    made = Wire()
    yield made
    for link in made.links:
        link.close()
    made.context.term()


class Member:
    """An agent that reads its member's events."""

    def __init__(self, wire, addresses, living, pair, after=0, credit=65_536):
        server = living.keys.server.public
        public, secret = pair
        self.link = wire.open(ClientLink, addresses.events, server, public, secret)
        self.session = FeedClientSession(after, credit)
        self.events = []
        self.said = []
        self.connected = False

    def turn(self):
        """Take what came, send what is to be sent; once."""
        now = time.monotonic_ns()
        if not self.connected and self.link.writable:
            self.connected = True
            self.session.connected(now)
        for frame in self.link.drain():
            for said in self.session.receive(frame.buffer, now):
                (self.events if isinstance(said, Events) else self.said).append(said)
        self.said += self.session.poll(now)
        while self.session.outbox and self.link.send(self.session.outbox[0]):
            self.session.outbox.popleft()
        return self

    @property
    def count(self):
        return sum(len(events.records) for events in self.events)

    def until(self, count):
        until(lambda: self.turn().count >= count, 20)
        assert self.count == count
        return np.concatenate([events.records for events in self.events])


def file_of(living, role, handle):
    path = living.config.events_folder / "members" / f"{role}-{handle:010d}.ev"
    return np.frombuffer(path.read_bytes()[64:], records.EVENT_RECORD)


def count_of(living, role, handle):
    try:
        return len(file_of(living, role, handle))
    except FileNotFoundError:
        return 0


def test_members_get_their_events_once_in_order_from_any_number(living, wire):
    """M2, over CURVE: two agents of one member, one from the middle; then the follower restarts."""
    living.live(200)
    with running(living.config) as addresses:
        until(lambda: count_of(living, "buyer", 1) > 20)
        name, pair = BUYERS[0], living.pairs[BUYERS[0], 0]
        reader = Member(wire, addresses, living, pair)
        living.live(100)
        position = living.writer.end
        until(lambda: summary(addresses)["position"] == position)
        total = count_of(living, "buyer", 1)
        whole = reader.until(total)
        assert whole.tobytes() == file_of(living, "buyer", 1).tobytes()
        other = Member(wire, addresses, living, living.pairs[name, 1], after=total // 2, credit=3)
        assert other.until(total - total // 2).tobytes() == whole[total // 2 :].tobytes()
    living.live(50)
    with running(living.config) as addresses:
        until(lambda: summary(addresses)["position"] == living.writer.end)
        reader.until(count_of(living, "buyer", 1))
        assert reader.session.last == count_of(living, "buyer", 1) > total


def test_a_slow_reader_harms_only_itself(living, wire):
    """M6: one subscriber never takes anything and gives no credit; the other misses nothing."""
    with running(living.config) as addresses:
        slow = Member(wire, addresses, living, living.pairs[BUYERS[0], 0], credit=2)
        until(lambda: slow.turn().session.open)
        quick = Member(wire, addresses, living, living.pairs[BUYERS[0], 1])
        living.live(200)
        until(lambda: summary(addresses)["position"] == living.writer.end)
        quick.until(count_of(living, "buyer", 1))


def test_who_may_not_is_told_nothing(living, wire):
    """An unknown key is not let in; admin has no events; a revoked key is cut while it reads."""
    with running(living.config) as addresses:
        stranger = Member(wire, addresses, living, new_keypair())
        admin = Member(wire, addresses, living, living.pairs["admin", 0])
        operator = Member(wire, addresses, living, living.pairs[OPERATORS[0], 0])
        until(lambda: admin.turn().said)
        assert isinstance(admin.said[0], FeedClosed)
        until(lambda: operator.turn().session.open)
        key = living.pairs[OPERATORS[0], 0][0]
        living.note(notes.RevokeNote(public_key=key))
        until(lambda: operator.turn().session.closed)
        assert isinstance(operator.said[-1], FeedClosed)
        stranger.turn()
        assert not stranger.connected
        assert not stranger.events


def test_bytes_that_are_no_frame_cost_their_sender_and_nobody_else(living, wire):
    living.live(100)
    with running(living.config) as addresses:
        good = Member(wire, addresses, living, living.pairs[BUYERS[0], 0])
        bad = Member(wire, addresses, living, living.pairs[BUYERS[1], 0])
        until(lambda: bad.turn().session.open)
        bad.link.send(b"\xff" * 40)
        until(lambda: bad.turn().said)
        assert isinstance(bad.said[0], FeedClosed)
        until(lambda: count_of(living, "buyer", 1))
        good.until(count_of(living, "buyer", 1))


def test_the_public_sees_fills_and_capacity(living, wire):
    with running(living.config) as addresses:
        public, secret = living.pairs[BUYERS[2], 0]
        types = (records.TAPE, records.BOOK)
        server = living.keys.server.public
        feed = wire.open(FeedClient, addresses.tape, server, public, secret, types)
        seen: dict[int, list[Any]] = {records.TAPE: [], records.BOOK: []}

        def listen():
            for frame in feed.drain():
                decoded = frames.decode_server(frame.buffer)
                seen[decoded.type].append((decoded.first, decoded.records.copy()))
            return seen

        living.offer("op-a/1", 1, 3, slots=7)
        until(lambda: listen()[records.BOOK], 20)
        for _ in range(3):
            living.bid(BUYERS[0], 9)
        until(lambda: listen()[records.TAPE], 20)
        position = living.writer.end
        until(lambda: summary(addresses)["position"] == position)
        listen()
        first, _ = seen[records.TAPE][0]
        told = np.concatenate([rows for _, rows in seen[records.TAPE]])
        fills = [entry for _, entry in living.history if isinstance(entry, e.Fill)]
        assert [int(price) for price in told["price"]] == [f.price for f in fills[first - 1 :]]
        book = np.concatenate([rows for _, rows in seen[records.BOOK]])
        assert {(int(r["site"]), int(r["metro"])) for r in book} == {(1, 1)}
        assert next(n for n, _ in seen[records.BOOK]) == 1


def get(addresses, path):
    connection = http.client.HTTPConnection(addresses.http, timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def summary(addresses):
    status, body = get(addresses, "/summary.json")
    assert status == 200
    return {"position": -1} | json.loads(body)


def test_it_says_how_it_goes(living):
    living.live(300)
    with running(living.config) as addresses:
        until(lambda: summary(addresses)["position"] == living.writer.end)
        told = summary(addresses)
        happened = [entry for _, entry in living.history]
        for kind, name in ((e.Fill, "fills"), (e.Settled, "settled"), (e.Unfilled, "unfilled"),
                           (e.Rejected, "rejected"), (e.Disputed, "disputed")):  # fmt: skip
            assert told[name] == sum(isinstance(entry, kind) for entry in happened)
        assert told["contested"] == sum(f.contested for f in happened if isinstance(f, e.Fill))
        assert sum(told["unfilled_by_reason"].values()) == told["unfilled"]
        earned = dict.fromkeys(OPERATORS, 0)
        for entry in happened:
            if isinstance(entry, e.Settled):
                earned[entry.operator] += entry.earned
        assert told["revenue_nusd"] == {
            n: v for n, v in earned.items() if n in told["revenue_nusd"]
        }
        assert told["commands"] == living.market.seq
        assert told["lag_commands"] == told["lag_bytes"] == 0
        assert get(addresses, "/healthz")[0] == get(addresses, "/readyz")[0] == 200
        assert get(addresses, "/nothing")[0] == 404
        _, body = get(addresses, "/metrics")
        metrics = {
            sample.name: sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
            if not sample.labels
        }
        assert metrics["curb_fills_total"] == told["fills"]
        assert metrics["curb_lag_bytes"] == 0
        assert "curb_exchange_rounds_total" in metrics
        _, body = get(addresses, "/digest")
        assert json.loads(body) == {
            "position": living.writer.end,
            "seq": living.market.seq,
            "digest": living.market.digest(),
        }
    said = msgspec.json.decode((living.config.run_folder / main.STATUS_NAME).read_bytes())
    assert said["state"] == "stopped"
    assert said["digest"] == living.market.digest()
    assert list(living.config.snapshots_folder.glob(f"{living.writer.end:020d}.snap"))


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "10.0.0.1:80", "example.com:80", ":0"])
def test_plain_http_is_refused_beyond_this_machine(bind):
    """S1: no HTTP listener beyond loopback without TLS."""
    with pytest.raises(HttpRefused):
        StatusServer(bind, lambda: None, time.monotonic)


def test_a_loop_that_stands_still_is_not_healthy(tmp_path):
    now = [0.0]
    server = StatusServer(f"unix:{tmp_path}/http", lambda: None, lambda: now[0])
    try:
        server.show({"position": 1}, ready=True)
        assert server._answer("/readyz")[0] == server._answer("/healthz")[0] == 200
        now[0] = 6.0
        assert server._answer("/readyz")[0] == server._answer("/healthz")[0] == 503
        server.show({"position": 1}, ready=False)
        assert server._answer("/healthz")[0] == 200
        assert server._answer("/readyz")[0] == 503
    finally:
        server.close()
