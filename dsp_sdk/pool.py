"""Fills bought ahead of the requests they will serve, of one class.

    Holdings (pure)    what is held, given out, and too old to be used
    Pool     (edge)    buys until so many are held, and gives back what will not be used

A class is (origin, campaign, adapter, tokens): any request within the tokens takes any fill of it, so
placing a request is local. How many to hold is the caller's: forecasting is not done here.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self

from dsp_sdk.directory import UnknownNameError
from dsp_sdk.results import Fill
from schemas.channel import ChannelError
from schemas.limits import TOKEN_MARGIN_NS

if TYPE_CHECKING:
    from dsp_sdk.client import Client

_USABLE_NS: Final = 500_000_000  # a request must still reach the site before its token is void
_RETRY_S: Final = 0.5


class Holdings:
    """Fills held, oldest lease first out; `now_ns` is Unix time, as near the exchange's as can be."""

    def __init__(self) -> None:
        self._fills: deque[Fill] = deque()

    def __len__(self) -> int:
        return len(self._fills)

    def add(self, fill: Fill) -> None:
        """Hold one more."""
        self._fills.append(fill)

    def take(self, now_ns: int, not_operator: str = "") -> Fill | None:
        """Give out the usable fill whose lease ends first, of another operator than the one named."""
        for fill in sorted(self._fills, key=lambda fill: fill.lease_until_ns):
            if _usable(fill, now_ns) and fill.operator != not_operator:
                self._fills.remove(fill)
                return fill
        return None

    def expired(self, now_ns: int) -> list[Fill]:
        """Take out and return what can no longer be used: to be released, which costs less rent."""
        old = [fill for fill in self._fills if not _usable(fill, now_ns)]
        self._fills = deque(fill for fill in self._fills if _usable(fill, now_ns))
        return old


def _usable(fill: Fill, now_ns: int) -> bool:
    return now_ns + _USABLE_NS < fill.lease_until_ns - TOKEN_MARGIN_NS


class Pool:
    """Hold `size` fills of one class while it is entered: `async with Pool(market, …) as pool`."""

    def __init__(
        self,
        client: "Client",
        campaign: str,
        *,
        tokens_in: int,
        tokens_out: int,
        size: int,
        origin: str = "",
        adapter: str = "",
        lease_ms: int = 5_000,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.holdings = Holdings()
        self.last_reason = ""  # why the last bid got less than it asked for
        self._client = client
        self._campaign = campaign
        self._tokens_in = tokens_in
        self._tokens_out = tokens_out
        self._size = size
        self._origin = origin
        self._adapter = adapter
        self._lease_ms = lease_ms
        self._clock_ns = clock_ns
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Buy the first fills, and go on in the background."""
        await self._top_up()
        self._task = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop buying and give back what is held."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        # A session that is over has nothing to give back: what is leased ends by itself.
        with contextlib.suppress(ChannelError):
            while (fill := self.holdings.take(0)) is not None:
                await self._client.release(fill.fill)

    def take(self, not_operator: str = "") -> Fill | None:
        """Give out a fill at once, or None: then bid for one. `not_operator`: for a retry elsewhere."""
        fill = self.holdings.take(self._clock_ns(), not_operator)
        self._wanted.set()
        return fill

    async def _keep(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_RETRY_S):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            try:
                for fill in self.holdings.expired(self._clock_ns()):
                    await self._client.release(fill.fill)
                await self._top_up()
            except (ChannelError, UnknownNameError) as error:
                # A campaign that was ended, too: it may be registered again under its name.
                self.last_reason = str(error)

    async def _top_up(self) -> None:
        missing = self._size - len(self.holdings)
        if missing <= 0:
            return
        result = await self._client.bid(
            self._campaign,
            tokens_in=self._tokens_in,
            tokens_out=self._tokens_out,
            origin=self._origin,
            adapter=self._adapter,
            quantity=min(missing, 64),
            lease_ms=self._lease_ms,
        )
        self.last_reason = result.reason
        for fill in result.fills:
            self.holdings.add(fill)
