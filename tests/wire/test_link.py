"""The link on real sockets, loopback only: who gets in, who gets nothing, what a bad frame costs."""

import asyncio
import contextlib
import socket as plain
import time
from typing import Any

import numpy as np
import pytest
import zmq

from schemas import frames, limits, records
from schemas.link import (
    AsyncioPump,
    ClientLink,
    Doorkeeper,
    FeedClient,
    FeedServer,
    LinkError,
    ServerLink,
    new_keypair,
    public_of,
)
from tests.wire.samples import filled

SERVER = new_keypair()
ALICE = new_keypair()
BOB = new_keypair()
STRANGER = new_keypair()
PATIENCE_S = 8.0
LOOPBACK = "tcp://127.0.0.1:*"


class House:
    """A door, an echoing server and its clients, each in a context of its own."""

    def __init__(self, **server):
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.outside: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.admitted = {ALICE[0], BOB[0]}
        self.asked: list[str] = []
        self.door = Doorkeeper(self.context, self.admit)
        self.server = ServerLink(self.context, LOOPBACK, SERVER[1], self.door, **server)
        self.links: list[Any] = [self.server]
        self.heard: list[tuple[bytes, str, bytes]] = []
        self.poller = zmq.Poller()
        self.poller.register(self.door.socket, zmq.POLLIN)
        self.poller.register(self.server.socket, zmq.POLLIN)

    def admit(self, key):
        self.asked.append(key)
        return key in self.admitted

    def client(self, keys, server_key=SERVER[0]):
        link = ClientLink(self.outside, self.server.address, server_key, *keys)
        self.links.append(link)
        return link

    def turn(self, timeout_ms=5):
        """Serve the door and take what the server has; nothing is answered."""
        for socket, _ in self.poller.poll(timeout_ms):
            if socket is self.door.socket:
                self.door.serve()
            else:
                for peer, frame in self.server.drain():
                    self.heard.append((peer, self.server.key_of(frame), frame.bytes))

    def until(self, condition, patience_s=PATIENCE_S):
        end = time.monotonic() + patience_s
        while not (met := condition()):
            assert time.monotonic() < end, "not within the time"
            self.turn()
        return met

    def turn_for(self, seconds):
        """Let everything run for a while in which something must NOT happen."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn()

    def send(self, client, payload):
        self.until(lambda: client.send(payload))

    def raw_client(self, kind=zmq.DEALER, keys=ALICE, **options):
        """A socket as an attacker would make it, with settings of its own."""
        raw = self.outside.socket(kind)
        raw.setsockopt(zmq.LINGER, 0)
        if keys:
            raw.curve_serverkey = SERVER[0].encode()
            raw.curve_publickey, raw.curve_secretkey = (key.encode() for key in keys)
        for name, value in options.items():
            raw.setsockopt(getattr(zmq, name), value)
        raw.connect(self.server.address)
        self.links.append(raw)
        return raw

    def close(self):
        for link in self.links:
            link.close()
        self.door.close()
        self.context.term()
        self.outside.term()


@pytest.fixture
def house():
    made = House()
    yield made
    made.close()


# ----------------------------------------------------------------------------- who gets in
def test_two_agents_are_told_apart_by_their_keys_and_answered_each(house):
    alice, bob = house.client(ALICE), house.client(BOB)
    house.send(alice, b"from alice")
    house.send(bob, b"from bob")
    house.until(lambda: len(house.heard) == 2)
    by_key = {key: (peer, body) for peer, key, body in house.heard}
    assert by_key[ALICE[0]][1] == b"from alice"
    assert by_key[BOB[0]][1] == b"from bob"
    for key, client in ((ALICE[0], alice), (BOB[0], bob)):
        assert house.server.send(by_key[key][0], b"to " + key.encode())
        house.until(lambda client=client: client.readable)
        assert [frame.bytes for frame in client.drain()] == [b"to " + key.encode()]


def test_an_unknown_key_gets_nothing(house):
    """Not in: its frames never reach the server, and no byte of ours reaches it."""
    stranger, alice = house.client(STRANGER), house.client(ALICE)
    house.until(lambda: STRANGER[0] in house.asked)
    house.send(alice, b"known")
    house.until(lambda: house.heard)
    assert not stranger.send(b"let me in")
    assert not stranger.writable
    assert not stranger.readable
    assert [key for _, key, _ in house.heard] == [ALICE[0]]


@pytest.mark.parametrize("keys", [None, ALICE])
def test_without_curve_or_with_another_server_key_there_is_no_way_in(house, keys):
    if keys is None:
        raw = house.raw_client(keys=None)
    else:
        raw = house.client(keys, server_key=STRANGER[0]).socket
    raw.setsockopt(zmq.LINGER, 0)
    house.turn_for(0.3)
    # Sent into a connection that is being refused, or not at all: the promise is what is heard.
    with contextlib.suppress(zmq.Again):
        raw.send(b"hello", zmq.NOBLOCK)
    house.turn_for(0.2)
    assert house.heard == []
    assert ALICE[0] not in house.asked


def test_a_revoked_key_is_not_let_in_again(house):
    house.admitted.discard(BOB[0])
    alice, bob = house.client(ALICE), house.client(BOB)
    house.send(alice, b"one")
    house.until(lambda: house.heard and BOB[0] in house.asked)
    assert not bob.writable


def test_a_chosen_routing_id_has_no_effect(house):
    """Not even one that is another's: the first byte tells ids that the socket made itself."""
    alice = house.client(ALICE)
    house.send(alice, b"first")
    house.until(lambda: len(house.heard) == 1)
    peer = house.heard[0][0]
    assert peer[:1] == b"\0"
    forger = house.raw_client(keys=BOB, ROUTING_ID=b"alice")
    forger.send(b"forged")
    house.turn_for(0.3)
    house.send(alice, b"second")
    house.until(lambda: len(house.heard) == 2)
    assert [body for _, _, body in house.heard] == [b"first", b"second"]
    assert {key for _, key, _ in house.heard} == {ALICE[0]}
    assert house.server.send(peer, b"still alice's")


def test_messages_of_several_parts_are_dropped(house):
    raw = house.raw_client()
    raw.send_multipart([b"one", b"two"])
    raw.send(b"whole")
    raw.send_multipart([b"one", b"two", b"three"])
    raw.send(b"whole too")
    house.until(lambda: len(house.heard) == 2)
    assert [body for _, _, body in house.heard] == [b"whole", b"whole too"]


# ----------------------------------------------------------------------------- what costs what
def test_a_frame_over_the_limit_costs_only_that_connection(house):
    """Promise M5: one byte over is a disconnect; exactly at it is a frame; others notice nothing."""
    alice, bob = house.client(ALICE), house.client(BOB)
    house.send(alice, bytes(limits.MESSAGE_BYTES_MAX))
    house.send(bob, b"bob")
    house.until(lambda: len(house.heard) == 2)
    house.heard.clear()
    house.send(alice, bytes(limits.MESSAGE_BYTES_MAX + 1))
    house.send(bob, b"bob again")
    house.until(lambda: house.heard)
    # Alice's connection was cut; it comes back by itself, as another connection.
    end = time.monotonic() + PATIENCE_S
    while not any(body == b"back" for _, _, body in house.heard):
        assert time.monotonic() < end
        alice.send(b"back")
        house.turn(20)
    assert [body for _, _, body in house.heard if len(body) > 100] == []


def test_a_gigabyte_announced_takes_no_memory(house):
    """A ZMTP greeting and a frame header that lies, without CURVE: cut before anything is read."""
    port = int(house.server.address.rsplit(":", 1)[1])
    with plain.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as wire:
        wire.sendall(
            b"\xff" + bytes(8) + b"\x7f" + b"\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
        )
        wire.sendall(b"\x02" + (1 << 30).to_bytes(8, "big") + b"x" * 1000)
        wire.settimeout(0.01)
        end = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < end
            house.turn()
            try:
                if wire.recv(4096) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    alice = house.client(ALICE)
    house.send(alice, b"unharmed")
    house.until(lambda: house.heard)


def test_a_peer_that_is_gone_is_told_to_the_sender(house):
    alice = house.client(ALICE)
    house.send(alice, b"hello")
    house.until(lambda: house.heard)
    peer = house.heard[0][0]
    alice.close()
    house.until(lambda: not house.server.send(peer, b"anybody there?"))
    assert not house.server.send(b"\0nobody", b"x")


def test_a_peer_that_does_not_read_fills_its_own_queue_alone():
    """Promise M6: the send says False; another's goes through at once."""
    house = House(send_max=4)
    try:
        sloth, bob = house.client(ALICE), house.client(BOB)
        house.send(sloth, b"sloth")
        house.send(bob, b"bob")
        house.until(lambda: len(house.heard) == 2)
        peers = {key: peer for peer, key, _ in house.heard}
        payload = bytes(512 * 1024)
        sent = 0
        while house.server.send(peers[ALICE[0]], payload):
            sent += 1
            assert sent < 4000
        assert house.server.send(peers[BOB[0]], b"quick")
        house.until(lambda: bob.readable)
        assert bob.drain()[0].bytes == b"quick"
    finally:
        house.close()


def test_a_client_comes_back_to_a_server_that_was_started_again(house):
    alice = house.client(ALICE)
    house.send(alice, b"before")
    house.until(lambda: house.heard)
    address = house.server.address
    house.poller.unregister(house.server.socket)
    house.server.close()
    house.until(lambda: not alice.writable)
    assert not alice.send(b"nobody listens")  # said, not queued for who comes next
    house.server = ServerLink(house.context, address, SERVER[1], house.door)
    house.links.append(house.server)
    house.poller.register(house.server.socket, zmq.POLLIN)
    house.heard.clear()
    house.send(alice, b"after")
    house.until(lambda: house.heard)
    assert [body for _, _, body in house.heard] == [b"after"]


# ----------------------------------------------------------------------------- keys and settings
@pytest.mark.parametrize(
    "secret",
    ["", "x", " " * 40, "\u00e9" * 40, "%" * 40, SERVER[1] + "0"],
    ids=[
        "none",
        "short",
        "blank",
        "no ASCII",
        "no Z85",
        "long",
    ],  # the last is drawn anew each time
)
def test_no_server_starts_without_a_curve_key(house, secret):
    for make in (ServerLink, FeedServer):
        with pytest.raises(LinkError, match="secret key"):
            make(house.context, LOOPBACK, secret, house.door)
    for keys in [(SERVER[0], ALICE[0], secret), (SERVER[0], secret, ALICE[1]), (secret, *ALICE)]:
        with pytest.raises(LinkError, match="key") as error:
            ClientLink(house.outside, house.server.address, *keys)
        assert ALICE[1] not in str(error.value)


def test_a_public_key_of_another_secret_is_refused_before_it_is_tried(house):
    with pytest.raises(LinkError, match="does not belong"):
        ClientLink(house.outside, house.server.address, SERVER[0], BOB[0], ALICE[1])
    assert public_of(ALICE[1]) == ALICE[0]


def test_addresses_that_cannot_be_used_are_named(house):
    with pytest.raises(LinkError, match="cannot listen on"):
        ServerLink(house.context, house.server.address, SERVER[1], house.door)
    with pytest.raises(LinkError, match="cannot connect to nonsense"):
        ClientLink(house.outside, "nonsense", SERVER[0], *ALICE)


def test_every_socket_has_the_settings_that_matter(house):
    """RELIABILITY.md, "ZeroMQ settings that matter", read back from the sockets."""
    client = house.client(ALICE)
    feed = FeedServer(house.context, LOOPBACK, SERVER[1], house.door)
    reader = FeedClient(house.outside, feed.address, SERVER[0], *ALICE, types=(records.TAPE,))
    house.links += [feed, reader]
    common = {
        zmq.LINGER: 0,
        zmq.MAXMSGSIZE: limits.MESSAGE_BYTES_MAX + 33,
        zmq.HANDSHAKE_IVL: 2_000,
        zmq.HEARTBEAT_IVL: 1_000,
        zmq.HEARTBEAT_TIMEOUT: 3_000,
        zmq.MECHANISM: zmq.CURVE,
    }
    for link in (house.server, client, feed, reader):
        for option, value in common.items():
            assert link.socket.getsockopt(option) == value
        for option in (zmq.SNDHWM, zmq.RCVHWM):
            assert link.socket.getsockopt(option) in range(1, limits.TAPE_FRAMES_MAX + 1)
    for link in (house.server, feed):
        assert link.socket.getsockopt(zmq.CURVE_SERVER) == 1
        assert link.socket.getsockopt(zmq.ZAP_DOMAIN).rstrip(b"\0") == b"curb"
        assert link.socket.getsockopt(zmq.ZAP_ENFORCE_DOMAIN) == 1
        assert link.socket.getsockopt(zmq.BACKLOG) == 4_096
    for link in (client, reader):
        assert link.socket.getsockopt(zmq.RECONNECT_IVL_MAX) == 1_000
    assert tuple(map(int, zmq.zmq_version().split("."))) >= (4, 3, 5)


# ----------------------------------------------------------------------------- feeds, asyncio
def test_a_feed_reaches_admitted_readers_of_its_type_and_nobody_else(house):
    feed = FeedServer(house.context, LOOPBACK, SERVER[1], house.door)
    reader = FeedClient(house.outside, feed.address, SERVER[0], *ALICE, types=(records.TAPE,))
    other = FeedClient(house.outside, feed.address, SERVER[0], *BOB, types=(records.BOOK,))
    stranger = FeedClient(house.outside, feed.address, SERVER[0], *STRANGER, types=(records.TAPE,))
    house.links += [feed, reader, other, stranger]
    tape = filled(records.TAPE_RECORD, 3)
    number = 0
    end = time.monotonic() + PATIENCE_S
    while not reader.readable:
        assert time.monotonic() < end
        number += 1
        feed.publish(frames.encode_records(records.TAPE, tape, number))
        house.turn(20)
    got = frames.decode_server(reader.drain()[0].buffer)
    assert np.array_equal(got.records, tape)
    house.until(lambda: {ALICE[0], BOB[0], STRANGER[0]} <= set(house.asked))
    feed.publish(frames.encode_records(records.TAPE, tape, number))
    house.turn_for(0.1)
    assert not other.readable
    assert not stranger.readable


def test_an_asyncio_user_never_waits_for_what_is_already_there(house):
    """Goal: no lost edge. Method: floods both ways at once, sends in the callback and outside it."""
    count = 3_000
    alice = house.client(ALICE)
    house.send(alice, b"hello")
    house.until(lambda: house.heard)
    peer = house.heard.pop()[0]
    got: list[int] = []

    async def run():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        sent = 0

        def on_frames(taken):
            got.extend(int.from_bytes(frame.bytes, "little") for frame in taken)
            alice.send(b"thanks")
            if len(got) == count and not done.done():
                done.set_result(None)

        pump = AsyncioPump(alice, on_frames, loop)
        loop.add_reader(house.server.fileno(), lambda: house.turn(0))
        end = loop.time() + PATIENCE_S
        while not done.done():
            assert loop.time() < end, f"{len(got)} of {count}"
            for _ in range(97):
                if sent < count and house.server.send(peer, sent.to_bytes(4, "little")):
                    sent += 1
            alice.send(b"outside the callback")
            pump.kick()
            house.turn(0)
            await asyncio.sleep(0)
        # Quiet now: one message alone must wake the loop, with nobody kicking.
        done = loop.create_future()
        house.server.send(peer, bytes(4))
        async with asyncio.timeout(PATIENCE_S):
            while len(got) == count:
                await asyncio.wait([done], timeout=0.005)
        pump.stop()
        pump.stop()
        loop.remove_reader(house.server.fileno())

    asyncio.run(run())
    assert got == [*range(count), 0]


def test_frames_of_the_link_are_decoded_where_they_lie(house):
    alice = house.client(ALICE)
    bids = filled(records.BID_RECORD, 64)
    house.send(alice, frames.encode_records(records.BID, bids, 1))
    taken: list[tuple[bytes, zmq.Frame]] = []
    end = time.monotonic() + PATIENCE_S
    while not taken:
        assert time.monotonic() < end
        house.server.wait(50)
        taken = house.server.drain()
        house.door.serve()
    decoded = frames.decode_client(taken[0][1].buffer)
    del taken
    assert np.array_equal(decoded.records, bids)
