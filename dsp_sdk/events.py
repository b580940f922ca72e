"""A buyer's private events: fills of bids at rest, settlements, releases (the follower's door).

A fill is told twice, in the answer to its bid and here; whoever reads both takes the first copy.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Final, Self

import numpy as np

from schemas import records
from schemas.channel import Link
from schemas.feed import EventFeed

FILL: Final = records.EVENT_TYPES.index("fill")
_GENERATION: Final = 1 << 16


class EventsMissedError(Exception):
    """Events `first` … `last` are no longer kept: ask the exchange what became of what was open."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__(f"events {first} to {last} are no longer kept")
        self.first = first
        self.last = last


class EventsClosedError(Exception):
    """The follower refused the subscription for good; `code` is of `schemas.reasons.REFUSED`."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{why} ({code})")
        self.code = code


class FirstCopies:
    """Remember the numbers of fills seen lately: the last 65,536 to 131,072 of them."""

    def __init__(self) -> None:
        self._new: set[int] = set()
        self._old: set[int] = set()

    def note(self, fills: np.ndarray) -> None:
        """Note fills by number, of any integer array."""
        self._new.update(fills.tolist())
        if len(self._new) >= _GENERATION:
            self._old, self._new = self._new, set()

    def fresh(self, events: np.ndarray) -> np.ndarray:
        """Return the EVENT records without fills that were noted before, and note the others."""
        is_fill = events["type"] == FILL
        if not is_fill.any():
            return events
        numbers = events["fill"].tolist()
        keep = [
            not fill or (number not in self._new and number not in self._old)
            for number, fill in zip(numbers, is_fill.tolist(), strict=True)
        ]
        self.note(events["fill"][is_fill])
        return events if all(keep) else events[np.array(keep)]


class Events:
    """Iterate batches of EVENT records, each event once, in order; close it, or use `async with`.

        async with market.events() as events:
            async for batch in events: ...

    `last` is the number to give as `after` in a later life. For a reader that lags 65,536 events
    behind the subscription is given up, and taken up again where it stopped once they are read.
    """

    def __init__(
        self,
        make_link: Callable[[], Link],
        clock_ns: Callable[[], int],
        copies: FirstCopies,
        after: int,
    ) -> None:
        self._make_link = make_link
        self._clock_ns = clock_ns
        self._copies = copies
        self._after = after
        self._feed: EventFeed | None = None
        self._waiting_count = 0
        self._queue: asyncio.Queue[np.ndarray | Exception] = asyncio.Queue()

    @property
    def last(self) -> int:
        """The number of the last event received."""
        return self._after if self._feed is None else self._feed.last

    async def __aenter__(self) -> Self:
        """Subscribe; returns once the follower agreed."""
        self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop reading."""
        self.close()

    def close(self) -> None:
        """Stop reading."""
        if self._feed is not None:
            self._after = self._feed.last
            self._feed.close()
            self._feed = None

    def _open(self) -> None:
        self._feed = EventFeed(
            self._make_link(),
            self._clock_ns,
            self._take,
            on_missed=lambda first, last: self._queue.put_nowait(EventsMissedError(first, last)),
            on_closed=lambda code, why: self._queue.put_nowait(EventsClosedError(code, why)),
            after=self._after,
        )

    async def subscribed(self) -> None:
        """Wait until the follower agreed to the subscription."""
        assert self._feed is not None
        await self._feed.subscribed.wait()

    async def __aiter__(self) -> AsyncIterator[np.ndarray]:
        """Give batches as they come, without an end.

        Raises:
            EventsMissedError: some are no longer kept; iterate again to go on behind them.
            EventsClosedError: the follower refused for good.
        """
        while True:
            if self._feed is None and self._queue.empty():
                self._open()
            batch = await self._queue.get()
            if isinstance(batch, Exception):
                raise batch
            self._waiting_count -= len(batch)
            yield batch

    def _take(self, _first: int, events: np.ndarray) -> None:
        fresh = self._copies.fresh(events)
        if len(fresh):
            self._waiting_count += len(fresh)
            self._queue.put_nowait(fresh)
        if self._waiting_count >= _GENERATION:
            # Not within the feed's own callback: it still has frames in hand, which come again.
            asyncio.get_running_loop().call_soon(self.close)
