"""The public tape and book: what traded, and where capacity is, without names or asks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Final, Self

from schemas.feed import TapeFeed
from schemas.frames import Frame
from schemas.link import FeedClient

_FRAMES_MAX: Final = 4_096


class Tape:
    """Iterate frames of the public feeds; `frame.type` is TAPE or BOOK, `frame.records` the rows.

        async with market.tape() as tape:
            async for frame in tape: ...

    The newest 4,096 frames wait for a slow reader; older ones are dropped and counted in
    `dropped_count`, as are the publisher's own gaps in `gaps_count`.
    """

    def __init__(self, make_link: Callable[[], FeedClient]) -> None:
        self.dropped_count = 0
        self._make_link = make_link
        self._link: FeedClient | None = None
        self._feed: TapeFeed | None = None
        self._queue: asyncio.Queue[Frame] = asyncio.Queue(_FRAMES_MAX)

    @property
    def gaps_count(self) -> int:
        """How often the publisher's numbers showed that frames were dropped before they came here."""
        return 0 if self._feed is None else self._feed.gaps_count

    async def __aenter__(self) -> Self:
        """Subscribe."""
        self._link = self._make_link()
        self._feed = TapeFeed(self._link, self._take)
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
            self._feed.close()
        if self._link is not None:
            self._link.close()

    async def __aiter__(self) -> AsyncIterator[Frame]:
        """Give frames as they come, without an end."""
        while True:
            yield await self._queue.get()

    def _take(self, frame: Frame) -> None:
        if self._queue.full():
            self._queue.get_nowait()
            self.dropped_count += 1
        self._queue.put_nowait(frame)
