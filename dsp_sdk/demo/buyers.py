"""The demo's buyers in one process: each its own session; bids at their planned times.

    python -m dsp_sdk.demo.buyers --world world.json --bundles DIR --bid-seconds 22 --seconds 30

The load is open: a bid is due when the trace says so, and its latency counts from then, whatever
was slow (no coordinated omission). Each second one JSON line on standard output says how it stands,
the last one has `"final": true`.
"""

import argparse
import asyncio
import contextlib
import gzip
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from dsp_sdk.client import Client
from dsp_sdk.connecting import connect
from dsp_sdk.demo.demand import Arrival, arrivals, buyers, until
from dsp_sdk.demo.demand_buyers import REAL_BUYER, REAL_CAMPAIGN, REAL_TOKENS_IN, REAL_TOKENS_OUT
from dsp_sdk.demo.demand_trace import Request, generate, read_trace, replay
from dsp_sdk.request import ServeError
from dsp_sdk.results import UnfilledError, bid_records
from schemas import records
from schemas.bundle import load_bundle
from schemas.channel import ChannelError
from schemas.commands import Metro
from schemas.startup import refuse_optimised

TICK_S: Final = 0.002  # bids that fall due within it share a frame
# The simulated answer takes as long as the site's engine says, but the demo's clock is 60 times as
# fast as the trace's: a request of a minute ends within what is left to drain.
ANSWER_S: Final = 1.5
COMPLETE_AGAIN_S: Final = 0.5
COMPLETE_TRIES: Final = 6
STATE: Final = 208  # reasons.REJECTED["state"]: not started yet, or ended
PROMPTS: Final = (
    "Name a river.",
    "Say hello in one short sentence.",
    "What is a cable head-end?",
    "Count from one to five.",
    "Why is the sky blue? One sentence.",
)


class Tally:
    """What the buyers saw, all together."""

    def __init__(self) -> None:
        self.bids = 0
        self.fills = 0
        self.contested = 0
        self.unfilled: Counter[str] = Counter()
        self.unknown = 0
        self.completed = 0
        self.not_completed = 0
        self.latencies_us: list[np.ndarray] = []
        self.real_completions = 0
        self.real_tokens = 0
        self.real_failures: Counter[str] = Counter()
        self.real_ttft_us: list[int] = []
        self.last_answer = ""

    def line(self, *, final: bool) -> dict[str, Any]:
        """Return it as plain values; latencies in µs from the planned time to the answer."""
        latencies = np.concatenate(self.latencies_us) if self.latencies_us else np.zeros(0)
        return {
            "final": final,
            "bids": self.bids,
            "fills": self.fills,
            "contested": self.contested,
            "unfilled": dict(self.unfilled.most_common()),
            "unknown": self.unknown,
            "completed": self.completed,
            "not_completed": self.not_completed,
            "bid_to_fill_us": quantiles(latencies),
            "real_completions": self.real_completions,
            "real_tokens": self.real_tokens,
            "real_failures": dict(self.real_failures),
            "real_ttft_us": quantiles(np.array(self.real_ttft_us)),
            "last_answer": self.last_answer,
        }


def quantiles(values: np.ndarray) -> dict[str, int]:
    """Return p50, p99 and max of µs; zeros when nothing was measured."""
    if len(values) == 0:
        return {"p50": 0, "p99": 0, "max": 0}
    p50, p99 = np.percentile(values, [50, 99])
    return {"p50": int(p50), "p99": int(p99), "max": int(values.max())}


class Crowd:
    """All buyers at work."""

    def __init__(self, clients: dict[str, Client], tally: Tally) -> None:
        self._clients = clients
        self._tally = tally
        self._campaigns: dict[tuple[str, str], int] = {}
        self._metros: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._due: defaultdict[str, list[tuple[float, np.ndarray, int]]] = defaultdict(list)

    async def register(self) -> None:
        """Register every campaign and learn the handles that bids are made of."""
        for plan in buyers():
            client = self._clients[plan.buyer]
            for campaign in plan.campaigns:
                await client.register(campaign)
                handle = await client.directory.handle("campaign", campaign.campaign)
                self._campaigns[plan.buyer, campaign.campaign] = handle
        any_client = next(iter(self._clients.values()))
        for name in await any_client.metros():
            self._metros[name] = await any_client.directory.handle("metro", name)

    async def bid(self, planned: Iterator[Arrival], start_ns: int) -> None:
        """Make every bid at its time; returns when the last one was sent."""
        waiting = next(planned, None)
        while waiting is not None:
            now_ns = time.monotonic_ns() - start_ns
            due: defaultdict[str, list[Arrival]] = defaultdict(list)
            while waiting is not None and waiting.t_ns <= now_ns:
                due[waiting.buyer].append(waiting)
                waiting = next(planned, None)
            for buyer, group in due.items():
                if buyer == REAL_BUYER:
                    for arrival in group:
                        self._spawn(self._ask(arrival))
                else:
                    self._spawn(self._bid_for(buyer, group, start_ns))
            await asyncio.sleep(TICK_S)

    async def finish(self) -> None:
        """Complete what falls due until everything under way has ended."""
        while self._tasks or any(self._due.values()):  # noqa: ASYNC110 -- due by the clock
            await asyncio.sleep(TICK_S)

    async def complete(self) -> None:
        """Report what was metered of each simulated fill when its answer is over; runs for ever."""
        while True:
            await asyncio.sleep(TICK_S * 10)
            now = time.monotonic()
            for buyer, waiting in self._due.items():
                ready = [entry for entry in waiting if entry[0] <= now]
                if ready:
                    waiting[:] = [entry for entry in waiting if entry[0] > now]
                    self._spawn(self._complete_for(buyer, ready))

    async def _bid_for(self, buyer: str, group: list[Arrival], start_ns: int) -> None:
        batch = bid_records(len(group))
        for record, arrival in zip(batch, group, strict=True):
            record["campaign"] = self._campaigns[buyer, arrival.campaign]
            record["origin"] = self._metros[arrival.origin]
            record["origin_asn"] = arrival.origin_asn
            record["tokens_in"] = arrival.tokens_in
            record["tokens_out"] = arrival.tokens_out
            record["lease_us"] = arrival.lease_us
            if arrival.latency_budget_us is not None:
                record["latency_budget_us"] = arrival.latency_budget_us
        tally = self._tally
        tally.bids += len(batch)
        try:
            result = await self._clients[buyer].bid_many(batch)
        except ChannelError:
            tally.unknown += len(batch)
            return
        answered_ns = time.monotonic_ns() - start_ns
        planned_ns = np.array([arrival.t_ns for arrival in group])
        tally.latencies_us.append((answered_ns - planned_ns) // 1_000)
        tally.unknown += int(result.unknown.sum())
        tally.unfilled.update(result.reasons())
        fills = result.fills
        tally.fills += len(fills)
        tally.contested += int(fills["contested"].sum())
        if len(fills):
            self._due[buyer].append((time.monotonic() + ANSWER_S, _completions(fills), 0))

    async def _complete_for(self, buyer: str, ready: list[tuple[float, np.ndarray, int]]) -> None:
        for _, batch, tries in ready:
            try:
                statuses = await self._clients[buyer].complete_many(batch)
            except ChannelError:
                # Whether it counted is not known; asked again it counts once.
                statuses = np.full(len(batch), STATE, [("code", "u2")])
            early = statuses["code"] == STATE
            self._tally.completed += int((statuses["code"] == 0).sum())
            if early.any() and tries < COMPLETE_TRIES:
                again = time.monotonic() + COMPLETE_AGAIN_S
                self._due[buyer].append((again, batch[early], tries + 1))
            else:
                self._tally.not_completed += int((statuses["code"] != 0).sum())

    async def _ask(self, arrival: Arrival) -> None:
        """Buy one slot of the real site and have it answer."""
        tally = self._tally
        tally.bids += 1
        prompt = PROMPTS[tally.bids % len(PROMPTS)]
        chat = self._clients[REAL_BUYER].chat(
            "smollm2-135m",
            prompt,
            max_latency_ms=5_000,
            max_tokens=REAL_TOKENS_OUT,
            tokens_in=REAL_TOKENS_IN,
            origin=arrival.origin,
            campaign=REAL_CAMPAIGN,
        )
        try:
            tally.last_answer = f"{prompt} → {await chat.whole()}"
        except UnfilledError as error:
            tally.unfilled[error.result.reason] += 1
            return
        except (ServeError, ChannelError) as error:
            tally.real_failures[f"{type(error).__name__}: {error}"] += 1
            return
        assert chat.request is not None
        tally.fills += 1
        tally.real_completions += 1
        tally.real_tokens += chat.request.tokens_out
        tally.real_ttft_us.append(chat.request.ttft_us)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            raise SystemExit(f"buyers: {task.exception()!r}")


def _completions(fills: np.ndarray) -> np.ndarray:
    """Return what the buyers will say of their fills: the tokens that were declared came."""
    batch = np.zeros(len(fills), records.COMPLETE_RECORD)
    for name in ("fill", "tokens_in", "tokens_out"):
        batch[name] = fills[name]
    batch["ttft_us"] = fills["latency_us"]
    return batch


def _requests(trace: Path | None, seed: int) -> Iterator[Request]:
    if trace is None:
        return generate(seed)
    opener = gzip.open if trace.suffix == ".gz" else open
    with opener(trace, "rt", encoding="utf-8") as lines:
        return replay(read_trace(lines, str(trace)))


async def run(given: argparse.Namespace) -> Tally:
    """Run all buyers for the time given and return what they saw."""
    world = msgspec.json.decode(given.world.read_bytes())
    metros = msgspec.convert(world["metros"], list[Metro])
    tally = Tally()
    async with contextlib.AsyncExitStack() as stack:
        clients = {}
        for plan in buyers():
            bundle = load_bundle(given.bundles / f"{plan.buyer}.bundle.json")
            clients[plan.buyer] = await stack.enter_async_context(connect(bundle))
        crowd = Crowd(clients, tally)
        await crowd.register()
        planned = arrivals(
            seed=given.seed,
            metros=metros,
            home_metro=world["real"]["metro"],
            requests=_requests(given.trace, given.seed),
            speed=given.speed,
            asns=world["access_asns"],
        )
        if given.bid_seconds:
            planned = until(planned, given.bid_seconds)
        start_ns = time.monotonic_ns()
        loop = asyncio.get_running_loop()
        helpers = [loop.create_task(crowd.complete()), loop.create_task(_report(tally))]
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        bidding = loop.create_task(crowd.bid(iter(planned), start_ns))
        stop = loop.create_task(stopped.wait())
        await asyncio.wait({bidding, stop}, return_when=asyncio.FIRST_COMPLETED)
        bidding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await bidding
        # Whoever stopped it early waits for the answers under way; else the drain has its whole time.
        end_s = given.seconds if given.bid_seconds and not stopped.is_set() else 0.0
        left_s = max(end_s - (time.monotonic_ns() - start_ns) / 1e9, 2 * ANSWER_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                await crowd.finish()
                if end_s:
                    await stopped.wait()
        for helper in (*helpers, stop):
            helper.cancel()
    return tally


async def _report(tally: Tally) -> None:
    while True:
        await asyncio.sleep(1.0)
        _say(tally.line(final=False))


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run by the arguments; returns 0 when every session stood to the end."""
    refuse_optimised()
    parser = argparse.ArgumentParser(prog="python -m dsp_sdk.demo.buyers")
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--bundles", type=Path, required=True)
    parser.add_argument("--bid-seconds", type=float, default=0.0, help="0: until SIGTERM")
    parser.add_argument("--seconds", type=float, default=0.0, help="of bidding and draining")
    parser.add_argument("--speed", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trace", type=Path)
    given = parser.parse_args()
    tally = asyncio.run(run(given))
    _say(tally.line(final=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
