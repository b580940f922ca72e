"""A member's private events, from the follower's door: each once, in order, resumable.

Events are numbered 1, 2, … per member. A frame that begins too late shows a gap, and the feed asks
again from the last it took; what comes twice is passed over. When the follower no longer keeps what
was missed, the user is told, and asks the exchange instead.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from schemas import limits, records
from schemas.channel import Link
from schemas.frames import ProtocolError, decode_server, encode_message
from schemas.link import AsyncioPump
from schemas.session.messages import Received, Subscribe, Subscribed

CREDIT_EVENTS: Final = 65_536
_ASK_AGAIN_NS: Final = limits.HEARTBEATS_MISSED * limits.HEARTBEAT_US * limits.NS_PER_US
_NS_PER_S: Final = 1_000_000_000

OnEvents = Callable[[int, np.ndarray], None]
OnLost = Callable[[int, int], None]


class EventFeed:
    """Subscribe to a member's events on a running loop and hand them on, oldest first.

    `on_events(first, records)` gets EVENT records numbered from `first`; the array is valid after
    the call too. `on_lost(first, last)` is told of numbers that are no longer kept. `last` is the
    number up to which events were handed on: keep it, and give it as `after` to go on from there.
    """

    def __init__(
        self,
        link: Link,
        clock_ns: Callable[[], int],
        on_events: OnEvents,
        on_lost: OnLost | None = None,
        *,
        after: int = 0,
        credit: int = CREDIT_EVENTS,
    ) -> None:
        self.last = after
        self.caught_up = asyncio.Event()  # what stood when it subscribed was handed on
        self.malformed_count = 0
        self._link = link
        self._clock_ns = clock_ns
        self._on_events = on_events
        self._on_lost = on_lost
        self._credit = credit
        self._acknowledged = after
        self._goal: int | None = None
        self._heard_ns = 0
        self._asked_ns: int | None = None
        self._gap_at = -1
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._pump = AsyncioPump(link, self._on_frames, self._loop, self._on_wake)

    def close(self) -> None:
        """Stop; nothing is handed on after."""
        self._pump.stop()
        self._link.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ------------------------------------------------------------------------- inside
    def _subscribe(self) -> None:
        message = Subscribe(after=self.last, credit=self._credit)
        if self._link.send(encode_message(message)):
            self._asked_ns = self._heard_ns = self._clock_ns()
            self._acknowledged = self.last
            self._pump.kick()

    def _on_wake(self) -> None:
        now_ns = self._clock_ns()
        if self._asked_ns is None or now_ns - self._heard_ns >= _ASK_AGAIN_NS:
            # Silence is no proof that anything is wrong, but to ask again costs one small frame,
            # and after a restart of the follower nothing else would tell it that we are here.
            self._subscribe()
        if self.last - self._acknowledged >= self._credit // 4:
            self._acknowledge()
        if self._timer is None:
            self._timer = self._loop.call_later(_ASK_AGAIN_NS / _NS_PER_S, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self.last > self._acknowledged:
            self._acknowledge()
        self._on_wake()

    def _acknowledge(self) -> None:
        if self._link.send(encode_message(Received(upto=self.last))):
            self._acknowledged = self.last
            self._pump.kick()

    def _on_frames(self, frames: list[Any]) -> None:
        self._heard_ns = self._clock_ns()
        for raw in frames:
            try:
                frame = decode_server(raw.buffer)
            except ProtocolError:
                self.malformed_count += 1
                continue
            if isinstance(frame.message, Subscribed):
                self._subscribed(frame.message)
            elif frame.type == records.EVENT:
                self._events(frame.first, frame.records)

    def _subscribed(self, message: Subscribed) -> None:
        if message.kept_from > self.last + 1:
            lost_first, self.last = self.last + 1, message.kept_from - 1
            if self._on_lost is not None:
                self._on_lost(lost_first, self.last)
        self._goal = message.last
        self._reached()

    def _events(self, first: int, events: np.ndarray) -> None:
        if first > self.last + 1:
            # A gap: again from the last that was taken, once, for frames under way show it too.
            if self._gap_at != self.last:
                self._gap_at = self.last
                self._subscribe()
            return
        fresh = events[self.last + 1 - first :]
        if len(fresh) == 0:
            return
        number = self.last + 1
        self.last += len(fresh)
        self._on_events(number, fresh)
        self._reached()

    def _reached(self) -> None:
        if self._goal is not None and self.last >= self._goal:
            self.caught_up.set()
