"""The demo's plot: a data folder, a world, operators, buyers, one real site, thirty seconds, the books.

world files ─► serve ─► apply ─► enrol ─► operators stream ─► real site opens ─► buyers bid
                                                                                    │
summary ◄─ verify ◄─ replay = live ◄─ everything caught up ◄─ drained (8 s) ◄───────┘
"""

import contextlib
import fcntl
import http.client
import os
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from exchange import config as configuration
from exchange.commands.verify import Report
from exchange.commands.verify import run as verify
from exchange.config import Config
from exchange.demo.floor import sync_floor_us
from exchange.demo.stage import Actor, ActorFailed, Stage
from exchange.enrolment import add_member, describe, enrol_site, host
from exchange.host_client import HostClient
from exchange.ports import free_port
from exchange.supervisor.postgres import PostgresServer
from exchange.supervisor.service import Service
from matching_core.market_file import parse_command
from schemas.bundle import save_bundle
from schemas.commands import Deposit

DRAIN_S: Final = 8.0  # bids stop so long before the end
OFFERS_MIN: Final = 2_000
OFFERS_S_MAX: Final = 60.0
CAUGHT_UP_S_MAX: Final = 60.0
VERIFY_WAIT_S: Final = 10.0
SIMULATED_SPEED: Final = 8  # of answers: the trace's hour passes in a minute
MARKER: Final = ".curb-demo"
VISITOR: Final = "visitor"  # the buyer whose bundle a second terminal may use
VISITOR_DEPOSIT_NUSD: Final = 10**13  # ten thousand dollars
REAL_AGENT: Final = 1
SITE_ENGINE_THREADS: Final = 1


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for."""

    data: Path
    seconds: float
    forever: bool
    trace: Path | None
    seed: int
    sites: int
    speed: float


class Screen(Protocol):
    """Where the demo is watched."""

    def step(self, text: str) -> None:
        """Say what is being done."""

    def progress(self, fields: dict[str, Any]) -> None:
        """Take a progress line of a process."""

    def announce(self, fields: dict[str, str]) -> None:
        """Say how to take part from a second terminal."""

    def show(self, summary: dict[str, Any], buyers: dict[str, Any], left_s: float | None) -> None:
        """Show how the market stands."""


@dataclass(slots=True)
class Outcome:
    """What the demo ends with; `plain` is the JSON line."""

    seconds: float
    offers_live: int
    operators: int
    sites: int
    summary: dict[str, Any]
    buyers: dict[str, Any]
    ledger_ok: bool
    journal_ok: bool
    sync_floor_us: int
    problems: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """Return the last line of `--json`."""
        summary, buyers = self.summary, self.buyers
        return {
            "seconds": round(self.seconds, 1),
            "offers_live": self.offers_live,
            "operators": self.operators,
            "sites": self.sites,
            "auctions": summary["auctions"],
            "fills": summary["fills"],
            "contested": summary["contested"],
            "unfilled_by_reason": summary["unfilled_by_reason"],
            "settled": summary["settled"],
            "ledger_ok": self.ledger_ok,
            "journal_ok": self.journal_ok,
            "real_completions": buyers.get("real_completions", 0),
            "real_tokens": buyers.get("real_tokens", 0),
            "bid_to_fill_us": buyers.get("bid_to_fill_us", {"p50": 0, "p99": 0, "max": 0}),
            "sync_floor_us": self.sync_floor_us,
            "problems": self.problems,
        }


class Play:
    """One run of the demo."""

    def __init__(self, settings: Settings, screen: Screen, stop: Callable[[], bool]) -> None:
        self._settings = settings
        self._screen = screen
        self._stop = stop
        self._folder = settings.data / "demo"
        self._bundles = self._folder / "bundles"
        self._world_folder = self._folder / "world"
        self._config: Config = configuration.load(None, {}, settings.data)
        self._world: dict[str, Any] = {}

    def run(self) -> Outcome:
        """Play it; raises ActorFailed, ProcessFailed, PostgresFailed, HostError, EnrolmentError."""
        with only_one(self._settings.data):
            return self._run()

    def _run(self) -> Outcome:
        clear(self._settings.data)
        for folder in (self._bundles, self._world_folder, self._config.logs_folder):
            folder.mkdir(parents=True, exist_ok=True)
        (self._settings.data / MARKER).touch()
        with Stage(self._config.logs_folder) as stage:
            world = self._make_world(stage)
            # More slots than the demo's own buyer ever fills: a visitor finds one free.
            engine = stage.start(
                "llama", "-m", "ssp_adapters.demo.llama", "--threads", "1", "--parallel", "4",
            )  # fmt: skip
            self._screen.step("starting the exchange")
            with Service(self._config, heard=self._screen.progress) as service:
                floor = sync_floor_us(self._config.journal_folder)
                for actor in world:
                    actor.wait(60)
                self._world = msgspec.json.decode((self._world_folder / "world.json").read_bytes())
                site_folder = self._open_market()
                return self._market(stage, service, engine, site_folder, floor)

    # ------------------------------------------------------------------------- the set
    def _make_world(self, stage: Stage) -> list[Actor]:
        self._screen.step("making the world: sites, prices, round trips")
        given = self._settings
        return [
            stage.start(
                "world", "-m", "ssp_adapters.demo.prepare", self._world_folder,
                "--seed", str(given.seed), "--sites", str(given.sites),
            ),
            stage.start("crowd", "-m", "dsp_sdk.demo.prepare", self._world_folder),
        ]  # fmt: skip

    def _open_market(self) -> Path:
        """Apply the world and enrol everybody; return the real site's folder.

        One session after the other: one that waits while another works would fall silent.
        """
        with host(self._config) as admin:
            self._apply(admin, "admin.jsonl", "buyers.jsonl")
        with host(self._config, "verifier") as verifier:
            self._apply(verifier, "verifier.jsonl")
        with host(self._config) as admin:
            return self._enrol(admin)

    def _apply(self, client: HostClient, *names: str) -> None:
        for name in names:
            self._go_on()
            lines = (self._world_folder / name).read_bytes().splitlines()
            self._screen.step(f"applying {len(lines)} commands of {name}")
            for number, answer in enumerate(client.orders(map(parse_command, lines)), start=1):
                if answer.code:
                    raise ActorFailed(f"{name}:{number}: {describe(answer)}")

    def _go_on(self) -> None:
        """Raise ActorFailed when somebody stopped the demo before there was anything to show."""
        if self._stop():
            raise ActorFailed("stopped before the market opened")

    def _enrol(self, admin: HostClient) -> Path:
        """Enrol every agent; return the real site's folder."""
        self._screen.step("enrolling operators, buyers and the real site")
        for operator in self._world["operators"]:
            sites = tuple((self._fleet(operator) / "sites.txt").read_text("utf-8").split())
            bundle = add_member(admin, operator, "operator", sites=sites)
            save_bundle(bundle, self._bundles / f"{operator}.bundle.json")
        home = self._world["real"]["metro"]
        crowd = msgspec.json.decode((self._world_folder / "buyers.json").read_bytes())
        for buyer in crowd["buyers"]:
            bundle = add_member(admin, buyer, "buyer", origin=home)
            save_bundle(bundle, self._bundles / f"{buyer}.bundle.json")
        self._enrol_visitor(admin, home)
        endpoint = f"https://127.0.0.1:{free_port()}"
        folder = self._folder / "real-site"
        enrol_site(admin, self._world["real"]["site"], endpoint, folder, agent=REAL_AGENT)
        return folder

    def _enrol_visitor(self, admin: HostClient, home: str) -> None:
        bundle = add_member(admin, VISITOR, "buyer", origin=home)
        deposit = Deposit(
            at=0, role="buyer", member=VISITOR, transfer=1, amount=VISITOR_DEPOSIT_NUSD
        )
        answer = admin.order(deposit)
        if answer.code:
            raise ActorFailed(f"{VISITOR}: {describe(answer)}")
        save_bundle(bundle, self.visitor_bundle)

    @property
    def visitor_bundle(self) -> Path:
        """The bundle that a person at a second terminal may use."""
        return self._folder / "buyer.bundle.json"

    def _fleet(self, operator: str) -> Path:
        return self._world_folder / "fleets" / operator

    # ------------------------------------------------------------------------- the market
    def _market(
        self,
        stage: Stage,
        service: Service,
        engine: Actor,
        site_folder: Path,
        floor: int,
    ) -> Outcome:
        given = self._settings
        operators = stage.start(
            "operators", "-m", "ssp_adapters.demo.operators", "--world", self._world_folder,
            "--bundles", self._bundles, "--speed", str(SIMULATED_SPEED),
        )  # fmt: skip
        engine_url = engine.hear("url", 60)["url"]
        real = self._world["real"]
        self._write_engine_facts(site_folder)
        site = stage.start(
            "site", "-m", "schemas.command", "site", "serve", site_folder, "--engine", engine_url,
            "--json",
        )  # fmt: skip
        self._screen.step("operators connect and stream their offers")
        self._await_offers(service, stage)
        site.hear("ready", 60)
        offers = self._await_offers(service, stage)  # asked again: the real site's are among them
        arguments: list[str | Path] = [
            "-m", "dsp_sdk.demo.buyers", "--world", self._world_folder / "world.json",
            "--bundles", self._bundles, "--speed", str(given.speed), "--seed", str(given.seed),
        ]  # fmt: skip
        if given.trace is not None:
            arguments += ["--trace", given.trace]
        if not given.forever:
            bid_s = max(1.0, given.seconds - DRAIN_S)
            arguments += ["--bid-seconds", str(bid_s), "--seconds", str(given.seconds)]
        buyers = stage.start("buyers", *arguments)
        if given.forever:
            self._screen.announce(
                {
                    "address": service.addresses.commands,
                    "bundle": str(self.visitor_bundle),
                    "model": str(real["model"]),
                }
            )
        started = time.monotonic()
        self._watch(service, stage, buyers, started)
        seconds = time.monotonic() - started
        self._screen.step("waiting until follower and ledger have everything")
        operators.stop()
        site.stop()
        summary = self._caught_up(service)
        # Stopped before the books are checked: its last digest is what the replay is held against.
        service.stop_processes()
        self._screen.step("verifying journal, replay and ledger")
        report = Report()
        verify(self._config, report, dsn=service.postgres.dsn, wait_s=VERIFY_WAIT_S)
        return Outcome(
            seconds=seconds,
            offers_live=offers,
            operators=len(self._world["operators"]) + 1,
            sites=self._world["sites"],
            summary=summary,
            buyers=buyers.last,
            ledger_ok=bool(report.ledger_ok),
            journal_ok=report.journal_ok,
            sync_floor_us=floor,
            problems=[*report.differences, *self._missing(report, summary, buyers.last)],
        )

    def _missing(
        self, report: Report, summary: dict[str, Any], buyers: dict[str, Any]
    ) -> list[str]:
        """Say which promises of the demo did not hold, beside what verify found."""
        problems = []
        if not buyers.get("real_completions"):
            failures = buyers.get("real_failures") or summary["unfilled_by_reason"]
            problems.append(f"the real site answered no request: {failures}")
        if not buyers.get("final"):
            problems.append("the buyers did not end in order")
        if not summary["settled"]:
            problems.append("no fill was settled")
        return problems

    def _write_engine_facts(self, folder: Path) -> None:
        """Say what the operator of the real site says of its engine (ssp_adapters.llama_server)."""
        real = self._world["real"]
        facts = {
            "site": real["site"],
            "model": real["model"],
            "hardware": "cpu",
            "precision": "int4",
            "cost_in": real["cost_in_pusd"],
            "cost_out": real["cost_out_pusd"],
        }
        (folder / "engine.json").write_bytes(msgspec.json.encode(facts))

    def _await_offers(self, service: Service, stage: Stage) -> int:
        """Wait until there is a market to speak of; return how many offers stand."""
        deadline = time.monotonic() + OFFERS_S_MAX
        while (offers := int(self._summary(service).get("offers_live", 0))) < OFFERS_MIN:
            self._go_on()
            stage.check()
            service.tend()
            if time.monotonic() > deadline:
                raise ActorFailed(f"fewer than {OFFERS_MIN} offers after {OFFERS_S_MAX:.0f} s")
            time.sleep(0.1)
        return offers

    def _watch(self, service: Service, stage: Stage, buyers: Actor, started: float) -> None:
        """Show the market each second until the buyers have ended, or somebody stops it."""
        given = self._settings
        while buyers.code is None:
            if self._stop():
                buyers.stop()
                return
            service.tend()
            stage.check()
            gone = time.monotonic() - started
            left = None if given.forever else max(0.0, given.seconds - gone)
            self._screen.show(self._summary(service), buyers.last, left)
            next_second = 1.0 - (time.monotonic() - started) % 1.0
            time.sleep(next_second)
        buyers.wait(1)

    def _summary(self, service: Service) -> dict[str, Any]:
        """Return what the follower says of the market; empty while it is being started again."""
        try:
            return read_json(f"http://{service.addresses.http}/summary.json")
        except OSError:
            return {}

    def _caught_up(self, service: Service) -> dict[str, Any]:
        """Wait until nothing is left to be written into the ledger; return the last summary."""
        deadline = time.monotonic() + CAUGHT_UP_S_MAX
        settled = -1
        while time.monotonic() < deadline:
            service.tend()
            summary = self._summary(service)
            idle = summary and not summary["lag_bytes"] and not summary["ledger_lag_commands"]
            if idle and summary["settled"] == settled:
                return summary
            settled = summary.get("settled", -1)
            time.sleep(0.5)
        raise ActorFailed("follower or ledger writer did not catch up: see their logs")


def read_json(url: str) -> dict[str, Any]:
    """Fetch a small JSON page of our own follower; raises OSError, whatever became of the answer.

    Killed between the head of its answer and the body, it leaves an http.client.IncompleteRead; and
    while it is down anybody may hold its port.
    """
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 -- our own loopback address
            return msgspec.json.decode(answer.read(), type=dict[str, Any])
    except (http.client.HTTPException, msgspec.MsgspecError, ValueError) as error:
        raise OSError(f"{url}: {error!r}") from None


@contextlib.contextmanager
def only_one(data: Path) -> Iterator[None]:
    """Hold the lock beside a data folder: a second demo there would delete the first one's data."""
    lock = data.with_name(f"{data.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ActorFailed(f"{lock}: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ActorFailed(f"{data}: a demo is running here: choose another --data") from None
    try:
        yield
    finally:
        os.close(handle)


def clear(data: Path) -> None:
    """Empty the folder of an earlier demo; raises ActorFailed for one that is no demo's."""
    if data.exists() and not data.is_dir():
        raise ActorFailed(f"{data}: is no folder")
    if not data.exists() or not any(data.iterdir()):
        return
    if not (data / MARKER).exists():
        raise ActorFailed(f"{data}: not empty, and not an earlier demo's: choose another --data")
    PostgresServer(data).remove()
    shutil.rmtree(data)
