"""One agent's session on an asyncio loop: what SDK and adapters await answers from.

    caller ──await──▶ Channel ── ClientSession (pure) ── AsyncioPump ── ClientLink ══ exchange

Each numbered message has one future, settled by exactly one event of the session: an answer, a
refusal, an unknown outcome, or the certainty that it never left. Time and link come from outside.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import numpy as np

from schemas import limits, records
from schemas.commands import AnyCommand
from schemas.frames import ProtocolError, encode_order
from schemas.link import AsyncioPump, Drainable, Payload
from schemas.reasons import NAME_OF_REFUSED, NAME_OF_REJECTED
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
    SessionEndedError,
)
from schemas.session.machine import ClientState
from schemas.session.messages import (
    Entry,
    Established,
    Found,
    Lookup,
    Message,
    Order,
    OrderAnswer,
    Outcome,
    Query,
)

_NAMES_PER_LOOKUP: Final = 1_024
_REQUEST_MAX: Final = 2**32
_NS_PER_S: Final = 1_000_000_000


class ChannelError(Exception):
    """What every failure of a channel is."""


class RefusedError(ChannelError):
    """The exchange refused a message before it was numbered; it had no effect.

    `code` is a number of `schemas.reasons.REFUSED`, `reason` its name.
    """

    def __init__(self, code: int, why: str) -> None:
        self.code = code
        self.reason = NAME_OF_REFUSED.get(code) or NAME_OF_REJECTED.get(code, str(code))
        self.why = why
        super().__init__(f"{self.reason} ({code}){': ' + why if why else ''}")


class RejectedError(RefusedError):
    """The market rejected a command: well-formed, but not acceptable in the current state."""


class OutcomeUnknownError(ChannelError):
    """The answer was lost: whether the message took effect is for `query` to tell, not for a retry."""


class NotSentError(ChannelError):
    """The message never left and had no effect."""


class SessionOverError(ChannelError):
    """The session is over and is not asked for again; `code` as in RefusedError, 0 when it was us."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why or "the session is over")
        self.code = code


class Answer(NamedTuple):
    """STATUS records, one per record sent, and the FILL records of all of them in order."""

    statuses: np.ndarray
    fills: np.ndarray


class Link(Drainable, Protocol):
    """A client's link as the channel sees it (`schemas.link.ClientLink`)."""

    @property
    def writable(self) -> bool:
        """Tell whether it is connected and a frame can be sent now."""

    def send(self, payload: Payload) -> bool:
        """Send one frame; False when that is not possible now."""

    def close(self) -> None:
        """Close at once."""


_Result = TypeVar("_Result")
OnOpened = Callable[[Established, bool], None]


class Channel:
    """A session over a link, for one running loop.

    `clock_ns` is monotonic. `on_opened` is called, within the loop, whenever the session is opened
    or resumed. A session that the exchange ended for our silence is followed by a new one (not
    resumed: bids at rest and offers are gone); one that was taken over or revoked is not, for two
    processes under one key must not fight.
    """

    def __init__(
        self,
        link: Link,
        session: ClientSession,
        clock_ns: Callable[[], int],
        on_opened: OnOpened | None = None,
    ) -> None:
        self._link = link
        self._clock_ns = clock_ns
        self._on_opened = on_opened
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._request = 0
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._over: SessionOverError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._connected = False
        self._pump = AsyncioPump(link, self._on_frames, self._loop, self._on_wake)
        self.malformed_count = 0

    # ------------------------------------------------------------------------- state
    @property
    def established(self) -> Established | None:
        """What the exchange said when the session was opened last."""
        return self._session.established

    @property
    def open(self) -> bool:
        """Tell whether the session is open now."""
        return self._session.state is ClientState.OPEN

    @property
    def over(self) -> SessionOverError | None:
        """Why the session is over for good, or None."""
        return self._over

    async def opened(self) -> Established:
        """Wait until the session is open.

        Raises:
            SessionOverError: the exchange refused it for good.
        """
        await self._until(lambda: self.open)
        assert self._session.established is not None
        return self._session.established

    async def ended(self) -> SessionOverError:
        """Wait until the session is over for good, and return why."""
        while self._over is None:
            self._changed.clear()
            await self._changed.wait()
        return self._over

    # ------------------------------------------------------------------------- sending
    async def post(self, kind: int, array: np.ndarray) -> "asyncio.Future[Answer]":
        """Send one frame of hot records once there is room, in the order of the calls.

        Returns the future of its answer, so that a caller may have several under way. That raises
        RefusedError, OutcomeUnknownError, NotSentError or SessionOverError.

        Raises:
            SessionOverError: the session is over; nothing was sent.
        """
        async with self._turn:
            size = records.HEADER_BYTES + array.nbytes
            await self._until(lambda: self._session.room(size))
            first = self._guard(lambda: self._session.send_records(kind, array))
            future: asyncio.Future[Answer] = self._loop.create_future()
            self._answers[first] = future
            self._flush()
        return future

    async def send(self, kind: int, array: np.ndarray) -> Answer:
        """Send one frame of hot records and wait for its answer. Raises as `post`."""
        return await (await self.post(kind, array))

    async def numbered(self, message: Message) -> OrderAnswer:
        """Send a numbered message and wait for its answer, whatever its code. Raises as `post`."""
        async with self._turn:
            await self._until(lambda: self._session.room(limits.MESSAGE_BYTES_MAX))
            number = self._guard(lambda: self._session.send_numbered(message))
            future: asyncio.Future[OrderAnswer] = self._loop.create_future()
            self._answers[number] = future
            self._flush()
        return await future

    async def order(self, command: AnyCommand) -> OrderAnswer:
        """Give one rare command and wait until it was applied.

        Raises:
            RejectedError: the market rejected it. Else as `post`.
        """
        message: Order = encode_order(command)
        answer = await self.numbered(message)
        if answer.code:
            raise RejectedError(answer.code, answer.why)
        return answer

    async def lookup(
        self, kind: str, names: Iterable[str] = (), handles: Iterable[int] = ()
    ) -> list[Entry]:
        """Return what is known under names or handles of a kind; everything when both are empty."""
        wanted_names, wanted_handles = tuple(names), tuple(handles)
        found: list[Entry] = []
        if not wanted_names and not wanted_handles:
            after, more = 0, True
            while more:
                page = await self._found(kind, (), (), after)
                found += page.entries
                more = page.more and bool(page.entries)
                after = page.entries[-1].handle if page.entries else after
            return found
        step = _NAMES_PER_LOOKUP
        for start in range(0, len(wanted_names), step):
            found += (await self._found(kind, wanted_names[start : start + step], (), 0)).entries
        for start in range(0, len(wanted_handles), step):
            part = wanted_handles[start : start + step]
            found += (await self._found(kind, (), part, 0)).entries
        return found

    async def _found(
        self, kind: str, names: tuple[str, ...], handles: tuple[int, ...], after: int
    ) -> Found:
        entries: tuple[Entry, ...] = ()
        rest_names, rest_handles = names, handles
        while True:
            request = self._next_request()
            message = Lookup(
                request=request, kind=kind, names=rest_names, handles=rest_handles, after=after
            )
            answer: Found = await self._ask(request, message)
            entries += answer.entries
            # Of a list of names or handles, what did not fit is asked for again by itself.
            if not answer.more or not (names or handles) or not answer.entries:
                return Found(request=request, entries=entries, more=answer.more)
            seen_names = {entry.name for entry in answer.entries}
            seen_handles = {entry.handle for entry in answer.entries}
            rest_names = tuple(name for name in rest_names if name not in seen_names)
            rest_handles = tuple(handle for handle in rest_handles if handle not in seen_handles)

    async def query(self, *, bid: int = 0, fill: int = 0) -> Outcome:
        """Return what became of a bid of this agent, or of a fill of this member."""
        request = self._next_request()
        outcome: Outcome = await self._ask(request, Query(request=request, bid=bid, fill=fill))
        return outcome

    def _next_request(self) -> int:
        self._request = (self._request + 1) % _REQUEST_MAX
        return self._request

    async def _ask(self, request: int, message: Lookup | Query) -> Any:
        async with self._turn:
            await self._until(lambda: self._session.room(limits.MESSAGE_BYTES_MAX))
            self._guard(lambda: self._session.send(message))
            future: asyncio.Future[Any] = self._loop.create_future()
            self._replies[request] = future
            self._flush()
        return await future

    async def close(self, patience_s: float = 1.0) -> None:
        """End the session: bids at rest and streamed offers are cancelled. Never raises."""
        if self._over is None:
            self._take(self._session.terminate(self._clock_ns()))
            self._flush()
        if self._over is None:
            try:
                async with asyncio.timeout(patience_s):
                    await self.ended()
            except TimeoutError:
                self._end(SessionOverError(0, "closed without the exchange's word"))
        self.abort()

    def abort(self) -> None:
        """Drop the connection and leave the session as it is: it ends by silence, or is resumed."""
        self._end(SessionOverError(0, "closed"))
        self._pump.stop()
        self._link.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ------------------------------------------------------------------------- inside
    async def _until(self, condition: Callable[[], bool]) -> None:
        while True:
            if self._over is not None:
                raise self._over
            if condition():
                return
            self._changed.clear()
            await self._changed.wait()

    def _guard(self, send: Callable[[], _Result]) -> _Result:
        try:
            return send()
        except SessionEndedError:
            raise self._over or SessionOverError(0, "the session is over") from None

    def _on_frames(self, frames: list[Any]) -> None:
        now_ns = self._clock_ns()
        for frame in frames:
            try:
                events = self._session.receive(frame.buffer, now_ns)
            except ProtocolError:
                # Not this session's: whatever it was, the silence or an answer will tell.
                self.malformed_count += 1
                continue
            self._take(events)
        self._changed.set()

    def _on_wake(self) -> None:
        if self._over is not None:
            return
        if not self._link.writable:
            self._connected = False
        elif not self._connected:
            # Up, or up again: the exchange does not know this connection yet. Without this, the next
            # heartbeat's refusal would say so, up to a second later.
            self._connected = True
            self._take(self._session.connected(self._clock_ns()))
        self._flush()

    def _flush(self) -> None:
        if self._over is not None:
            return
        outbox = self._session.outbox
        sent = False
        while outbox and self._link.send(outbox[0]):
            outbox.popleft()
            sent = True
        if sent:
            self._session.sent(self._clock_ns())
            self._pump.kick()
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline_ns = self._session.deadline_ns
        if deadline_ns is not None and self._over is None:
            wait_s = max(0, deadline_ns - self._clock_ns()) / _NS_PER_S
            self._timer = self._loop.call_later(wait_s, self._on_deadline)

    def _on_deadline(self) -> None:
        self._timer = None
        self._take(self._session.poll(self._clock_ns()))
        self._flush()

    def _take(self, events: list[ClientEvent]) -> None:
        for event in events:
            match event:
                case Opened(established, resumed):
                    if self._on_opened is not None:
                        self._on_opened(established, resumed)
                case Answered(first, statuses, fills):
                    _settle(self._answers.pop(first, None), Answer(statuses, fills))
                case OrderAnswered(number, answer):
                    _settle(self._answers.pop(number, None), answer)
                case MessageRefused(number, _, refused):
                    error = RefusedError(refused.code, refused.why)
                    _fail(self._answers.pop(number, None), error)
                case OutcomeUnknown(first, _):
                    why = "the answer was lost: query what became of it"
                    _fail(self._answers.pop(first, None), OutcomeUnknownError(why))
                case NotSent(first, _):
                    _fail(self._answers.pop(first, None), NotSentError("the message never left"))
                case Replied(message):
                    request = getattr(message, "request", 0)
                    _settle(self._replies.pop(request, None), message)
                case Closed(code, why):
                    self._end(SessionOverError(code, why))
                case _:
                    pass
        self._changed.set()

    def _end(self, error: SessionOverError) -> None:
        if self._over is None:
            self._over = error
        for future in (*self._answers.values(), *self._replies.values()):
            _fail(future, self._over)
        self._answers.clear()
        self._replies.clear()
        self._changed.set()


def _settle(future: "asyncio.Future[Any] | None", value: object) -> None:
    if future is not None and not future.done():
        future.set_result(value)


def _fail(future: "asyncio.Future[Any] | None", error: Exception) -> None:
    if future is not None and not future.done():
        future.set_exception(error)
        future.exception()  # whoever stopped waiting must not be warned about it
