"""A member's private events on an asyncio loop, and the public feeds beside them.

Both hand on what arrives within the loop that made them:

user ◀──on_events── EventFeed ── FeedClientSession (pure) ── AsyncioPump ── ClientLink ══ follower
user ◀──on_frame─── TapeFeed ── AsyncioPump ── FeedClient ══ follower
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from schemas.channel import Link
from schemas.frames import Frame, ProtocolError, decode_server
from schemas.link import AsyncioPump, Drainable
from schemas.session.feed import Events, FeedClientSession, FeedClosed, FeedEvent, Missed

_NS_PER_S: Final = 1_000_000_000

OnEvents = Callable[[int, np.ndarray], None]
OnMissed = Callable[[int, int], None]
OnClosed = Callable[[int, str], None]


class EventFeed:
    """Subscribe to a member's events on a running loop and hand them on, oldest first, each once.

    `on_events(first, records)` gets EVENT records numbered from `first`; they stay valid after the
    call. `on_missed(first, last)` is told of numbers that are no longer kept, `on_closed(code, why)`
    of a refusal for good. `last` is the number up to which events were handed on: keep it, and give
    it as `after` in a later life. `clock_ns` is monotonic.
    """

    def __init__(
        self,
        link: Link,
        clock_ns: Callable[[], int],
        on_events: OnEvents,
        *,
        on_missed: OnMissed | None = None,
        on_closed: OnClosed | None = None,
        after: int = 0,
    ) -> None:
        self.subscribed = asyncio.Event()
        self.malformed_count = 0
        self._link = link
        self._clock_ns = clock_ns
        self._on_events = on_events
        self._on_missed = on_missed
        self._on_closed = on_closed
        self._session = FeedClientSession(after)
        self._connected = False
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._pump = AsyncioPump(link, self._on_frames, self._loop, self._on_wake)

    @property
    def last(self) -> int:
        """The number of the last event that was handed on."""
        return self._session.last

    @property
    def market(self) -> int:
        """The market that these events are of; 0 before the subscription stood."""
        return self._session.market

    def close(self) -> None:
        """Stop; nothing is handed on after."""
        self._pump.stop()
        self._link.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ------------------------------------------------------------------------- inside
    def _on_frames(self, frames: list[Any]) -> None:
        now_ns = self._clock_ns()
        for frame in frames:
            try:
                events = self._session.receive(frame.buffer, now_ns)
            except ProtocolError:
                self.malformed_count += 1
                continue
            self._take(events)

    def _on_wake(self) -> None:
        if not self._link.writable:
            self._connected = False
        elif not self._connected:
            self._connected = True
            self._session.connected(self._clock_ns())
        if self._session.open:
            self.subscribed.set()
        self._flush()

    def _flush(self) -> None:
        outbox = self._session.outbox
        sent = False
        while outbox and self._link.send(outbox[0]):
            outbox.popleft()
            sent = True
        if sent:
            self._pump.kick()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline_ns = self._session.deadline_ns
        if deadline_ns is not None:
            wait_s = max(0, deadline_ns - self._clock_ns()) / _NS_PER_S
            self._timer = self._loop.call_later(wait_s, self._on_deadline)

    def _on_deadline(self) -> None:
        self._timer = None
        self._take(self._session.poll(self._clock_ns()))
        self._on_wake()

    def _take(self, events: list[FeedEvent]) -> None:
        for event in events:
            match event:
                case Events(first, array):
                    self._on_events(first, array)
                case Missed(first, last):
                    if self._on_missed is not None:
                        self._on_missed(first, last)
                case FeedClosed(code, why):
                    if self._on_closed is not None:
                        self._on_closed(code, why)


class TapeFeed:
    """Hand on every frame of a public feed. `gaps_count`: frames of a type that did not follow the
    one before, because the publisher dropped some for a slow reader.
    """

    def __init__(self, link: Drainable, on_frame: Callable[[Frame], None]) -> None:
        self.malformed_count = 0
        self.gaps_count = 0
        self._next: dict[int, int] = {}
        self._link = link
        self._on_frame = on_frame
        self._pump = AsyncioPump(link, self._on_frames, asyncio.get_running_loop())

    def close(self) -> None:
        """Stop. The link stays its owner's to close."""
        self._pump.stop()

    def _on_frames(self, frames: list[Any]) -> None:
        for raw in frames:
            try:
                frame = decode_server(raw.buffer)
            except ProtocolError:
                self.malformed_count += 1
                continue
            if frame.first:
                if self._next.get(frame.type, frame.first) != frame.first:
                    self.gaps_count += 1
                self._next[frame.type] = frame.first + len(frame.records)
            self._on_frame(frame)
