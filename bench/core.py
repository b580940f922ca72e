"""`python -m bench core [--offers N] [--quick] [--json]`: the core alone, beside what would replace it.

Workload W (bench/workload.py), one thread. Without --offers and --quick it measures 100,000 and
1,000,000 offers, which gives `growth`. Its parts, `--only` some of them to run one at a time:

    start    until the core is ready: everything compiled; from the cache
    rates    auctions in frames of 256 with everything the market does on top (fills, money, leases
             that end, bids that rest, reasons), refreshes, offers with their cancels, a mix; memory
    latency  single auctions inside a batch, beside those of the C scan
    peers    what would stand in its place (bench/peers/): every answer compared, then timed
    worst    cases made on purpose (bench/worst.py)
    real     a world of real sites, prices, round trips and requests (bench/real.py), where it is

Every part prints a digest of what was computed. --save FILE keeps the figures of several calls
together; `python -m bench tables FILE` writes them as Markdown.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from bench import machine, real, results, stamps, worst
from bench.peers.book import questions, read_book
from bench.peers.run import MAKERS, ask_core, beside_c, compare, percentiles, scan_latency
from bench.rates import FRAME_NS, LEASE_FRAMES, Rates, memory
from bench.workload import Workload, make
from matching_core.market import Market
from matching_core.warm import warm_up
from schemas import records

FULL: Final = (100_000, 1_000_000)
PARTS: Final = ("start", "rates", "latency", "peers", "worst", "real")


class Size(NamedTuple):
    """How much of what is done; `share` is of the questions that a peer is asked at full size."""

    offers: int
    sites: int
    models: int
    warm: int  # frames until leases are in balance and campaigns know the shelves
    timed: int  # frames of bids per figure
    checked: int  # questions that everybody answers
    share: float
    rounds: int  # in which the core and its C take turns


def size_of(offers: int) -> Size:
    """Return the full size at that many offers."""
    return Size(offers, 5_000, 50, max(LEASE_FRAMES, offers // 1_000), 100, 512, 1.0, 9)


QUICK: Final = Size(1_000, 200, 5, 4, 10, 64, 0.05, 3)


class Wanted(NamedTuple):
    """What to measure: parts of PARTS, names of peers, worst cases (all when there are none)."""

    parts: Collection[str] = PARTS
    peers: tuple[str, ...] = tuple(MAKERS)
    cases: tuple[str, ...] = ()


def main(arguments: list[str]) -> int:
    """Run the benchmark; returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench core",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--offers", type=int, help="just this size, 5,000 sites")
    parser.add_argument("--only", default="", help=f"parts, by comma: {', '.join(PARTS)}")
    parser.add_argument("--peers", default=",".join(MAKERS), help="only these, by comma; or none")
    parser.add_argument("--case", action="append", default=[], help="only this worst case")
    parser.add_argument("--quick", action="store_true", help="1,000 offers at 200 sites, few bids")
    parser.add_argument("--save", type=Path, help="keep the figures in this file, with older ones")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    names = _names(parser, "peer", options.peers, tuple(MAKERS))
    parts = _names(parser, "part", options.only, PARTS)
    if not parts:  # compiling everything anew would be most of a small run
        parts = tuple(part for part in PARTS if part != "start" or not options.quick)
    wanted = Wanted(parts, names, tuple(options.case))
    found = report(options.offers, wanted, quick=options.quick)
    if options.save:
        results.save(options.save, found)
    if options.json:
        print(json.dumps(results.flat(found)))
    else:
        show(results.flat(found))
    return 0


def _names(
    parser: argparse.ArgumentParser, what: str, given: str, known: tuple[str, ...]
) -> tuple[str, ...]:
    names = tuple(name for name in given.split(",") if name and name != "none")
    if unknown := set(names) - set(known):
        parser.error(f"no {what} {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return names


def report(offers: int | None, wanted: Wanted, *, quick: bool) -> results.Result:
    """Return the figures of one size, or of both (bench/results.py has the form)."""
    begun = time.perf_counter()
    warm_up()
    found: results.Result = {"warm_up_s": round(time.perf_counter() - begun, 2)}
    found |= machine.machine()
    say = _progress(begun)
    if "start" in wanted.parts:
        say("starting a process")
        found["start"] = machine.start()
    sizes = [size_of(each) for each in ([offers] if offers else FULL)]
    if quick:
        sizes = [QUICK._replace(offers=offers or QUICK.offers)]
    if {"rates", "latency", "peers"} & set(wanted.parts):
        found["sizes"] = {str(size.offers): measure(size, wanted, say) for size in sizes}
    if "worst" in wanted.parts:
        size = sizes[-1]
        bids, more = (2, (1_200, 4_096)) if quick else (8, worst.FULL)
        scale = worst.Scale(size.offers, size.sites, size.models, bids, *more)
        found["worst"] = {str(size.offers): worst.report(scale, wanted.cases, say)}
    if "real" in wanted.parts:
        say("a real world")
        found["real"] = measure_real(quick=quick)
    return found


def _progress(begun: float) -> Callable[[str], None]:
    def say(what: str) -> None:
        print(f"{time.perf_counter() - begun:6.1f} s  {what}", file=sys.stderr, flush=True)

    return say


def measure(size: Size, wanted: Wanted, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Return the figures of a market of that size."""
    parts = wanted.parts
    turns = 2 * size.rounds * (size.timed // 3)
    say(f"{size.offers} offers: opening the book")
    workload = make(
        size.offers, size.warm + 3 * size.timed + turns, sites=size.sites, models=size.models
    )
    frames = workload.bids
    market, _ = workload.open()
    found: dict[str, Any] = {"offers": size.offers, "sites": size.sites, "models": size.models}
    if "rates" in parts:
        found |= memory(workload, market)
    at = size.warm
    book = None
    peers: dict[str, Any] = {}
    digests = []
    if "peers" in parts:
        book = read_book(market)
        asked = questions(market, book, frames[at : at + size.timed])
        answers = ask_core(market, asked[: size.checked])
        for name in wanted.peers:
            say(f"{size.offers} offers: {name}")
            peers |= compare(market, book, asked, answers, (name,), size.share)
        digests.append(hashlib.sha256(json.dumps(answers).encode()).hexdigest())
        found["answers_digest"] = digests[-1]
    if "latency" in parts and "c_scan" in wanted.peers:
        say(f"{size.offers} offers: single auctions of the C scan")
        book = book or read_book(market)
        asked = questions(market, book, frames[at : at + size.timed])
        found["c_scan_latency"] = scan_latency(book, asked)

    say(f"{size.offers} offers: the core")
    rates = Rates(market)
    for buyer, batch in frames[: size.warm]:
        rates.apply(records.BID, batch, buyer, FRAME_NS)
    found["auctions_per_s"] = round(rates.auctions(frames[at : at + size.timed]))
    at += size.timed
    if "latency" in parts:
        found |= percentiles(stamps.time_each(market, frames[at : at + size.timed], FRAME_NS).ns)
    at += size.timed
    if "rates" in parts:
        found |= updates(rates, workload, size, frames[at : at + size.timed])
    at += size.timed
    if book is not None and "c_same" in peers and "skipped" not in peers["c_same"]:
        say(f"{size.offers} offers: the core and its C take turns")
        peers["c_same"] |= beside_c(rates, book, frames[at:], size.rounds)
    digests.append(rates.digest())
    found |= {
        "vs": {
            name: round(each.get("core_auctions_per_s", found["auctions_per_s"]) / rate, 3)
            for name, each in peers.items()
            if (rate := each.get("auctions_per_s"))
        },
        "peers": peers,
        "events": rates.kinds,
        "events_digest": rates.digest(),
        "digest": hashlib.sha256("".join(digests).encode()).hexdigest(),
    }
    return found


def updates(
    rates: Rates, workload: Workload, size: Size, frames: list[tuple[int, np.ndarray]]
) -> dict[str, int]:
    """Return the rates of what is no auction, and of the mix with auctions."""
    rng = np.random.default_rng(2)
    return {
        "refresh_per_s": round(rates.refreshes(workload.offers, size.timed, rng)),
        "insert_cancel_per_s": round(rates.offers_and_cancels(workload.offers, size.timed, rng)),
        "mixed_per_s": round(rates.mixed(frames, workload.offers, rng)),
    }


def measure_real(*, quick: bool) -> dict[str, Any]:
    """Return the figures of workload R, or why there are none."""
    try:
        workload = real.make(30, models=4, share=20) if quick else real.make(600, models=40)
    except real.Absent as why:
        return {"skipped": str(why)}
    market: Market
    market, _ = workload.open()
    rates = Rates(market)
    third = len(workload.bids) // 3
    for buyer, batch in workload.bids[:third]:
        rates.apply(records.BID, batch, buyer, FRAME_NS)
    figures: dict[str, Any] = {
        "offers": len(workload.offers),
        "sites": len(workload.sites),
        "models": workload.models,
        "auctions_per_s": round(rates.auctions(workload.bids[third : 2 * third])),
    }
    stamped = stamps.time_each(market, workload.bids[2 * third :], FRAME_NS)
    return (
        figures
        | percentiles(stamped.ns)
        | {
            "events": rates.kinds,
            "digest": hashlib.sha256(f"{rates.digest()}{stamped.digest}".encode()).hexdigest(),
        }
    )


def show(result: dict[str, Any], indent: str = "") -> None:
    """Print the figures for people."""
    for name, value in result.items():
        if isinstance(value, dict) and (name.startswith("at_") or name in {"worst", "peers"}):
            print(f"{indent}{name}")
            show(value, indent + "  ")
        elif isinstance(value, dict) and "cases" in value:
            print(f"{indent}{name} offers: median {value['median_ns']} ns")
            for each in value["cases"]:
                print(
                    f"{indent}  {each['case']:<42} p50 {each['times_p50']:>7} × p99"
                    f" {each['times_p99']:>7} ×  {each['also_ns'] or ''}"
                )
        else:
            print(f"{indent}{name:>24}  {value}")
