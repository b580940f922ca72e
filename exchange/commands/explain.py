"""`curb explain`: what each constraint of a bid's campaign cost it, and its counter-offer (MARKET.md §7).

The bid is explained on the book that it met: of a market file that is made by running the lines before
it, of a data folder from the newest snapshot before it and the journal (the exchange may run).

Exit codes: 0 explained; 1 there is no such bid, it was rejected, or the journal is missing or damaged; 2
a line is no valid command, or wrong usage.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from exchange.commands.clear import open_input
from exchange.commands.common import EXIT_FAILED, EXIT_USAGE, fail, load_config
from schemas import explanation as x
from schemas.startup import refuse_optimised

if TYPE_CHECKING:
    from exchange.follower.replay import BidName

EPILOG: Final = (
    "Example: curb explain book.jsonl --bid acme/0/17. "
    "Exit codes: 0 explained, 1 no such bid or no journal, 2 no valid market file or wrong usage."
)
_NAME: Final = re.compile(r"(?:(?P<buyer>[^/]+)/(?:(?P<agent>\d{1,4})/)?)?(?P<bid>\d{1,19})")

app = typer.Typer(add_completion=False)


@app.command(epilog=EPILOG)
def explain(
    source: Annotated[
        Path, typer.Argument(help="A data folder, or a market file; - is standard input.")
    ],
    *,
    bid: Annotated[
        str | None,
        typer.Option(
            help="BUYER/AGENT/BID, BUYER/BID or BID; without it all bids flagged `explain`."
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Unrounded, and of every constraint: not for the buyer's eyes."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each bid.")] = False,
) -> None:
    """Say what each constraint cost a bid, and which smallest change had filled it.

    For a fill: its price less the price without the constraint. For an unfilled bid: the counter-offer.
    Rounded up to two digits, as its buyer is told it.
    """
    from exchange.follower.replay import NoJournal
    from exchange.journal.errors import JournalError
    from matching_core.market_file import MarketFileError

    refuse_optimised()
    name = None if bid is None else _name(bid)
    found: list[x.Explanation] = []

    def explained(answer: x.Explanation) -> None:
        found.append(answer)
        text = msgspec.json.encode(answer).decode() if as_json else "\n".join(x.lines(answer))
        sys.stdout.write(text + "\n")

    run = _of_folder if source.is_dir() else _of_file
    try:
        run(source, name, explained, rounded=not exact)
    except MarketFileError as error:
        fail(str(error), EXIT_USAGE)
    except (JournalError, NoJournal, OSError) as error:
        fail(str(error), EXIT_FAILED)
    if not found:
        what = "flagged `explain`; name one with --bid" if bid is None else f"named {bid}"
        fail(f"{source}: no bid that was accepted is {what}", EXIT_FAILED)


def _name(text: str) -> "BidName":
    from exchange.follower.replay import BidName

    parts = _NAME.fullmatch(text)
    if parts is None:
        fail(f"--bid {text}: not BUYER/AGENT/BID, BUYER/BID or BID", EXIT_USAGE)
    agent = parts["agent"]
    return BidName(int(parts["bid"]), parts["buyer"], None if agent is None else int(agent))


def _of_folder(
    data: Path, name: "BidName | None", explained: Callable[[x.Explanation], None], *, rounded: bool
) -> None:
    from exchange.commands.progress import bar
    from exchange.follower.replay import explain as run
    from exchange.follower.replay import extent

    config = load_config(data)
    where = extent(config)
    with bar("replaying", where.end - where.first) as advance:
        run(where, config.snapshots_folder, name, explained, advance, rounded=rounded)


def _of_file(
    path: Path, name: "BidName | None", explained: Callable[[x.Explanation], None], *, rounded: bool
) -> None:
    from exchange.apply import apply_shown
    from exchange.explaining import Explaining, Key
    from exchange.follower.replay import is_meant
    from matching_core.market import Market
    from matching_core.market_file import read_commands
    from schemas.commands import Bid

    market = Market()

    def take(_key: Key, answer: x.Explanation | None) -> None:
        if answer is not None:
            explained(answer)

    watch = Explaining(market, lambda *_: [], take, rounded=rounded)
    with open_input(str(path)) as lines:
        for command in read_commands(lines, str(path)):
            if isinstance(command, Bid) and (frame := market.to_frame(command)) is not None:
                _, bids, buyer, agent, _ = frame
                if is_meant(name, bids[0], command.buyer, agent):
                    apply_shown(market, watch, [0], bids, buyer, agent, command.at)
                    continue
            market.apply(command)
