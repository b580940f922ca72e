"""The host's own agents: what `curb apply`, `member`, `site enrol`, `halt` and `resume` speak with.

A plain blocking client over the same session and wire as everybody's: there is no second door.
"""

import contextlib
import fcntl
import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import numpy as np
import zmq

from schemas import records
from schemas.bundle import Bundle, load_bundle
from schemas.commands import AnyCommand, Rtt
from schemas.frames import ProtocolError, encode_order
from schemas.limits import MESSAGE_BYTES_MAX, RECORDS_PER_FRAME_MAX
from schemas.link import ClientLink
from schemas.session.client import (
    Answered,
    ClientEvent,
    ClientSession,
    Closed,
    MessageRefused,
    NotSent,
    Opened,
    OrderAnswered,
    OutcomeUnknown,
    Replied,
)
from schemas.session.machine import ClientState
from schemas.session.messages import (
    Established,
    Found,
    Lookup,
    Message,
    OrderAnswer,
    SiteKey,
    SiteKeyAnswer,
)

TIMEOUT_S: Final = 10.0
TURN_S: Final = 120.0  # how long a command waits for another that speaks with the same key
FAREWELL_MS: Final = 500
_WAIT_MS: Final = 50
_AHEAD: Final = 256  # orders under way at once: a sync is shared by what arrives together
_Answer = TypeVar("_Answer", bound=Message)


class HostError(RuntimeError):
    """The exchange cannot be reached, ended the session, or did not answer; says which."""


class HostClient:
    """A blocking session of one bundle; a context manager.

    A key has one session: of two processes with the same bundle file the second waits for the first.
    """

    def __init__(self, bundle: Bundle | Path, timeout_s: float = TIMEOUT_S) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
        self._path = None if isinstance(bundle, Bundle) else bundle
        self._turn: int | None = None
        self._timeout_s = timeout_s
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._link = ClientLink(
            self._context,
            self.bundle.commands_address,
            self.bundle.server_key,
            self.bundle.public_key,
            self.bundle.secret_key,
        )
        self._session = ClientSession(software="curb host")
        self._answers: dict[int, OrderAnswer] = {}
        self._statuses: dict[int, np.ndarray] = {}
        self._replies: dict[int, Message] = {}
        self._request = 0
        self.established: Established | None = None

    def __enter__(self) -> Self:
        """Open the session; raises HostError when nobody answers in time."""
        try:
            self._take_turn()
            self._connect()
            self._handle(self._session.connected(time.monotonic_ns()))
            self._until(lambda: self.established, "the session was not opened")
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the session and close."""
        if self._session.state is ClientState.OPEN:
            self._session.terminate(time.monotonic_ns())
            self._flush()
        # The farewell is one frame on an open connection: give it the time to leave.
        self._close(FAREWELL_MS)

    def order(self, command: AnyCommand) -> OrderAnswer:
        """Give one command and return its answer; raises HostError."""
        return next(iter(self.orders([command])))

    def orders(
        self, commands: Iterable[AnyCommand], done: Callable[[int], None] = lambda _: None
    ) -> Iterator[OrderAnswer]:
        """Give commands and yield their answers in order, many under way at once.

        RTTs travel as hot frames: there are tens of thousands of them, and a frame shares one sync.
        """
        count = 0
        for rtts, group in itertools.groupby(commands, lambda command: isinstance(command, Rtt)):
            if rtts:
                answers = self._rtts([command for command in group if isinstance(command, Rtt)])
            else:
                answers = self.messages(encode_order(command) for command in group)
            for answer in answers:
                count += 1
                done(count)
                yield answer

    def message(self, message: Message) -> OrderAnswer:
        """Send one numbered message (enrolment) and return its answer."""
        return next(iter(self.messages([message])))

    def messages(self, messages: Iterable[Message]) -> Iterator[OrderAnswer]:
        """Send numbered messages and yield their answers in order."""
        waiting: deque[int] = deque()
        for message in messages:
            # Large commands fill the window by their bytes before their number does.
            while waiting and (len(waiting) >= _AHEAD or not self._session.room(MESSAGE_BYTES_MAX)):
                yield self._answer(waiting.popleft())
            waiting.append(self._session.send_numbered(message))
            self._pump(0)
        while waiting:
            yield self._answer(waiting.popleft())

    def _rtts(self, rtts: list[Rtt]) -> Iterator[OrderAnswer]:
        sites, metros = self.handles("site"), self.handles("metro")
        for start in range(0, len(rtts), RECORDS_PER_FRAME_MAX):
            part = rtts[start : start + RECORDS_PER_FRAME_MAX]
            batch = np.zeros(len(part), records.RTT_RECORD)
            for record, rtt in zip(batch, part, strict=True):
                record["site"] = sites.get(rtt.site, 0)  # 0 is refused by the gate: unknown
                record["metro"] = metros.get(rtt.metro, 0)
                record["p99_us"] = records.NONE_U32 if rtt.p99_us is None else rtt.p99_us
                record["estimate"] = rtt.estimate
            first = self._session.send_records(records.RTT, batch)
            statuses = self._until(
                lambda first=first: self._statuses.pop(first, None),  # type: ignore[misc]
                f"message {first}: no answer",
            )
            for status in statuses:
                yield OrderAnswer(code=int(status["code"]), seq=int(status["number"]))

    def handles(self, kind: str) -> dict[str, int]:
        """Return name → handle of all that is known of a kind."""
        found: dict[str, int] = {}
        after, more = 0, True
        while more:
            self._request += 1
            answer = self._ask(Lookup(request=self._request, kind=kind, after=after), Found)
            found.update({entry.name: entry.handle for entry in answer.entries})
            more = answer.more
            after = max(found.values(), default=0)
        return found

    def lookup(self, kind: str, names: tuple[str, ...] = ()) -> Found:
        """Ask what is known of a kind under these names."""
        self._request += 1
        return self._ask(Lookup(request=self._request, kind=kind, names=names), Found)

    def site_key(self, site: str) -> SiteKeyAnswer:
        """Ask for a site's token key (admin)."""
        self._request += 1
        return self._ask(SiteKey(request=self._request, site=site), SiteKeyAnswer)

    def _ask(self, message: Lookup | SiteKey, kind: type[_Answer]) -> _Answer:
        self._session.send(message)
        reply = self._until(
            lambda: self._replies.pop(message.request, None), "a request was not answered"
        )
        if not isinstance(reply, kind):
            raise HostError(f"answered by {type(reply).__name__}")
        return reply

    def _answer(self, number: int) -> OrderAnswer:
        return self._until(lambda: self._answers.pop(number, None), f"message {number}: no answer")

    _Found = TypeVar("_Found")

    def _until(self, find: Callable[[], _Found | None], why: str) -> _Found:
        deadline = time.monotonic() + self._timeout_s
        while True:
            found = find()
            if found is not None:
                return found
            if time.monotonic() > deadline:
                raise HostError(f"{self.bundle.commands_address}: {why} in {self._timeout_s:.0f} s")
            self._pump(_WAIT_MS)

    def _pump(self, wait_ms: int) -> None:
        self._flush()
        if wait_ms:
            self._link.wait(wait_ms)
        now = time.monotonic_ns()
        for frame in self._link.drain():
            try:
                events = self._session.receive(frame.buffer, now)
            except ProtocolError as error:
                raise HostError(
                    f"{self.bundle.commands_address}: answered nonsense: {error}"
                ) from None
            self._handle(events)
        self._handle(self._session.poll(now))
        self._flush()

    def _flush(self) -> None:
        outbox = self._session.outbox
        while outbox and self._link.send(outbox[0]):
            outbox.popleft()
            self._session.sent(time.monotonic_ns())

    def _handle(self, events: list[ClientEvent]) -> None:
        for event in events:
            # Why it ended comes behind what is lost by it, and is what a person wants to know.
            if isinstance(event, Closed):
                raise HostError(f"the exchange ended the session: {event.why}")
        for event in events:
            match event:
                case Opened(established=established):
                    self.established = established
                case OrderAnswered(number=number, answer=answer):
                    self._answers[number] = answer
                case MessageRefused(number=number, refused=refused) if number:
                    self._answers[number] = OrderAnswer(code=refused.code, why=refused.why)
                case MessageRefused(refused=refused):
                    raise HostError(refused.why)
                case Replied(message=message):
                    self._replies[getattr(message, "request", 0)] = message
                case OutcomeUnknown() | NotSent():
                    raise HostError("the exchange was restarted meanwhile: look, then try again")
                case Answered(first=first, statuses=statuses):
                    self._statuses[first] = statuses

    def _connect(self) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not self._link.writable:
            if time.monotonic() > deadline:
                raise HostError(f"{self.bundle.commands_address}: nobody answers")
            self._link.socket.poll(_WAIT_MS, zmq.POLLOUT)

    def _take_turn(self) -> None:
        if self._path is None:
            return
        turn = os.open(
            self._path.with_name(f"{self._path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600
        )
        self._turn = turn
        deadline = time.monotonic() + TURN_S
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            if time.monotonic() > deadline:
                raise HostError(
                    f"{self._path}: another command has spoken with it for {TURN_S:.0f} s"
                )
            time.sleep(_WAIT_MS / 1000)

    def _close(self, linger_ms: int = 0) -> None:
        self._link.socket.close(linger_ms)
        self._context.term()
        if self._turn is not None:
            os.close(self._turn)
            self._turn = None
