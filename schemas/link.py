"""The one ZeroMQ pump: every socket of Curb is made here, with the settings that matter.

    agent                                   exchange, follower
    ClientLink  DEALER ──── CURVE ────────▶ ServerLink  ROUTER ──┐
    FeedClient  SUB    ──── CURVE ────────▶ FeedServer  PUB    ──┼─ Doorkeeper (ZAP, inproc)
                                                                 ┘  polled in the same loop
Nothing here blocks, retries or keeps a queue of its own: `send` says False, and whoever calls keeps
the bytes. RELIABILITY.md, "ZeroMQ settings that matter", gives the settings and their reasons.
"""

import asyncio
import struct
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

import zmq
from zmq.utils import z85

from schemas import limits

ZAP_ADDRESS: Final = "inproc://zeromq.zap.01"
ZAP_DOMAIN: Final = "curb"
KEY_CHARACTERS: Final = 40
DRAIN_FRAMES: Final = 1_024
CURVE_BYTES: Final = 33  # "\x07MESSAGE", nonce of 8, MAC of 16, flags of 1 (CurveZMQ, RFC 26)

_HEARTBEAT_MS: Final = limits.HEARTBEAT_US // 1000
_SILENCE_MS: Final = limits.HEARTBEATS_MISSED * _HEARTBEAT_MS
_HANDSHAKE_MS: Final = 2_000
_RECONNECT_MS: Final = 100
# Well below CANCEL_AFTER_US_DEFAULT: after a restart the silence counts from readiness, and a client that
# waits longer between its tries would come back to cancelled bids and offers.
_RECONNECT_MS_MAX: Final = 1_000
_BACKLOG: Final = 4_096

Payload: TypeAlias = bytes | bytearray | memoryview


class LinkError(Exception):
    """Say which address or key cannot be used, and why; never a secret."""


def new_context() -> zmq.Context[zmq.Socket[bytes]]:
    """Return a context of one's own; `term()` it after every link of it was closed."""
    return zmq.Context()


def new_keypair() -> tuple[str, str]:
    """Return a new CURVE pair (public, secret), each 40 characters of Z85."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def public_of(secret_key: str) -> str:
    """Return the public key that belongs to a secret one.

    Raises:
        LinkError: it is no key.
    """
    return zmq.curve_public(_key("the secret key", secret_key)).decode()


def _key(what: str, key: str) -> bytes:
    """Check a Z85 key. A socket given none would start without CURVE, open to anyone."""
    try:
        raw = key.encode("ascii")
        if len(raw) == KEY_CHARACTERS and z85.decode(raw):
            return raw
    except (UnicodeEncodeError, KeyError, ValueError, struct.error):
        pass  # struct: five digits can say more than 32 bits
    raise LinkError(f"{what} is no CURVE key: {KEY_CHARACTERS} characters of Z85 are wanted")


# ----------------------------------------------------------------------------- settings
def _set_common(socket: zmq.Socket[bytes], send_max: int, receive_max: int) -> None:
    socket.setsockopt(zmq.LINGER, 0)
    # libzmq's default is unlimited. It counts the sealed frame, so the seal is added.
    socket.setsockopt(zmq.MAXMSGSIZE, limits.MESSAGE_BYTES_MAX + CURVE_BYTES)
    socket.setsockopt(zmq.SNDHWM, send_max)
    socket.setsockopt(zmq.RCVHWM, receive_max)
    socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _SILENCE_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, _SILENCE_MS)
    socket.setsockopt(zmq.IPV6, 1)


def _set_server(socket: zmq.Socket[bytes], secret_key: str) -> None:
    secret = _key("the server's secret key", secret_key)
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
    socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN.encode())  # empty turns authentication off
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    socket.setsockopt(zmq.BACKLOG, _BACKLOG)


def _set_client(
    socket: zmq.Socket[bytes], server_key: str, public_key: str, secret_key: str
) -> None:
    secret = _key("the agent's secret key", secret_key)
    public = _key("the agent's public key", public_key)
    if zmq.curve_public(secret) != public:
        raise LinkError("the agent's public key does not belong to its secret key")
    socket.setsockopt(zmq.CURVE_SERVERKEY, _key("the server's public key", server_key))
    socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
    socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)  # libzmq adds its own jitter
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MS_MAX)


def _bind(socket: zmq.Socket[bytes], address: str) -> str:
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close(0)
        raise LinkError(f"cannot listen on {address}: {error.strerror}") from None
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


def _connect(socket: zmq.Socket[bytes], address: str) -> None:
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        socket.close(0)
        raise LinkError(f"cannot connect to {address}: {error.strerror}") from None


class _Link:
    """What all links share: a socket that is polled from outside."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket

    def fileno(self) -> int:
        """Return the descriptor to wait on. It is edge-triggered: see `AsyncioPump`."""
        descriptor = self.socket.getsockopt(zmq.FD)
        assert isinstance(descriptor, int)
        return descriptor

    @property
    def readable(self) -> bool:
        """Tell whether a message can be read now. Asking also re-arms the descriptor."""
        return bool(self._events() & zmq.POLLIN)

    @property
    def writable(self) -> bool:
        """Tell whether a message can be sent now. For a client: whether it is connected at all."""
        return bool(self._events() & zmq.POLLOUT)

    def _events(self) -> int:
        events = self.socket.getsockopt(zmq.EVENTS)
        assert isinstance(events, int)
        return events

    def wait(self, timeout_ms: int) -> bool:
        """Block until a message can be read; False after the time. For threads without a loop."""
        return bool(self.socket.poll(timeout_ms, zmq.POLLIN))

    @property
    def closed(self) -> bool:
        """Tell whether `close` was called."""
        return bool(self.socket.closed)

    def close(self) -> None:
        """Close at once; what is not sent is dropped (the session sends it again)."""
        self.socket.close(0)


# ----------------------------------------------------------------------------- the server's side
class Doorkeeper:
    """The ZAP handler of one context: who may connect, by key alone (RFC 27).

    `admit` is called with the client's public key in Z85, in the loop that calls `serve`; what is
    not admitted is refused in the handshake and never reaches another socket. One per context, made
    before the first server socket, served whenever `socket` is readable.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], admit: Callable[[str], bool]
    ) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self._admit = admit
        _bind(self.socket, ZAP_ADDRESS)

    def serve(self, limit: int = DRAIN_FRAMES) -> int:
        """Answer the handshakes that wait; return how many there were."""
        for count in range(limit):
            try:
                request = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return count
            self._answer(request)
        return limit

    def _answer(self, request: list[bytes]) -> None:
        # peer, empty, version, request id, domain, address, identity, mechanism, credentials …
        if len(request) < 8 or request[2] != b"1.0":
            return
        peer, request_id, domain, mechanism = request[0], request[3], request[4], request[7]
        user = b""
        if (
            mechanism == b"CURVE"
            and domain == ZAP_DOMAIN.encode()
            and len(request) == 9
            and len(request[8]) == 32
        ):
            key = z85.encode(request[8])
            user = key if self._admit(key.decode()) else b""
        code, text = (b"200", b"OK") if user else (b"400", b"unknown key")
        reply = [peer, b"", b"1.0", request_id, code, text, user, b""]
        try:
            self.socket.send_multipart(reply, zmq.NOBLOCK)
        except zmq.ZMQError:
            return  # the asking socket was closed meanwhile

    def close(self) -> None:
        """Close; from here on nobody is let in."""
        self.socket.close(0)


class ServerLink(_Link):
    """A ROUTER that takes whole frames from admitted keys and names each sender's connection.

    `address` is where it listens, with the port that the system chose when 0 or * was asked for.

    Raises:
        LinkError: the address cannot be bound, or there is no secret key: it never runs in the open.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        secret_key: str,
        door: Doorkeeper,
        *,
        send_max: int = limits.SERVER_SEND_FRAMES_MAX,
    ) -> None:
        _key("the server's secret key", secret_key)
        assert not door.socket.closed
        socket = context.socket(zmq.ROUTER)
        _set_common(socket, send_max, limits.SERVER_RECEIVE_FRAMES_MAX)
        _set_server(socket, secret_key)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # the default drops silently
        super().__init__(socket)
        self.address = _bind(socket, address)

    def drain(self, limit: int = DRAIN_FRAMES) -> list[tuple[bytes, zmq.Frame]]:
        """Return up to `limit` frames that wait, as (connection, frame), oldest first per peer.

        `frame.buffer` is what to decode, without a copy; it lives as long as something views it.
        Messages of several parts, and of peers that chose their own id, are dropped.
        """
        receive = self.socket.recv
        taken: list[tuple[bytes, zmq.Frame]] = []
        for _ in range(limit):
            try:
                peer = receive(zmq.NOBLOCK)
            except zmq.Again:
                break
            frame = receive(zmq.NOBLOCK, copy=False)
            parts_follow = frame.more
            while parts_follow:
                parts_follow = receive(zmq.NOBLOCK, copy=False).more
            # An id that the socket made begins with 0; one that a peer chose must not stand for it.
            if peer[:1] == b"\0" and not frame.more:
                taken.append((peer, frame))
        return taken

    def key_of(self, frame: zmq.Frame) -> str:
        """Return the sender's public key in Z85, as proven in the handshake of its connection."""
        return str(frame.get("User-Id"))

    def send(self, peer: bytes, payload: Payload) -> bool:
        """Send to one connection; False when it is gone or does not read (its queue is full)."""
        try:
            self.socket.send(peer, zmq.NOBLOCK | zmq.SNDMORE)
            self.socket.send(payload, zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno in {zmq.EAGAIN, zmq.EHOSTUNREACH}:
                return False
            raise
        return True


class FeedServer(_Link):
    """A PUB behind the same door: a topic of a few bytes, then the frame, in one part.

    It drops what a slow reader does not take; the numbers in the frames show the gap.

    Raises:
        LinkError: as ServerLink.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        secret_key: str,
        door: Doorkeeper,
        *,
        send_max: int = limits.TAPE_FRAMES_MAX,
    ) -> None:
        _key("the server's secret key", secret_key)
        assert not door.socket.closed
        socket = context.socket(zmq.PUB)
        _set_common(socket, send_max, limits.SERVER_RECEIVE_FRAMES_MAX)
        _set_server(socket, secret_key)
        super().__init__(socket)
        self.address = _bind(socket, address)

    def publish(self, payload: Payload) -> None:
        """Send one frame to whoever subscribed to what it begins with (its type, two bytes)."""
        self.socket.send(payload, zmq.NOBLOCK)


# ----------------------------------------------------------------------------- the client's side
class ClientLink(_Link):
    """A DEALER to one door of the exchange or the follower; it reconnects by itself.

    Nothing is queued while there is no connection: `send` says False, and `writable` tells when one
    is there. A session must be established anew on each (the session's machine does that).

    Raises:
        LinkError: a key or the address cannot be used.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        server_key: str,
        public_key: str,
        secret_key: str,
    ) -> None:
        socket = context.socket(zmq.DEALER)
        try:
            _set_common(socket, limits.CLIENT_FRAMES_MAX, limits.CLIENT_FRAMES_MAX)
            _set_client(socket, server_key, public_key, secret_key)
        except LinkError:
            socket.close(0)
            raise
        socket.setsockopt(zmq.IMMEDIATE, 1)
        super().__init__(socket)
        _connect(socket, address)

    def send(self, payload: Payload) -> bool:
        """Send one frame; False when there is no connection or its queue is full."""
        try:
            self.socket.send(payload, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def drain(self, limit: int = DRAIN_FRAMES) -> list[zmq.Frame]:
        """Return up to `limit` frames that wait; `frame.buffer` is what to decode."""
        return _drain(self.socket, limit)


class FeedClient(_Link):
    """A SUB to a feed; subscribes to frames of the given types.

    Raises:
        LinkError: a key or the address cannot be used.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        server_key: str,
        public_key: str,
        secret_key: str,
        types: tuple[int, ...],
    ) -> None:
        socket = context.socket(zmq.SUB)
        try:
            _set_common(socket, limits.CLIENT_FRAMES_MAX, limits.TAPE_FRAMES_MAX)
            _set_client(socket, server_key, public_key, secret_key)
        except LinkError:
            socket.close(0)
            raise
        for kind in types:
            socket.setsockopt(zmq.SUBSCRIBE, kind.to_bytes(2, "little"))
        super().__init__(socket)
        _connect(socket, address)

    def drain(self, limit: int = DRAIN_FRAMES) -> list[zmq.Frame]:
        """Return up to `limit` frames that wait; `frame.buffer` is what to decode."""
        return _drain(self.socket, limit)


def _drain(socket: zmq.Socket[bytes], limit: int) -> list[zmq.Frame]:
    taken: list[zmq.Frame] = []
    for _ in range(limit):
        try:
            frame = socket.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            break
        parts_follow = frame.more
        while parts_follow:
            parts_follow = socket.recv(zmq.NOBLOCK, copy=False).more
        if not frame.more:
            taken.append(frame)
    return taken


# ----------------------------------------------------------------------------- asyncio
class Drainable(Protocol):
    """A client's link, as the pump sees it."""

    def fileno(self) -> int:
        """Return the edge-triggered descriptor."""

    @property
    def readable(self) -> bool:
        """Tell whether a message can be read now."""

    def drain(self, limit: int = DRAIN_FRAMES) -> list[zmq.Frame]:
        """Return frames that wait."""


class AsyncioPump:
    """Call back for every batch of frames of a client's link, in a running asyncio loop.

    ZeroMQ's descriptor tells of a change only once: whoever does not read until nothing is left, or
    sends (which may swallow the news), waits for ever for what is already there. So the pump drains
    until empty, and looks again after its callback, and after every `kick`, to be called when the
    link was sent to from elsewhere. `on_wake`, if given, is called once per wake-up with no
    frames: a send that said False may be possible now.
    """

    def __init__(
        self,
        link: Drainable,
        on_frames: Callable[[list[zmq.Frame]], None],
        loop: asyncio.AbstractEventLoop,
        on_wake: Callable[[], None] | None = None,
    ) -> None:
        self._link = link
        self._on_frames = on_frames
        self._on_wake = on_wake
        self._loop = loop
        self._descriptor = link.fileno()
        self._scheduled = False
        self._stopped = False
        loop.add_reader(self._descriptor, self._ready)
        self.kick()

    def kick(self) -> None:
        """Look once more, soon: something was sent, so news may have been swallowed."""
        if not self._scheduled and not self._stopped:
            self._scheduled = True
            self._loop.call_soon(self._ready)

    def _ready(self) -> None:
        self._scheduled = False
        if self._stopped:
            return
        frames = self._link.drain()
        if frames:
            self._on_frames(frames)
        if self._on_wake is not None:
            self._on_wake()
        if self._closed():  # by one of the two just called
            return
        # A batch at a time: a flood must not keep the loop from its other work.
        if self._link.readable:
            self.kick()

    def _closed(self) -> bool:
        return self._stopped

    def stop(self) -> None:
        """Call back no more. Call it before the link is closed."""
        if not self._stopped:
            self._stopped = True
            self._loop.remove_reader(self._descriptor)
