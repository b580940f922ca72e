"""A site as one process: the door, the engine behind it, and the adapter that offers it.

folder/bundle.json tls.key tls.crt    from enrolment
folder/engine.json                    what the operator says of the engine (llama_server.Engine)
folder/policy.json                    how it asks (optional)
folder/site.journal feed.json         this process's own
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from schemas import limits
from schemas.bundle import load_bundle
from schemas.channel import ChannelError
from schemas.commands import AnyCommand, Site
from schemas.session.messages import Established
from schemas.token import TokenChecker
from ssp_adapters import llama_server
from ssp_adapters.agent import FillEvent, OperatorAgent
from ssp_adapters.contract import Policy
from ssp_adapters.process import FeedPosition
from ssp_adapters.runner import Runner
from ssp_adapters.site_proxy.engine import Engine, EngineSource
from ssp_adapters.site_proxy.journal import SiteJournal
from ssp_adapters.site_proxy.server import Door
from ssp_adapters.site_proxy.settle import Settlements

_log: Final = logging.getLogger("curb.site")
JOURNAL: Final = "site.journal"
# A token lives no longer than its lease; a fill that was given back is void until then at most.
_VOID_NS: Final = limits.TTL_US_MAX * limits.NS_PER_US
DRAIN_S: Final = 30.0
_SAVE_S: Final = 1.0


class SiteError(Exception):
    """Say what of the site's folder or settings cannot be used."""


class SiteProcess:
    """One site, served: `start`, then `run` until stopped. A Listener of its agent."""

    def __init__(
        self,
        folder: Path,
        engine_url: str,
        *,
        engine_model: str = "",
        interval_s: float = 0.5,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._folder = folder
        self._wall_ns = wall_ns
        self.bundle = load_bundle(folder / "bundle.json")
        if not self.bundle.site or not self.bundle.token_keys:
            raise SiteError(f"{folder / 'bundle.json'}: is no site's bundle (no token key)")
        facts = _decode(folder / "engine.json", llama_server.Engine)
        if facts.site != self.bundle.site:
            raise SiteError(f"{folder / 'engine.json'}: site: {facts.site} is not this bundle's")
        policy_path = folder / "policy.json"
        policy = _decode(policy_path, Policy) if policy_path.exists() else Policy()
        self._facts = facts
        self.engine = Engine(engine_url, engine_model)
        self.runner = Runner(
            llama_server, EngineSource(self.engine, facts), policy, interval_s=interval_s
        )
        self._position = FeedPosition(folder)
        self.journal = SiteJournal(folder / JOURNAL, wall_ns())
        self.agent = OperatorAgent(
            self.bundle, self, sites=(self.bundle.site,), events_after=self._position.after
        )
        self.runner.attach(self.agent)
        self.settlements = Settlements(self.agent, self.journal, self._ended, wall_ns)
        self.door: Door | None = None
        self.port = 0

    # ------------------------------------------------------------------------- what the agent tells
    def on_opened(self, established: Established, resumed: bool) -> None:
        """Pass on to the runner."""
        self.runner.on_opened(established, resumed)

    def on_fill(self, event: FillEvent) -> None:
        """Pass on to the runner."""
        self.runner.on_fill(event)

    def on_releasing(self, fill: int) -> None:
        """Void the fill's token."""
        self.journal.void(fill, self._wall_ns() + _VOID_NS)
        self.runner.on_releasing(fill)

    def on_closed(self, fill: int, how: str) -> None:
        """Pass on to the runner."""
        self.runner.on_closed(fill, how)

    def on_offer_expired(self, site: str, offer: int) -> None:
        """Pass on to the runner."""
        self.runner.on_offer_expired(site, offer)

    def on_missed(self) -> None:
        """Pass on to the runner."""
        self.runner.on_missed()

    def _ended(self, fill: int) -> None:
        self.runner.book.ended(fill)

    # ------------------------------------------------------------------------- life
    async def start(self, listen: str = "") -> str:
        """Open the session, find the engine, listen; returns the address it listens on.

        `listen` is HOST:PORT; without it, port and host of the site's endpoint in the directory.

        Raises:
            SiteError, SessionOverError, EngineError, OSError: it cannot serve.
        """
        for fill in self.settlements.resume():
            _log.info("fill %s is still owed to the exchange", fill)
        established = await self.agent.open()
        known = await self._known_site()
        model = await self.engine.find_model()
        handle = await self.agent.handle("model", self._facts.model)
        checker = TokenChecker(
            self.bundle.token_key_bytes,
            established.market,
            await self.agent.handle("site", self.bundle.site),
        )
        self.door = Door(
            checker,
            self.journal,
            self.settlements,
            self.engine,
            {handle: model},
            self.runner.book.started,
            wall_ns=self._wall_ns,
        )
        host, port = _address(listen or urlsplit(known.endpoint).netloc)
        self.port = await self.door.listen(
            host, port, self._folder / "tls.crt", self._folder / "tls.key"
        )
        return f"https://{host}:{self.port}"

    async def _known_site(self) -> Site:
        entries = await self.agent.channel.lookup("site", (self.bundle.site,))
        if not entries:
            raise SiteError(f"the exchange knows no site {self.bundle.site}")
        known = msgspec.msgpack.decode(entries[0].detail, type=AnyCommand)
        assert isinstance(known, Site)
        return known

    async def run(self, stop: asyncio.Event, drain_s: float = DRAIN_S) -> None:
        """Serve until `stop`; then admit nothing more, cancel the offers, let what runs end, and
        tell the exchange of it. Raises SessionOverError when the session was taken away.
        """
        assert self.door is not None
        saving = asyncio.ensure_future(self._save_position())
        stop_runner = asyncio.Event()
        running = asyncio.ensure_future(self.runner.report_until(stop_runner))
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            self.engine.draining = True
            self.door.draining = True
            await self._withdraw()
            await self.door.drain(drain_s)
            owed = await self.settlements.drain(drain_s)
            if owed:
                _log.warning("%s fills are still owed to the exchange; they are on disk", owed)
        finally:
            stop_runner.set()
            for task in (saving, stopping, running):
                task.cancel()
            await asyncio.gather(saving, stopping, running, return_exceptions=True)
            await self.close()

    async def _withdraw(self) -> None:
        """Take the offers away; a report with `draining` says so."""
        try:
            async with asyncio.timeout(_SAVE_S):
                await self.runner.report()
        except (TimeoutError, OSError, ChannelError, LookupError) as error:
            _log.warning("the offers could not be withdrawn: %s", error)

    async def close(self) -> None:
        """Close everything; the session ends with its offers."""
        if self.door is not None:
            await self.door.close()
        self._save()
        await self.agent.close()
        await self.engine.close()
        self.journal.close()

    async def _save_position(self) -> None:
        while True:
            await asyncio.sleep(_SAVE_S)
            self._save()

    def _save(self) -> None:
        established = self.agent.channel.established
        if established is not None:
            self._position.save(established.market, self.agent.events_last)


async def serve(
    folder: Path,
    engine_url: str,
    listen: str,
    engine_model: str,
    tell: Callable[[dict[str, Any]], None],
) -> None:
    """Serve a site until SIGTERM or SIGINT. `tell` gets what is worth telling, as plain values.

    Raises:
        SiteError, BundleError, EngineError, SessionOverError, OSError: it cannot serve.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    site = SiteProcess(folder, engine_url, engine_model=engine_model)
    starting = asyncio.ensure_future(site.start(listen))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await site.close()
        return
    try:
        address = starting.result()
    except BaseException:
        await site.close()
        raise
    tell({"listening": address, "site": site.bundle.site, "engine": site.engine.model})
    offering = asyncio.ensure_future(site.runner.offered.wait())
    offering.add_done_callback(
        lambda done: (
            None if done.cancelled() else tell({"ready": True, "offers": len(site.runner.standing)})
        )
    )
    try:
        await site.run(stop)
    finally:
        offering.cancel()
    assert site.door is not None
    tell({"stopped": True, **site.door.counts})


def _address(netloc: str) -> tuple[str, int]:
    parts = urlsplit(f"//{netloc}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise SiteError(f"{netloc!r} is no HOST:PORT to listen on")
    return host, 443 if port is None else port


def _decode(path: Path, kind: Any) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise SiteError(f"{path}: {error.strerror}") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise SiteError(f"{path}: {error}") from None
