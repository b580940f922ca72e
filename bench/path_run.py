"""The phases of the whole path and what is checked of them; `bench.path` says what it is about."""

import contextlib
import json
import os
import platform
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import numpy as np

from bench import path_floors as floors
from bench import workload
from bench.path_drive import Buyers, Phase
from bench.path_ground import Ground, bids_of, environment, offers_of, prepare, settings
from bench.path_sites import GROUND_NAME, OFFERS_NAME
from bench.path_wire import own_process
from exchange import counters
from exchange.journal.page import PAGE_NAME, DurablePage
from exchange.supervisor.processes import Watched, exchange_command

START_S: Final = 150.0  # a cold compile of all kernels on a busy machine
CATCH_UP_S: Final = 120.0
FRAMES: Final = (1, 16, 256)
WINDOW: Final = {1: 128, 16: 32, 256: 8}  # frames under way per session: some 15,000 bids together
LOAD: Final = 0.6
STEADY_PER_S: Final = 90_000.0  # beside it the same load in every run, whatever its most was
IDLE_PER_S: Final = 1 / floors.EVERY_S


def measure(folder: Path, offers: int, sites: int, seconds: float) -> dict[str, Any]:
    """Return all figures of one run on a new data folder."""
    world = workload.make(offers, 32 * workload.BUYERS, sites=sites)
    ground = prepare(folder / "data", world)
    data = Path(ground.folder)
    (data / GROUND_NAME).write_bytes(msgspec.json.encode(ground))
    np.save(data / OFFERS_NAME, offers_of(world))
    tries = max(100, int(250 * seconds))
    sync = floors.sync_us(settings(data).journal_folder, tries)
    bare = floors.round_trip_us(tries)
    with Served(data) as served:
        buyers = Buyers(ground, bids_of(world))
        phases = _phases(buyers, served, seconds)
        told = served.settled(sum(phase.tally["fills"] for phase in phases.values()))
        buyers.close()
    figures = _figures(phases)
    return {
        **figures,
        "sync_floor_us": _at(sync, 50),
        "sync_floor_p99_us": _at(sync, 99),
        "round_trip_floor_us": _at(bare, 50),
        "round_trip_floor_p99_us": _at(bare, 99),
        "offers": offers,
        "bids": sum(phase.tally["bids_answered"] for phase in phases.values()),
        "fills_answered": sum(phase.tally["fills"] for phase in phases.values()),
        **told,
        "driver": "compiled by Numba around libzmq",
        "machine": f"{os.cpu_count()} cores, {_processor()}",
        "python": platform.python_version(),
        "day": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _phases(buyers: Buyers, served: "Served", seconds: float) -> dict[str, Phase]:
    """Run the phases; between them the follower comes up to date, so that each begins alike."""
    phases: dict[str, Phase] = {}

    def run(name: str, frame: int, **how: Any) -> Phase:
        phase = phases[name] = buyers.run(frame, **{"seconds": seconds, **how})
        served.follower_lag[name] = served.lag_commands()
        served.await_follower(buyers.beat)
        return phase

    run("warm", 256, window=4, per_second=20_000, seconds=max(0.5, seconds / 4))
    run("idle", 1, window=512, per_second=IDLE_PER_S, sessions=1)
    most = {}
    for frame in FRAMES:
        most[frame] = run(f"closed_{frame}", frame, window=WINDOW[frame]).per_second()
    run("load", 256, window=512, per_second=LOAD * most[256])
    run("steady", 256, window=512, per_second=min(STEADY_PER_S, LOAD * most[256]))
    run("over", 1, window=WINDOW[1], per_second=1.5 * most[1])
    return phases


def _figures(phases: dict[str, Phase]) -> dict[str, Any]:
    result: dict[str, Any] = {
        f"bids_per_s_frames_{frame}": round(phases[f"closed_{frame}"].per_second())
        for frame in FRAMES
    }
    idle, load = phases["idle"], phases["load"]
    filled = idle.latency_ns[idle.fills > 0] / 1000
    result["idle_p50_us"] = _at(filled, 50)
    result["idle_p99_us"] = _at(filled, 99)
    result["at_60_percent_per_s"] = round(load.per_second())
    for name, place in (("p50", 50), ("p99", 99), ("worst", 100)):
        result[f"{name}_at_60_percent_us"] = _at(load.latency_ns / 1000, place)
    steady = phases["steady"]
    result["steady_per_s"] = round(steady.per_second())
    for name, place in (("p50", 50), ("p99", 99), ("worst", 100)):
        result[f"steady_{name}_us"] = _at(steady.latency_ns / 1000, place)
    result["driver_late_p99_at_60_percent_us"] = _at(load.late_ns / 1000, 99)
    result["singles_at_150_percent_per_s"] = round(phases["over"].per_second())
    return result


class Served:
    """The exchange, the follower and the operators: three processes; a context manager."""

    def __init__(self, data: Path) -> None:
        self.follower_lag: dict[str, int] = {}
        self._data = data
        self._config = settings(data)
        self._ground = msgspec.json.decode((data / GROUND_NAME).read_bytes(), type=Ground)
        self._stack = contextlib.ExitStack()
        self._sites: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        try:
            for name in ("exchange", "follower"):
                self._start(name)
            self._start_sites()
        except BaseException:
            self._stack.close()
            raise
        self._page = DurablePage(self._config.journal_folder / PAGE_NAME)
        self._stack.callback(self._page.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, name: str) -> None:
        process = Watched(
            name, exchange_command(name, self._data, None), self._config.logs_folder / f"{name}.log",
            {**os.environ, **environment()}, lambda _: None,
        )  # fmt: skip
        self._stack.callback(process.stop)
        process.start()
        until = time.monotonic() + START_S
        while not process.ready.wait(0.1):
            if process.pid is None or time.monotonic() > until:
                raise RuntimeError(f"{name} is not ready:\n{process.log.read_text()[-2000:]}")

    def _start_sites(self) -> None:
        self._sites = self._stack.enter_context(_sites(self._data))
        assert self._sites.stdout is not None
        first = self._sites.stdout.readline()
        if not first:
            raise RuntimeError("the operators' process ended")
        assert json.loads(first)["ready"]

    def lag_commands(self) -> int:
        """Return how many commands the follower has yet to apply, as it said last."""
        _, next_seq = self._page.read()
        return max(0, next_seq - int(self._summary().get("next_seq", 0)))

    def await_follower(self, meanwhile: Any) -> None:
        """Wait until the follower has applied all that is durable."""
        until = time.monotonic() + CATCH_UP_S
        while self.lag_commands():
            if time.monotonic() > until:
                raise RuntimeError("the follower does not catch up")
            meanwhile()
            time.sleep(0.2)  # asking costs the follower time that it needs to catch up

    def settled(self, fills: int) -> dict[str, Any]:
        """Wait until every fill reached its operator; raises when one does not."""
        until = time.monotonic() + CATCH_UP_S
        while True:
            told, summary = self._ask_sites(), self._summary()
            if told["fills"] == summary["fills"] >= fills and told["gaps"] == 0:
                break
            if time.monotonic() > until:
                raise RuntimeError(f"fills: answered {fills}, follower {summary}, sites {told}")
            time.sleep(0.1)  # the same: hundreds of readers share the two cores
        return {
            "fills": summary["fills"],
            "operators_copies": told["fills"],
            "operators_frames": told["frames"],
            "follower_lag": self.follower_lag,
            "rounds": int(self._page.counters[counters.ROUNDS]),
        }

    def _ask_sites(self) -> dict[str, int]:
        sites = self._sites
        assert sites is not None
        assert sites.stdin is not None
        assert sites.stdout is not None
        sites.stdin.write("counts\n")
        sites.stdin.flush()
        counted: dict[str, int] = json.loads(sites.stdout.readline())
        return counted

    def _summary(self) -> dict[str, Any]:
        address = f"http://{self._ground.addresses.http}/summary.json"
        with urllib.request.urlopen(address, timeout=10) as answer:
            summary: dict[str, Any] = json.load(answer)
        return summary


@contextlib.contextmanager
def _sites(data: Path) -> Iterator["subprocess.Popen[str]"]:
    command = own_process("bench.path_sites", "main", str(data))
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            assert child.stdin is not None
            child.stdin.close()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()


def _at(values: np.ndarray, percent: float) -> float:
    return round(float(np.percentile(values, percent)), 1)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.machine()
