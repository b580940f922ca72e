"""The runner: all that an adapter's two functions leave out. One process, one agent per operator.

    Source ──documents──▶ adapter.read ─▶ adapter.offers ─▶ overcommitted? ─▶ plan ─▶ frames ══▶ exchange
              FillBook ──fills──┘                                              ▲
    exchange ══ session, events ══▶ FillBook, engine          what stands ─────┘

Every `interval_s` it looks, and says only what changed. What an adapter cannot read or offers twice over
is logged and not sent: offers that nobody can answer for expire by themselves.

    python -m ssp_adapters --bundle BUNDLE --adapter price_list --document prices.csv
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import msgspec
import numpy as np

from schemas import limits, records
from schemas.channel import ChannelError, SessionOverError
from schemas.commands import Offer
from schemas.lists import DECLINE_REASONS
from schemas.reasons import NAME_OF_REFUSED, NAME_OF_REJECTED, REJECTED
from schemas.session.messages import Established
from ssp_adapters.agent import FillEvent, OperatorAgent
from ssp_adapters.contract import (
    Adapter,
    AdapterError,
    FleetState,
    Policy,
    Sample,
    Samples,
    overcommitted,
)
from ssp_adapters.plan import Key, Plan, Standing, make_plan
from ssp_adapters.reporting import FillBook
from ssp_adapters.serving import Done, Engine, Job

_log: Final = logging.getLogger("curb.runner")
_NS_PER_S: Final = 1_000_000_000
_RETRY_S: Final = 1.0
_WHOLE_NS: Final = 10 * _NS_PER_S
_STATE: Final = REJECTED["state"]
# Starts and completions within this go in one frame: the exchange answers frames, not records.
_COALESCE_S: Final = 0.02


class Source(Protocol):
    """Where an adapter's documents come from."""

    async def read(self) -> tuple[Sample, ...]:
        """Return the documents as they are now; the same object while nothing changed.

        Raises:
            OSError: they cannot be had. The runner tries again.
        """


class Runner:
    """Stream one operator's offers; with an `engine`, serve their fills by simulation too.

    Give it an `OperatorAgent` by `attach` before `run`: each tells the other of what happens.
    """

    def __init__(
        self,
        adapter: Adapter,
        source: Source,
        policy: Policy,
        *,
        engine: Engine | None = None,
        interval_s: float = 0.5,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.book = FillBook()
        self.standing: dict[Key, Standing] = {}
        self.counts: Counter[str] = Counter()
        self.last_fault = ""
        self.offered = asyncio.Event()  # something stood at the exchange at least once
        self._adapter = adapter
        self._source = source
        self._policy = policy
        self._engine = engine
        self._interval_s = interval_s
        self._clock_ns = clock_ns
        self._wall_ns = wall_ns
        self._agent: OperatorAgent | None = None
        self._documents: tuple[Sample, ...] | None = None
        self._fleet: FleetState | None = None
        self._independent = bool(getattr(adapter, "BY_SITE", False))
        self._by_site: dict[str, list[Offer]] = {}
        self._whole_due_ns = 0
        self._fault_stands = False
        self._figures: dict[Key, Offer] = {}
        self._orphans: list[int] = []
        self._look = asyncio.Event()
        self._work = asyncio.Event()

    def attach(self, agent: OperatorAgent) -> None:
        """Take the agent through which this runner speaks."""
        self._agent = agent

    @property
    def agent(self) -> OperatorAgent:
        """The agent given by `attach`."""
        assert self._agent is not None
        return self._agent

    # ------------------------------------------------------------------------- what the agent tells
    def on_opened(self, established: Established, resumed: bool) -> None:
        """Begin again from the exchange's counts; a new session has no offers standing."""
        if not resumed:
            self.standing.clear()
        for site in established.sites:
            told = self.book.establish(site.site, site.offers)
            self._orphans += [fill for fill, known in told if not known]
        self._look.set()
        self._work.set()

    def on_fill(self, event: FillEvent) -> None:
        """Note a fill, and have the simulated engine expect it."""
        if not self.book.fill(event.site, event.offer, event.ordinal, event.fill):
            return
        self.counts["fills"] += 1
        if self._engine is not None:
            self._engine.take(self._job(event), self._clock_ns())
            self._work.set()

    def on_releasing(self, fill: int) -> None:
        """Do not serve what was given back in time."""
        if self._engine is not None:
            self._engine.drop(fill)

    def on_closed(self, fill: int, how: str) -> None:
        """Note the end of a fill at the exchange."""
        self.counts[how] += 1
        self.book.closed(fill)
        if self._engine is not None:
            self._engine.drop(fill)

    def on_offer_expired(self, site: str, offer: int) -> None:
        """Note that an offer is gone; the news may be older than what stands now."""
        self.counts["expired"] += 1

    def on_missed(self) -> None:
        """Ask for the counts anew: what was missed is in them."""
        _log.warning("events were missed; open fills are taken from the next session")
        self.counts["missed"] += 1

    def _job(self, event: FillEvent) -> Job:
        offer = self._figures.get((event.site, event.offer))
        return Job(
            fill=event.fill,
            tokens_in=event.tokens_in,
            tokens_out=event.tokens_out,
            ttft_us=offer.ttft_us if offer else 0,
            prefill_ns_per_token=offer.prefill_ns_per_token if offer else 0,
            tokens_per_second=offer.tokens_per_second if offer else 0,
        )

    # ------------------------------------------------------------------------- running
    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`, then end the session: its offers are cancelled.

        Raises:
            SessionOverError: another process took the session over, or the key was revoked.
        """
        tasks: list[asyncio.Future[None]] = [asyncio.ensure_future(self.report_until(stop))]
        if self._engine is not None:
            tasks.append(asyncio.ensure_future(self._serve_loop(self._engine)))
        tasks.append(asyncio.ensure_future(self._over()))
        tasks.append(asyncio.ensure_future(_until(stop)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.agent.close()

    async def _over(self) -> None:
        raise await self.agent.channel.ended()

    async def report_until(self, stop: asyncio.Event) -> None:
        """Keep the offers standing until `stop`, for an owner that serves the fills itself.

        The session is the owner's to end. Raises SessionOverError when it was taken away.
        """
        while not stop.is_set():
            try:
                await self.agent.open()
                await self._settle_orphans()
                await self.report()
            except SessionOverError:
                raise
            except (ChannelError, LookupError, OSError) as error:
                self._fault(f"{type(error).__name__}: {error}")
            self._look.clear()
            try:
                async with asyncio.timeout(self._interval_s):
                    await self._look.wait()
            except TimeoutError:
                continue

    async def report(self) -> Plan | None:
        """Look once, and say what changed. None when there was nothing fit to be said."""
        documents = await self._source.read()
        wanted = self._offers(documents)
        if wanted is None:
            return None
        plan = make_plan(self.standing, wanted, self._clock_ns())
        self._figures = {(offer.site, offer.offer): offer for offer in wanted}
        if plan.offers:
            await self._note(plan.offers, self.agent.send_offers)
        if plan.refreshes:
            await self._note(plan.refreshes, self.agent.send_refreshes)
        if plan.renewals:
            sent_ns = self._clock_ns()
            await self.agent.send_renewals(plan.renewals)
            for site, ttl_us in plan.renewals:
                for key, known in self.standing.items():
                    if key[0] == site and known.expires_ns > sent_ns:
                        self.standing[key] = known._replace(expires_ns=sent_ns + 1_000 * ttl_us)
        if plan.cancels:
            await self.agent.send_cancels(plan.cancels)
            for key in plan.cancels:
                self.standing.pop(key, None)
        self.counts["offer"] += len(plan.offers)
        self.counts["refresh"] += len(plan.refreshes)
        self.counts["renew"] += len(plan.renewals)
        self.counts["offer_cancel"] += len(plan.cancels)
        if self.standing:
            self.offered.set()
        return plan

    def _offers(self, documents: tuple[Sample, ...]) -> tuple[Offer, ...] | None:
        """Return every offer that should stand; None when the adapter's word cannot be taken."""
        now_ns = self._clock_ns()
        changed = self.book.take_changed()
        try:
            if documents is not self._documents or self._fleet is None or self._fault_stands:
                self._fleet = None
                self._fleet = self._adapter.read(
                    Samples(documents=documents, fills=self.book.samples())
                )
                self._documents = documents
                self._by_site.clear()
            # `read` is pure and passes the fills through, so what it made of the same documents
            # stands. Where one site says nothing of another, only those are asked for where something
            # happened; all of them now and then, for asks follow the hour too.
            whole = not self._independent or not self._by_site or now_ns >= self._whole_due_ns
            if whole:
                fills = self.book.samples()
                fleet = msgspec.structs.replace(self._fleet, fills=fills)
                self._whole_due_ns = now_ns + _WHOLE_NS
            else:
                engines = tuple(e for e in self._fleet.engines if e.site in changed)
                fleet = FleetState(engines=engines, fills=self.book.samples(changed))
            wanted = self._adapter.offers(fleet, self._policy, self._wall_ns())
        except AdapterError as error:
            self._refuse(str(error))
            return None
        faults = overcommitted(fleet, wanted)
        if faults:
            self._refuse("; ".join(fault.explain() for fault in faults))
            return None
        self._fault_stands = False
        self.last_fault = ""
        if whole:
            self._by_site.clear()
        for site in changed & self._by_site.keys():
            self._by_site[site] = []
        for offer in wanted:
            self._by_site.setdefault(offer.site, []).append(offer)
        return tuple(offer for site in sorted(self._by_site) for offer in self._by_site[site])

    def _refuse(self, why: str) -> None:
        self._fault_stands = True
        self._fault(why)

    async def _note(
        self,
        offers: Sequence[Offer],
        send: Callable[[Sequence[Offer]], Awaitable[np.ndarray]],
    ) -> None:
        sent_ns = self._clock_ns()
        keys = [(offer.site, offer.offer) for offer in offers]
        try:
            statuses = await send(offers)
        except ChannelError:
            for key in keys:  # whether it stands is not known: it is offered again
                self.standing.pop(key, None)
            raise
        for key, offer, code in zip(keys, offers, statuses["code"].tolist(), strict=True):
            if code == 0:
                self.standing[key] = Standing(offer, sent_ns + 1_000 * offer.ttl_us)
                continue
            self.standing.pop(key, None)
            if code != _STATE:  # `state`: it expired meanwhile, and is offered again
                self._fault(f"{key[0]}#{key[1]}: {_name(code)}")

    async def _settle_orphans(self) -> None:
        """Find out what the fills are that were open before this process knew of them.

        One that started is not on any engine of ours any more: it is declined, which returns the
        buyer's money, unless it was completed before. One that is leased may still be asked for.
        """
        while self._orphans:
            fill = self._orphans[-1]
            outcome = await self.agent.outcome(fill)
            if outcome.state not in {"", "leased"}:
                batch = np.zeros(1, records.DECLINE_RECORD)
                batch["fill"] = fill
                batch["reason"] = DECLINE_REASONS.index("failed")
                await self.agent.insist(records.DECLINE, batch)
                self.book.ended(fill)
            self._orphans.pop()

    # ------------------------------------------------------------------------- simulated serving
    async def _serve_loop(self, engine: Engine) -> None:
        while True:
            next_ns = engine.next_ns
            if next_ns is None:
                self._work.clear()
                await self._work.wait()
                continue
            wait_s = max(_COALESCE_S, (next_ns - self._clock_ns()) / _NS_PER_S)
            self._work.clear()
            try:
                async with asyncio.timeout(min(wait_s, _RETRY_S)):
                    await self._work.wait()
                await asyncio.sleep(_COALESCE_S)
            except TimeoutError:
                pass
            started, done = engine.due(self._clock_ns())
            if started:
                await self._start(engine, started)
            if done:
                await self._complete(done)

    async def _start(self, engine: Engine, fills: list[int]) -> None:
        batch = np.zeros(len(fills), records.START_RECORD)
        batch["fill"] = fills
        statuses = await self.agent.insist(records.START, batch)
        for fill, code in zip(fills, statuses["code"].tolist(), strict=True):
            if code:  # released meanwhile
                engine.abort(fill)
                self.counts["start_rejected"] += 1
            else:
                self.book.started(fill)
                self.counts["started"] += 1

    async def _complete(self, done: list[Done]) -> None:
        rows = [
            (row.fill, row.tokens_in, row.tokens_out, min(row.ttft_us, limits.LATENCY_US_MAX), 0)
            for row in done
        ]
        statuses = await self.agent.insist(
            records.COMPLETE, np.array(rows, records.COMPLETE_RECORD)
        )
        for row, code in zip(done, statuses["code"].tolist(), strict=True):
            self.book.ended(row.fill)
            self.counts["complete_rejected" if code else "completed"] += 1

    def _fault(self, why: str) -> None:
        self.counts["faults"] += 1
        if why != self.last_fault:
            _log.warning("%s", why)
        self.last_fault = why


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()


def _name(code: int) -> str:
    return NAME_OF_REFUSED.get(code) or NAME_OF_REJECTED.get(code, str(code))
