"""The process around a runner: arguments, files, signals, and what it says on standard output.

    python -m ssp_adapters --bundle BUNDLE --adapter price_list --document prices.csv
        [--policy policy.json] [--simulate] [--speed 1] [--state FOLDER] [--interval 0.5] [--stats 1]

Standard output has JSON lines: `{"ready": …}` once offers stand, then counts every `--stats` seconds.
Exit codes: 0 stopped by SIGTERM or SIGINT, 1 the session was refused or taken over, 2 wrong arguments.
"""

import argparse
import asyncio
import json
import logging
import signal
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.bundle import Bundle, BundleError, load_bundle
from schemas.channel import SessionOverError
from schemas.link import LinkError
from schemas.startup import refuse_optimised
from ssp_adapters import llama_server, price_list
from ssp_adapters.agent import OperatorAgent
from ssp_adapters.contract import Policy, Sample
from ssp_adapters.runner import Runner

EXIT_SESSION: Final = 1
EXIT_USAGE: Final = 2
GROUP: Final = "curb.adapters"
ADAPTERS: Final = {"llama_server": llama_server, "price_list": price_list}
_FEED_FILE: Final = "feed.json"


class FileSource:
    """Documents from files; read again when one of them changed."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self._paths = paths
        self._stamps: tuple[tuple[int, int], ...] | None = None
        self._documents: tuple[Sample, ...] = ()

    async def read(self) -> tuple[Sample, ...]:
        """Return the documents. Raises OSError."""
        stamps = tuple((stat.st_mtime_ns, stat.st_size) for stat in map(Path.stat, self._paths))
        if stamps != self._stamps:
            self._documents = tuple(
                Sample(source=str(path), text=path.read_text("utf-8")) for path in self._paths
            )
            self._stamps = stamps
        return self._documents


class FeedPosition:
    """The number of the last event taken, in a file, so that a restart goes on from there."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / _FEED_FILE
        self._market = 0
        self._after = 0
        if self._path is not None and self._path.exists():
            try:
                known = json.loads(self._path.read_text("utf-8"))
                self._market, self._after = int(known["market"]), int(known["after"])
            except (ValueError, KeyError, TypeError, OSError):
                pass  # from the first that is kept, then: what is old news is passed over

    def after(self, market: int) -> int:
        """Return the number to go on from in this market."""
        return self._after if market == self._market else 0

    def save(self, market: int, after: int) -> None:
        """Keep a position. It need not be synced: an older one costs only repetition."""
        if self._path is None or (market, after) == (self._market, self._after):
            return
        self._market, self._after = market, after
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps({"market": market, "after": after}), "utf-8")
        part.replace(self._path)


def main(arguments: list[str] | None = None) -> int:
    """Run a runner until it is stopped; returns the exit code."""
    refuse_optimised()
    parser = argparse.ArgumentParser(prog="python -m ssp_adapters")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--adapter", required=True, help="a package of ssp_adapters: price_list")
    parser.add_argument("--document", type=Path, action="append", default=[])
    parser.add_argument("--policy", type=Path)
    parser.add_argument("--simulate", action="store_true", help="serve the fills by simulation")
    parser.add_argument("--speed", type=int, default=1, help="of the simulation: 1 is real time")
    parser.add_argument("--state", type=Path, help="folder for what a restart goes on from")
    parser.add_argument("--interval", type=float, default=0.5, help="seconds between looks")
    parser.add_argument("--stats", type=float, default=0.0, help="seconds between counts; 0: none")
    given = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        bundle = load_bundle(given.bundle)
        policy = (
            msgspec.json.decode(given.policy.read_bytes(), type=Policy)
            if given.policy
            else Policy()
        )
        adapter = load_adapter(given.adapter)
        if given.state is not None:
            given.state.mkdir(parents=True, exist_ok=True)
        return asyncio.run(_run(bundle, adapter, policy, given))
    except (BundleError, LinkError, OSError, ValueError, LookupError) as error:
        sys.stderr.write(f"runner: {error}\n")
        return EXIT_USAGE


def load_adapter(name: str) -> Any:
    """Return an adapter by name: ours, or one that an installed package registers as `curb.adapters`.

    Raises:
        LookupError: there is none.
    """
    if name in ADAPTERS:
        return ADAPTERS[name]
    for entry in entry_points(group=GROUP, name=name):
        return entry.load()
    raise LookupError(f"no adapter {name!r}; there are {', '.join(sorted(ADAPTERS))}")


async def _run(bundle: Bundle, adapter: Any, policy: Policy, given: argparse.Namespace) -> int:
    engine = None
    if given.simulate:
        from ssp_adapters.demo.engine import SimulatedEngine

        engine = SimulatedEngine(speed=given.speed)
    runner = Runner(
        adapter,
        FileSource(tuple(given.document)),
        policy,
        engine=engine,
        interval_s=given.interval,
    )
    position = FeedPosition(given.state)
    agent = OperatorAgent(bundle, runner, events_after=position.after)
    runner.attach(agent)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    telling = asyncio.create_task(_tell(runner, agent, position, given.stats))
    try:
        await runner.run(stop)
    except SessionOverError as error:
        sys.stderr.write(f"runner: the session is over: {error} ({error.code})\n")
        return EXIT_SESSION
    finally:
        telling.cancel()
        _save(agent, position)
    return 0


async def _tell(
    runner: Runner, agent: OperatorAgent, position: FeedPosition, every_s: float
) -> None:
    await runner.offered.wait()
    _say({"ready": True, "operator": agent.member, "offers": len(runner.standing)})
    while True:
        await asyncio.sleep(every_s or 1.0)
        _save(agent, position)
        if every_s:
            _say({"operator": agent.member, "offers": len(runner.standing), **runner.counts})


def _save(agent: OperatorAgent, position: FeedPosition) -> None:
    established = agent.channel.established
    if established is not None:
        position.save(established.market, agent.events_last)


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()
