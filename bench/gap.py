"""`python -m bench gap [--quick] [--json]`: what selling one request at a time costs against the optimum.

On recorded books (bench/books/) the bids come one by one and the core clears each on what is left:
that is how a request lives, which cannot wait for others. Beside it stands the assignment of the same
bids to the same slots that makes the sum of value − cost as large as it can be (Shapley and Shubik 1971,
solved by scipy's linear_sum_assignment), for somebody who knew all of them at once. The optimum has no
one price: each figure is given at both ends of its core, where buyers, or sellers, get all that they
add to it (W − W without them).

    welfare          sum of value − cost over the fills
    buyers_cost      what the buyers pay
    sellers_revenue  that, less the exchange's rate
    sellers_cost     what the sellers asked for

Everything in n$; a unit fills at its price and is served whole.
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from bench.peers.book import questions as questions_of
from bench.peers.book import read_book
from bench.peers.numpy_scan import NumpyPeer
from matching_core.market import Market
from matching_core.market_file import read_commands
from schemas import commands as c
from schemas import events as e
from schemas import limits

Array = npt.NDArray[Any]
FOLDER: Final = Path(__file__).parent / "books"
TAKE_PPM: Final = limits.TAKE_RATE_PPM_START
FIGURES: Final = ("fills", "welfare", "buyers_cost", "sellers_revenue", "sellers_cost")


class Outcome(NamedTuple):
    """What a way of clearing gives all together."""

    fills: int
    welfare: int
    buyers_cost: int
    sellers_revenue: int
    sellers_cost: int


class Pairs(NamedTuple):
    """All pairs of a bid and a slot: int64[bids, slots]; score is −1 where not eligible."""

    score: Array
    cost: Array


def main(arguments: list[str]) -> int:
    """Run the benchmark; returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench gap",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="the first book of each kind")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    result = report(quick=options.quick)
    if options.json:
        print(json.dumps(result))
        return 0
    for name, value in result.items():
        if name == "books":
            for each in value:
                print(each)
        else:
            print(f"{name:>32}  {value}")
    return 0


def report(*, quick: bool) -> dict[str, Any]:
    """Return the outcomes of each book and their sums; ratios are sequential over optimal."""
    paths = sorted(FOLDER.glob("*_1.jsonl" if quick else "*.jsonl"))
    books: list[dict[str, Any]] = [{"book": path.stem, **clear(path)} for path in paths]
    total: dict[str, Any] = {}
    for way in ("sequential", "optimal_for_buyers", "optimal_for_sellers"):
        total[way] = {name: sum(book[way][name] for book in books) for name in FIGURES}
    sequential, low, high = total.values()
    digest = hashlib.sha256(json.dumps(books, sort_keys=True).encode()).hexdigest()
    return {
        "books": books,
        **total,
        "welfare_ratio": round(sequential["welfare"] / low["welfare"], 4),
        "welfare_ratio_by_book": {
            book["book"]: round(
                book["sequential"]["welfare"] / book["optimal_for_buyers"]["welfare"], 4
            )
            for book in books
        },
        "fills_ratio": round(sequential["fills"] / low["fills"], 4),
        "buyers_cost_ratio": [
            round(sequential["buyers_cost"] / each["buyers_cost"], 4) for each in (low, high)
        ],
        "sellers_revenue_ratio": [
            round(sequential["sellers_revenue"] / each["sellers_revenue"], 4)
            for each in (low, high)
        ],
        "digest": digest,
    }


def clear(path: Path) -> dict[str, dict[str, int]]:
    """Return the outcomes of one recorded book, by way of clearing."""
    market = Market()
    with path.open("rb") as lines:
        commands = list(read_commands(lines, str(path)))
    bids = [command for command in commands if isinstance(command, c.Bid)]
    for command in commands:
        if not isinstance(command, c.Bid):
            refused = market.apply_command(command)
            assert not refused, refused
    pairs = judge(market, bids)
    fills = [
        event for bid in bids for event in market.apply_command(bid) if isinstance(event, e.Fill)
    ]
    sequential = outcome(
        [fill.price for fill in fills],
        [fill.cost for fill in fills],
        [fill.score for fill in fills],
    )
    low, high = optimum(pairs)
    assert sequential.welfare <= low.welfare
    return {
        "sequential": sequential._asdict(),
        "optimal_for_buyers": low._asdict(),
        "optimal_for_sellers": high._asdict(),
    }


def judge(market: Market, bids: list[c.Bid]) -> Pairs:
    """Return score and cost of every bid with every slot, on the book before the first bid."""
    frames = []
    for bid in bids:
        frame = market.to_frame(bid)
        assert frame is not None
        _, record, member, _, _ = frame
        frames.append((member, record))
    book = read_book(market)
    peer = NumpyPeer(book)
    asked = questions_of(market, book, frames)
    assert len(asked) == len(bids)
    offers = len(book.offers["model"])
    score, cost = np.full((len(asked), offers), -1), np.zeros((len(asked), offers), np.int64)
    for row, question in enumerate(asked):
        for place, (model, _) in enumerate(question.rules.models):
            found, scores, _, costs = peer.eligible(question, place)
            score[row, book.starts[model] + found] = scores
            cost[row, book.starts[model] + found] = costs
    slot_of = np.repeat(np.arange(offers), book.offers["available"])
    return Pairs(score[:, slot_of], cost[:, slot_of])


def assign(score: Array) -> tuple[Array, Array]:
    """Return the pairs of a best assignment: who, which slot. Ineligible pairs are left out."""
    # The solver computes in float64: whole numbers up to 2^53 are exact there.
    assert score.max(initial=0) < 2**53 // max(1, len(score))
    rows, columns = linear_sum_assignment(np.maximum(score, 0), maximize=True)
    real = score[rows, columns] >= 0
    return rows[real], columns[real]


def optimum(pairs: Pairs) -> tuple[Outcome, Outcome]:
    """Return the best assignment at the prices that are best for buyers, and for sellers."""
    rows, columns = assign(pairs.score)
    scores, costs = pairs.score[rows, columns], pairs.cost[rows, columns]
    best = int(scores.sum())

    def without(axis: int, number: int) -> int:
        left = np.delete(pairs.score, number, axis)
        return int(left[assign(left)].sum())

    # A buyer's gain is at most what it adds; so is a seller's margin on one slot.
    low = [
        int(cost + score) - (best - without(0, int(row)))
        for row, score, cost in zip(rows, scores, costs, strict=True)
    ]
    high = [
        int(cost) + (best - without(1, int(column)))
        for column, cost in zip(columns, costs, strict=True)
    ]
    return (
        outcome(low, costs.tolist(), scores.tolist()),
        outcome(high, costs.tolist(), scores.tolist()),
    )


def outcome(prices: list[int], costs: list[int], scores: list[int]) -> Outcome:
    """Return the sums over the fills."""
    earned = sum(price - price * TAKE_PPM // 1_000_000 for price in prices)
    return Outcome(len(prices), sum(scores), sum(prices), earned, sum(costs))
