"""The client's end of a session: numbers, what is unanswered, silence, resuming.

Fed bytes and the time; what it wants sent stands in `outbox`, what it has to tell is returned. Every
numbered message ends in exactly one of: an answer, a refusal, OutcomeUnknown, NotSent.
"""

from collections import deque
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from schemas import limits, records
from schemas.frames import Buffer, Frame, ProtocolError, decode_server, encode_message
from schemas.frames import encode_records as _encode_records
from schemas.reasons import REFUSED
from schemas.session.machine import CLIENT_TABLE, ClientAct, ClientInput, ClientState
from schemas.session.messages import (
    NUMBERED,
    VERSION_MAX,
    VERSION_MIN,
    Establish,
    Established,
    Found,
    Heartbeat,
    Lookup,
    Message,
    OrderAnswer,
    Outcome,
    Query,
    Refused,
    SiteKey,
    SiteKeyAnswer,
    Terminate,
    Terminated,
)

_SILENCE_NS: Final = limits.HEARTBEATS_MISSED * limits.HEARTBEAT_US * limits.NS_PER_US
_ASK_AGAIN_NS: Final = limits.HEARTBEAT_US * limits.NS_PER_US
_ASK_AGAIN_NS_MAX: Final = 8 * _ASK_AGAIN_NS
_REQUESTS: Final = (Lookup, Query, SiteKey)  # change nothing, so they are simply asked again
_REQUEST_ANSWERS: Final = (Found, Outcome, SiteKeyAnswer)
_OUT_OF_STEP: Final = frozenset({REFUSED["not_established"], REFUSED["gap"]})


# ----------------------------------------------------------------------------- what it tells
class Opened(NamedTuple):
    """The session is open. When not `resumed`, message numbers begin at 1 and cancels were made."""

    established: Established
    resumed: bool


class Silent(NamedTuple):
    """The exchange was not heard for three heartbeats; the session is being asked for again."""


class Closed(NamedTuple):
    """The session is over and is not asked for again; `code` 0 when its user ended it."""

    code: int
    why: str


class Answered(NamedTuple):
    """A frame of records was answered: one status per record, their fills in the same order."""

    first: int
    statuses: np.ndarray
    fills: np.ndarray


class OrderAnswered(NamedTuple):
    """A numbered message was answered."""

    number: int
    answer: OrderAnswer


class MessageRefused(NamedTuple):
    """A frame or a message was refused whole; it had no effect. `number` 0: it had no number."""

    number: int
    numbers: int
    refused: Refused


class OutcomeUnknown(NamedTuple):
    """Whether these `numbers` messages from `first` on took effect is for a query to tell."""

    first: int
    numbers: int


class NotSent(NamedTuple):
    """These messages never left: they had no effect."""

    first: int
    numbers: int


class Replied(NamedTuple):
    """A request without number was answered: Found, Outcome or SiteKeyAnswer."""

    message: Message


ClientEvent: TypeAlias = (
    Opened | Silent | Closed | Answered | OrderAnswered | MessageRefused | OutcomeUnknown | NotSent
    | Replied
)  # fmt: skip


class WindowFullError(Exception):
    """Too much is unanswered: wait for answers before sending more."""


class SessionEndedError(Exception):
    """The session is over; nothing can be sent in it."""


class _Unanswered:
    """A message under way: its bytes, to be sent again, and whether they ever were in the outbox."""

    __slots__ = ("body", "kind", "numbers", "sent")

    def __init__(self, body: bytes, kind: int, numbers: int) -> None:
        self.body = body
        self.kind = kind
        self.numbers = numbers
        self.sent = False


# ----------------------------------------------------------------------------- the session
class ClientSession:
    """One agent's session, over all its connections; see `schemas.session.machine` for the states.

    Call `connected` when the link is up, `receive` with every message, `poll` at `deadline_ns`; after
    each of them, and after sending, hand `outbox` to the link, oldest first.
    """

    def __init__(
        self,
        *,
        streams: tuple[str, ...] = (),
        cancel_after_us: int = limits.CANCEL_AFTER_US_DEFAULT,
        software: str = "",
        versions: tuple[int, int] = (VERSION_MIN, VERSION_MAX),
        frames_max: int = limits.UNANSWERED_FRAMES_MAX,
        bytes_max: int = limits.UNANSWERED_BYTES_MAX,
    ) -> None:
        self.state = ClientState.OFFLINE
        self.outbox: deque[bytes] = deque()
        self.established: Established | None = None
        self._streams = streams
        self._cancel_after_us = cancel_after_us
        self._software = software
        self._versions = versions
        self._version = versions[1]
        self._epoch = 0
        self._request = 0
        self._next = 1
        self._unanswered: dict[int, _Unanswered] = {}
        self._requests: dict[int, bytes] = {}  # unnumbered, by their request number
        self._bytes = 0
        self._frames_max = frames_max
        self._bytes_max = bytes_max
        self._heard_ns = 0
        self._sent_ns = 0
        self._asked_ns = 0
        self._ask_again_ns = _ASK_AGAIN_NS
        # Often enough that a session with a short `cancel_after_us` survives one lost heartbeat.
        interval_us = min(limits.HEARTBEAT_US, cancel_after_us // limits.HEARTBEATS_MISSED)
        self._heartbeat_ns = interval_us * limits.NS_PER_US

    # ------------------------------------------------------------------------- sending
    @property
    def next_number(self) -> int:
        """The number that the next record or numbered message gets."""
        return self._next

    @property
    def unanswered(self) -> int:
        """How many frames and messages wait for an answer."""
        return len(self._unanswered) + len(self._requests)

    def room(self, size: int = 0) -> bool:
        """Tell whether a frame of `size` bytes may be sent now (else WindowFullError)."""
        return self.unanswered < self._frames_max and self._bytes + size <= self._bytes_max

    def send_records(self, kind: int, array: np.ndarray) -> int:
        """Send a frame of hot records; return the number of the first.

        Before the session is open, and while it is resumed, they wait.

        Raises:
            WindowFullError, SessionEndedError: nothing was sent, no number was used.
            ValueError: the array is no frame of this kind.
        """
        self._check_room(records.HEADER_BYTES + array.nbytes)
        first = self._next
        return self._number(_encode_records(kind, array, first, self._version), kind, len(array))

    def send_numbered(self, message: Message) -> int:
        """Send an Order, RegisterAdapters, MemberAdd or MemberRevoke; return its number.

        Raises:
            WindowFullError, SessionEndedError: nothing was sent, no number was used.
            TypeError: the message is not of those that are numbered.
        """
        if not isinstance(message, NUMBERED):
            raise TypeError(f"{type(message).__name__} is not numbered: use send")
        body = encode_message(message, self._next, self._version)
        self._check_room(len(body))
        return self._number(body, records.MESSAGE, 1)

    def send(self, message: Lookup | Query | SiteKey) -> None:
        """Send a request that changes nothing, with a `request` number of the caller's.

        It is asked again after a reconnect until it is answered.

        Raises:
            WindowFullError, SessionEndedError: nothing was sent.
        """
        body = encode_message(message, 0, self._version)
        self._check_room(len(body))
        self._requests[message.request] = body
        self._bytes += len(body)
        if self.state is ClientState.OPEN:
            self.outbox.append(body)

    def terminate(self, now_ns: int) -> list[ClientEvent]:
        """End the session: at rest bids and streamed offers are cancelled. Closed follows."""
        return self._step(ClientInput.TERMINATE, now_ns, Closed(0, "terminated"))

    # ------------------------------------------------------------------------- the link
    def connected(self, now_ns: int) -> list[ClientEvent]:
        """Note that the link is up, or up again: the session is asked for."""
        self._ask_again_ns = _ASK_AGAIN_NS
        return self._step(ClientInput.CONNECTED, now_ns, Closed(0, "connection changed"))

    def disconnected(self, now_ns: int) -> list[ClientEvent]:
        """Note that the link is down; what is unanswered is kept."""
        return self._step(ClientInput.DISCONNECTED, now_ns, Closed(0, "connection lost"))

    def sent(self, now_ns: int) -> None:
        """Note that something of the outbox was handed to the link: a heartbeat is not due yet."""
        self._sent_ns = now_ns

    def receive(self, buffer: Buffer, now_ns: int) -> list[ClientEvent]:
        """Take one message of the exchange.

        Raises:
            ProtocolError: it is malformed or answers what was not asked. The state is unchanged.
        """
        frame = decode_server(buffer)
        self._heard_ns = now_ns
        match frame.message:
            case Established() as message:
                newest = message.request == self._request
                if newest and self.state is ClientState.ESTABLISHING:
                    return self._open(message, now_ns)
                late = ClientInput.ESTABLISHED if newest else ClientInput.ESTABLISHED_LATE
                return self._step(late, now_ns, None)
            case Terminated(code=code, why=why):
                return self._step(ClientInput.OVER, now_ns, Closed(code, why))
            case Refused(code=code, why=why, fatal=True):
                return self._step(ClientInput.OVER, now_ns, Closed(code, why))
            case Refused(code=code) if code in _OUT_OF_STEP:
                return self._step(ClientInput.OUT_OF_STEP, now_ns, Closed(code, "out of step"))
            case Heartbeat():
                return []
        _, act = CLIENT_TABLE[self.state, ClientInput.ANSWER]
        return self._match(frame) if act is ClientAct.MATCH else []

    # ------------------------------------------------------------------------- time
    @property
    def deadline_ns(self) -> int | None:
        """When `poll` next has something to do, or None while there is nothing to wait for."""
        match self.state:
            case ClientState.ESTABLISHING:
                return self._asked_ns + self._ask_again_ns
            case ClientState.OPEN:
                return min(self._heard_ns + _SILENCE_NS, self._sent_ns + self._heartbeat_ns)
            case ClientState.ENDING:
                return self._heard_ns + _SILENCE_NS
            case _:
                return None

    def poll(self, now_ns: int) -> list[ClientEvent]:
        """Let time pass: heartbeats, silence, asking again."""
        deadline = self.deadline_ns
        if deadline is None or now_ns < deadline:
            return []
        if self.state is ClientState.ESTABLISHING:
            # Further and further apart: asking faster than it answers would never end.
            self._ask_again_ns = min(2 * self._ask_again_ns, _ASK_AGAIN_NS_MAX)
            return self._step(ClientInput.SILENCE, now_ns, None)
        if now_ns >= self._heard_ns + _SILENCE_NS:
            was_open = self.state is ClientState.OPEN
            self._ask_again_ns = _ASK_AGAIN_NS
            events = self._step(ClientInput.SILENCE, now_ns, Closed(0, "terminated"))
            return [Silent(), *events] if was_open else events
        self._sent_ns = now_ns
        self.outbox.append(encode_message(Heartbeat(), version=self._version))
        return []

    # ------------------------------------------------------------------------- inside
    def _check_room(self, size: int) -> None:
        if self.state in {ClientState.ENDING, ClientState.ENDED}:
            raise SessionEndedError("the session is over")
        if not self.room(size):
            raise WindowFullError(f"{self.unanswered} messages are unanswered")

    def _number(self, body: bytes, kind: int, numbers: int) -> int:
        first = self._next
        self._next += numbers
        entry = _Unanswered(body, kind, numbers)
        self._unanswered[first] = entry
        self._bytes += len(body)
        if self.state is ClientState.OPEN:
            entry.sent = True
            self.outbox.append(body)
        return first

    def _step(self, what: ClientInput, now_ns: int, closed: Closed | None) -> list[ClientEvent]:
        self.state, act = CLIENT_TABLE[self.state, what]
        match act:
            case ClientAct.ASK:
                self._ask(now_ns)
            case ClientAct.SAY_TERMINATE:
                self.outbox.append(encode_message(Terminate(), version=self._version))
            case ClientAct.CLOSE:
                assert closed is not None
                self.outbox.clear()
                return [*self._give_up(), closed]
        return []

    def _ask(self, now_ns: int) -> None:
        # Whatever waits to be sent is unanswered too, and is sent again in order once it is open.
        self.outbox.clear()
        self._request += 1
        self._asked_ns = self._sent_ns = now_ns
        establish = Establish(
            version_min=self._versions[0], version_max=self._versions[1], request=self._request,
            epoch=self._epoch, cancel_after_us=self._cancel_after_us, streams=self._streams,
            software=self._software,
        )  # fmt: skip
        self.outbox.append(encode_message(establish, version=self._versions[1]))

    def _open(self, message: Established, now_ns: int) -> list[ClientEvent]:
        if message.resumed and (message.epoch != self._epoch or message.last_message >= self._next):
            raise ProtocolError("malformed", "another session was resumed than was asked for")
        if not self._versions[0] <= message.version <= self._versions[1]:
            raise ProtocolError("version", f"version {message.version} was not offered")
        self.state, _ = CLIENT_TABLE[self.state, ClientInput.ESTABLISHED]
        events: list[ClientEvent] = []
        first_ever = self._epoch == 0
        if not message.resumed and not first_ever:
            events += self._give_up(keep_requests=True)
            self._next = 1
        self.established = message
        self._epoch = message.epoch
        self._version = message.version
        self._sent_ns = now_ns
        for entry in self._unanswered.values():
            entry.body = _with_version(entry.body, message.version)
            entry.sent = True
            self.outbox.append(entry.body)
        self.outbox.extend(self._requests.values())
        events.append(Opened(message, message.resumed))
        return events

    def _give_up(self, *, keep_requests: bool = False) -> list[ClientEvent]:
        """Tell of everything unanswered what is known of it, and forget it."""
        events: list[ClientEvent] = [
            OutcomeUnknown(first, entry.numbers) if entry.sent else NotSent(first, entry.numbers)
            for first, entry in self._unanswered.items()
        ]
        self._unanswered.clear()
        if not keep_requests:
            self._requests.clear()
        self._bytes = sum(map(len, self._requests.values()))
        return events

    def _forget(self, first: int) -> _Unanswered | None:
        entry = self._unanswered.pop(first, None)
        if entry is not None:
            self._bytes -= len(entry.body)
        return entry

    def _match(self, frame: Frame) -> list[ClientEvent]:
        message = frame.message
        if message is None:
            return self._match_records(frame)
        if isinstance(message, _REQUEST_ANSWERS):
            body = self._requests.pop(message.request, None)
            self._bytes -= len(body or b"")
            return [] if body is None else [Replied(message)]
        if isinstance(message, OrderAnswer):
            asked = self._unanswered.get(frame.first)
            if asked is None:
                return []  # the second answer to what was sent twice
            if asked.kind != records.MESSAGE:
                raise ProtocolError("malformed", f"number {frame.first} was a frame of records")
            self._forget(frame.first)
            return [OrderAnswered(frame.first, message)]
        if isinstance(message, Refused):
            entry = self._forget(frame.first)
            if entry is None:
                return [MessageRefused(0, 0, message)] if frame.first == 0 else []
            if message.code == REFUSED["duplicate"]:
                return [OutcomeUnknown(frame.first, entry.numbers)]
            return [MessageRefused(frame.first, entry.numbers, message)]
        raise ProtocolError("malformed", f"{type(message).__name__} is not of this door")

    def _match_records(self, frame: Frame) -> list[ClientEvent]:
        if frame.type != records.STATUS:
            raise ProtocolError("malformed", f"frames of type {frame.type} are not of this door")
        entry = self._unanswered.get(frame.first)
        if entry is None:
            return []
        if entry.kind == records.MESSAGE or entry.numbers != frame.numbers:
            raise ProtocolError("malformed", f"the answer to {frame.first} has another length")
        self._forget(frame.first)
        return [Answered(frame.first, frame.records, frame.fills)]


def _with_version(body: bytes, version: int) -> bytes:
    """Return a frame with another version in its header: an older reader passes over what it adds."""
    written = version.to_bytes(2, "little")
    return body if body[2:4] == written else body[:2] + written + body[4:]
