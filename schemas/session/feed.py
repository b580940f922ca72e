"""Both ends of the follower's door: a member's private events, numbered, resumable, bounded.

    client                                             follower
    FeedClientSession  ──subscribe(after, credit)──▶   FeedServerSession
                       ◀──subscribed(last, kept_from)──
                       ◀──EVENT frames, first = n ─────  at most `credit` beyond `received`
                       ──received(upto)──────────────▶
Events are numbered 1, 2, … per member, whichever agent reads them, so a gap is seen at once and the
subscription is asked for again from what was received last: every event once, in order (M2).
"""

from collections import deque
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from schemas import limits, records
from schemas.frames import Buffer, Frame, ProtocolError, decode_server, encode_message
from schemas.reasons import REFUSED
from schemas.session.messages import (
    VERSION_MAX,
    VERSION_MIN,
    Heartbeat,
    Received,
    Refused,
    Subscribe,
    Subscribed,
    Terminated,
)

CREDIT_DEFAULT: Final = 65_536
_HEARTBEAT_NS: Final = limits.HEARTBEAT_US * limits.NS_PER_US
_SILENCE_NS: Final = limits.HEARTBEATS_MISSED * _HEARTBEAT_NS
_HEARTBEAT_BYTES: Final = encode_message(Heartbeat())


# ----------------------------------------------------------------------------- the client's end
class Events(NamedTuple):
    """The next events of the member: EVENT records numbered from `first` on."""

    first: int
    records: np.ndarray


class Missed(NamedTuple):
    """Events `first` … `last` are no longer kept; their outcome is in ledger and queries."""

    first: int
    last: int


class FeedSilent(NamedTuple):
    """The follower was not heard for three heartbeats; the subscription is being asked for again."""


class FeedClosed(NamedTuple):
    """The follower refused the subscription for good."""

    code: int
    why: str


FeedEvent: TypeAlias = Events | Missed | FeedSilent | FeedClosed


class FeedClientSession:
    """A subscription to a member's events, over all its connections.

    `after` is the number of the last event that was received in an earlier life (0: from the first
    that is kept). Call `connected` when the link is up; hand `outbox` to the link after every call.
    """

    def __init__(self, after: int = 0, credit: int = CREDIT_DEFAULT) -> None:
        self.last = after
        self.outbox: deque[bytes] = deque()
        self.open = False
        self.closed = False
        self.market = 0
        self._credit = credit
        self._acknowledged = after
        self._asked = False
        self._heard_ns = 0
        self._sent_ns = 0

    def connected(self, now_ns: int) -> None:
        """Note that the link is up, or up again: subscribe from what was received last."""
        if self.closed:
            return
        self.open = False
        self._asked = True
        self._acknowledged = self.last
        self._heard_ns = self._sent_ns = now_ns
        self.outbox.clear()
        self.outbox.append(encode_message(Subscribe(after=self.last, credit=self._credit)))

    def receive(self, buffer: Buffer, now_ns: int) -> list[FeedEvent]:
        """Take one message of the follower.

        Raises:
            ProtocolError: it is malformed or not of this door. The state is unchanged.
        """
        frame = decode_server(buffer)
        if frame.type not in {records.EVENT, records.MESSAGE}:
            raise ProtocolError("malformed", f"frames of type {frame.type} are not of this door")
        self._heard_ns = now_ns
        if self.closed:
            return []
        if frame.type == records.EVENT:
            return self._take(frame, now_ns)
        match frame.message:
            case Subscribed() as message:
                return self._subscribed(message)
            case Heartbeat(sent=sent):
                if self.open and sent > self.last:
                    self.connected(now_ns)
                return []
            case Refused(fatal=False):
                # Open: the follower was started again, or the connection is another. Not open: it
                # is behind what was received, and is asked again in a while.
                if self.open:
                    self.connected(now_ns)
                return []
            case Refused(code=code, why=why) | Terminated(code=code, why=why):
                self.closed, self.open = True, False
                return [FeedClosed(code, why)]
        raise ProtocolError("malformed", f"{type(frame.message).__name__} is not of this door")

    @property
    def deadline_ns(self) -> int | None:
        """When `poll` next has something to do, or None before `connected` and after the end."""
        if not self._asked or self.closed:
            return None
        return min(self._heard_ns + _SILENCE_NS, self._sent_ns + _HEARTBEAT_NS)

    def poll(self, now_ns: int) -> list[FeedEvent]:
        """Let time pass: acknowledge or say that we live, notice silence and ask again."""
        if not self._asked or self.closed:
            return []
        if now_ns >= self._heard_ns + _SILENCE_NS:
            self.connected(now_ns)
            return [FeedSilent()]
        if now_ns >= self._sent_ns + _HEARTBEAT_NS:
            self._sent_ns = now_ns
            if not self.open:
                heard_ns = self._heard_ns
                self.connected(now_ns)
                self._heard_ns = heard_ns  # asking is not hearing
            elif self.last > self._acknowledged:
                self._acknowledge()
            else:
                self.outbox.append(_HEARTBEAT_BYTES)
        return []

    def _subscribed(self, message: Subscribed) -> list[FeedEvent]:
        if self.open:
            return []  # the answer to an earlier try
        if message.kept_from > message.last + 1 or self.last > message.last:
            raise ProtocolError("malformed", "the follower has fewer events than were received")
        self.open = True
        self.market = message.market
        if message.kept_from <= self.last + 1:
            return []
        missed = Missed(self.last + 1, message.kept_from - 1)
        self.last = self._acknowledged = missed.last
        return [missed]

    def _take(self, frame: Frame, now_ns: int) -> list[FeedEvent]:
        if not self.open:
            return []  # of an earlier subscription, on its way before this one
        end = frame.first + len(frame.records) - 1
        if end <= self.last:
            return []
        if frame.first > self.last + 1:
            self.connected(now_ns)
            return []
        fresh = frame.records[self.last + 1 - frame.first :]
        event = Events(self.last + 1, fresh)
        self.last = end
        if self.last - self._acknowledged >= self._credit // 4:
            self._sent_ns = now_ns
            self._acknowledge()
        return [event]

    def _acknowledge(self) -> None:
        self._acknowledged = self.last
        self.outbox.append(encode_message(Received(upto=self.last)))


# ----------------------------------------------------------------------------- the follower's end
class FeedServerSession:
    """One agent's subscription at the follower: what may be sent next, and whether it still lives."""

    def __init__(self, market: int, versions: tuple[int, int] = (VERSION_MIN, VERSION_MAX)) -> None:
        self.peer = b""
        self.next = 0  # the number of the next event to send; 0: nobody subscribed
        self._market = market
        self._versions = versions
        self._received = 0
        self._credit = 0
        self._heard_ns = 0
        self._sent_ns = 0

    def receive(
        self, peer: bytes, frame: Frame, *, last: int, kept_from: int, now_ns: int
    ) -> bytes | None:
        """Take one decoded frame of this agent; return what to send to `peer`, if anything.

        `last` is the member's newest event number, `kept_from` the first that is kept (`last + 1`
        when none is).
        """
        message = frame.message
        if not self._versions[0] <= frame.version <= self._versions[1]:
            return self.malformed(peer, ProtocolError("version", "this version is not served"))
        if isinstance(message, Subscribe):
            return self._subscribe(peer, message, last, kept_from, now_ns)
        if peer != self.peer or self.next == 0:
            return encode_message(Refused(code=REFUSED["not_established"], why="subscribe first"))
        self._heard_ns = now_ns
        if isinstance(message, Received):
            if not self._received <= message.upto < self.next:
                error = ProtocolError("malformed", "received what was not sent")
                return self.malformed(peer, error)
            self._received = message.upto
        elif not isinstance(message, Heartbeat):
            return self.malformed(peer, ProtocolError("malformed", "not a message of this door"))
        return None

    def malformed(self, peer: bytes, error: ProtocolError) -> bytes:
        """Refuse bytes that were no frame; when they came from the subscriber, it is dropped."""
        if peer == self.peer:
            self.drop()
        return encode_message(Refused(code=error.code, why=error.why, fatal=True))

    def wanted(self, last: int) -> tuple[int, int]:
        """Return (first, count) of the events to send in the next frame; count 0: none now."""
        if self.next == 0:
            return 0, 0
        window_end = self._received + self._credit
        count = min(last, window_end) - self.next + 1
        return self.next, max(0, min(count, limits.RECORDS_PER_FRAME_MAX))

    def sent(self, count: int, now_ns: int) -> None:
        """Note that `count` events from `next` on were handed to the link."""
        self.next += count
        self._sent_ns = now_ns

    @property
    def due_ns(self) -> int | None:
        """When `poll` next has something to do, or None while nobody subscribed."""
        if self.next == 0:
            return None
        return min(self._heard_ns + _SILENCE_NS, self._sent_ns + _HEARTBEAT_NS)

    def poll(self, now_ns: int) -> bytes | None:
        """Let time pass: return a heartbeat for `peer`, or drop a subscriber that went silent."""
        if self.next == 0:
            return None
        if now_ns >= self._heard_ns + _SILENCE_NS:
            self.drop()
            return None
        if now_ns >= self._sent_ns + _HEARTBEAT_NS:
            self._sent_ns = now_ns
            return encode_message(Heartbeat(sent=self.next - 1))
        return None

    def drop(self) -> None:
        """Forget the subscriber; it asks again when it lives."""
        self.peer = b""
        self.next = 0

    def _subscribe(
        self, peer: bytes, message: Subscribe, last: int, kept_from: int, now_ns: int
    ) -> bytes:
        if message.after > last:
            # Another market's numbers, or a follower that is still behind: nothing to send yet is
            # not the same as nothing there, so the client is told and asks again.
            why = f"the newest event is {last}, not {message.after}"
            return encode_message(Refused(code=REFUSED["gap"], why=why, expected=last + 1))
        self.peer = peer
        self._received = max(message.after, kept_from - 1)
        self.next = self._received + 1
        self._credit = message.credit
        self._heard_ns = self._sent_ns = now_ns
        return encode_message(Subscribed(last=last, kept_from=kept_from, market=self._market))
