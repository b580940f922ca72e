"""Tell the exchange of each fill, until it is acknowledged: start, then complete or decline.

One task per fill, so that what is said of it goes out in order, however often a connection is lost. A
repeat does no harm: a start, completion or decline that was taken already comes back as `state`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Final

import numpy as np

from schemas import limits, lists, records
from schemas.channel import ChannelError, NotSentError, OutcomeUnknownError, RefusedError
from ssp_adapters.agent import OperatorAgent
from ssp_adapters.site_proxy.journal import JournalFailedError, Owed, SiteJournal

_log: Final = logging.getLogger("curb.site")
_RETRY_S: Final = 1.0


class Settlements:
    """What the exchange is owed. `begin` when a token is used, then `complete` or `decline`, once.

    `on_ended(fill)` is called when the fill holds no slot any more.
    """

    def __init__(
        self,
        agent: OperatorAgent,
        journal: SiteJournal,
        on_ended: Callable[[int], None],
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._agent = agent
        self._journal = journal
        self._on_ended = on_ended
        self._wall_ns = wall_ns
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._ends: dict[int, asyncio.Future[Owed]] = {}

    def begin(self, fill: int) -> "asyncio.Future[bool]":
        """Say `start` at once. The future tells whether the exchange took it; it stays open while the
        exchange cannot be reached.
        """
        loop = asyncio.get_running_loop()
        started: asyncio.Future[bool] = loop.create_future()
        self._ends[fill] = loop.create_future()
        self._keep(fill, self._tell(fill, started))
        return started

    async def complete(self, fill: int, tokens_in: int, tokens_out: int, ttft_us: int) -> None:
        """Note what was metered, on disk, and tell the exchange in the background."""
        ttft_us = min(ttft_us, limits.LATENCY_US_MAX)
        try:
            await self._journal.complete(fill, tokens_in, tokens_out, ttft_us)
        except JournalFailedError as error:
            _log.error("%s", error)  # the exchange can still be told
        self._end(Owed(fill, 0, complete=(tokens_in, tokens_out, ttft_us)))

    async def decline(self, fill: int, reason: str) -> None:
        """Note that a fill is not served, on disk, and tell the exchange in the background."""
        try:
            await self._journal.decline(fill, reason)
        except JournalFailedError as error:
            _log.error("%s", error)  # as above
        self._end(Owed(fill, 0, decline=reason))

    def resume(self) -> list[int]:
        """Take up what an earlier life of this site owed; returns its fills.

        A request that was under way when the process died is declined: its buyer pays nothing.
        """
        loop = asyncio.get_running_loop()
        fills = list(self._journal.owed)
        for fill in fills:
            owed = self._journal.owed[fill]
            if owed.complete is None and not owed.decline:
                owed.decline = "failed"
            self._ends[fill] = loop.create_future()
            self._end(owed)
            self._keep(fill, self._tell(fill, loop.create_future()))
        return fills

    async def drain(self, patience_s: float) -> int:
        """Wait until everything was acknowledged; returns how many are still owed."""
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()), timeout=patience_s)
        for task in list(self._tasks.values()):
            task.cancel()
        return len(self._journal.owed)

    # ------------------------------------------------------------------------- inside
    def _end(self, owed: Owed) -> None:
        self._on_ended(owed.fill)
        future = self._ends.get(owed.fill)
        if future is not None and not future.done():
            future.set_result(owed)

    def _keep(self, fill: int, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks[fill] = task

        def forget(_task: "asyncio.Future[None]") -> None:
            self._tasks.pop(fill, None)
            self._ends.pop(fill, None)

        task.add_done_callback(forget)

    async def _tell(self, fill: int, started: "asyncio.Future[bool]") -> None:
        start = np.zeros(1, records.START_RECORD)
        start["fill"] = fill
        taken = await self._say(records.START, start)
        if not started.done():
            started.set_result(taken)
        # A start that was refused is no reason to be silent: an earlier life may have said it.
        owed = await self._ends[fill]
        if owed.complete is not None:
            complete = np.zeros(1, records.COMPLETE_RECORD)
            complete[0] = (fill, *owed.complete, 0)
            await self._say(records.COMPLETE, complete)
        else:
            decline = np.zeros(1, records.DECLINE_RECORD)
            decline[0] = (fill, lists.DECLINE_REASONS.index(owed.decline), 0)
            await self._say(records.DECLINE, decline)
        try:
            self._journal.told(fill, self._wall_ns())
        except JournalFailedError as error:
            _log.error("%s", error)  # it will be said again, which does no harm

    async def _say(self, kind: int, batch: np.ndarray) -> bool:
        while True:
            try:
                await self._agent.channel.opened()
                statuses = await self._agent.send(kind, batch)
            except (OutcomeUnknownError, NotSentError):
                continue
            except RefusedError as error:
                _log.warning("fill %s: %s", batch["fill"][0], error)
                await asyncio.sleep(_RETRY_S)  # over the rate, or the exchange is stopping
                continue
            except ChannelError:
                # The session is over for good: what is owed stays on disk for the next life.
                await asyncio.Event().wait()
                raise
            return int(statuses["code"][0]) == 0
