"""`curb clear`: run a market file through a core, offline (MARKET_FILE.md).

Exit codes: 0 every line was a valid command; 2 one was not (`FILE:LINE: field: what is wrong`), the
file cannot be read or written, or the command was used wrongly. On 2 the events file is untouched.
"""

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Protocol

import msgspec
import typer

from matching_core.engines import COMPILED, ENGINES, Engine, new_market
from matching_core.market_file import MarketFileError, format_events, read_commands
from schemas import events as e
from schemas.reasons import ELIGIBILITY_RULES
from schemas.startup import refuse_optimised

EXIT_INVALID: Final = 2
STANDARD: Final = "-"
EPILOG: Final = "Exit codes: 0 every line was a valid command, 2 one was not, or wrong usage."
_RULES: Final = frozenset(ELIGIBILITY_RULES)


def _engine(name: str) -> str:
    if name not in ENGINES:
        raise typer.BadParameter(f"one of {', '.join(ENGINES)}")
    return name


EventsFile = Annotated[str | None, typer.Option(help="Where the events go; - is standard output.")]
EngineName = Annotated[
    str, typer.Option("--engine", help=f"One of: {', '.join(ENGINES)}.", callback=_engine)
]
AsJson = Annotated[bool, typer.Option("--json", help="The summary as JSON on standard output.")]

app = typer.Typer(add_completion=False)


class Sink(Protocol):
    """Where lines go."""

    def write(self, data: bytes, /) -> int:
        """Take bytes."""


class Summary(msgspec.Struct, kw_only=True):
    """What a run did. Counts are of events, so `grep -c` on the events file agrees.

    `auctions`: units put up for auction on arrival, and units that resting bids won: fills, bids
    that came to rest, and bids that ended for a rule of MARKET.md §5.
    """

    commands: int = 0
    fills: int = 0
    unfilled: int = 0
    rejected: int = 0
    auctions: int = 0
    seconds: float = 0.0
    auctions_per_second: int = 0
    digest: str = ""

    def count(self, event: e.AnyEvent) -> None:
        """Count one event."""
        match event:
            case e.Fill():
                self.fills += 1
                self.auctions += 1
            case e.Resting():
                self.auctions += 1
            case e.Unfilled():
                self.unfilled += 1
                self.auctions += event.reason in _RULES
            case e.Rejected():
                self.rejected += 1
            case _:
                pass

    def end(self, core: Engine, seconds: float) -> None:
        """Note how long it took, and the state that came of it."""
        self.seconds = round(seconds, 6)
        self.auctions_per_second = round(self.auctions / max(self.seconds, 1e-6))
        self.digest = core.digest()

    def tell(self, *, as_json: bool) -> None:
        """Print it: as JSON on standard output, else as a line on standard error."""
        if as_json:
            sys.stdout.write(json.dumps(msgspec.to_builtins(self)) + "\n")
            return
        sys.stderr.write(
            f"{self.commands} commands, {self.fills} fills, {self.unfilled} unfilled, "
            f"{self.rejected} rejected, {self.auctions_per_second} auctions/s, "
            f"digest {self.digest}\n"
        )


@app.command(epilog=EPILOG)
def clear(
    market: Annotated[str, typer.Argument(help="The market file; - is standard input.")],
    *,
    events: EventsFile = None,
    engine: EngineName = COMPILED,
    json_summary: AsJson = False,
) -> None:
    """Run a market file through the core, offline."""
    refuse_optimised()
    core = new_market(engine)
    try:
        with open_input(market) as lines, open_output(events) as output:
            summary = run(core, lines, "<stdin>" if market == STANDARD else market, output)
    except (MarketFileError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(EXIT_INVALID) from None
    summary.tell(as_json=json_summary)


def run(core: Engine, lines: BinaryIO, file: str, output: Sink | None) -> Summary:
    """Apply every line to the core and write its events.

    Raises:
        MarketFileError: at the first line that is no valid command.
    """
    summary = Summary()
    started = time.perf_counter()
    for command in read_commands(lines, file):
        happened = core.apply_command(command)
        summary.commands += 1
        for event in happened:
            summary.count(event)
        if output is not None and happened:
            output.write(format_events(happened))
    summary.end(core, time.perf_counter() - started)
    return summary


# ----------------------------------------------------------------------------- files
def open_input(path: str) -> contextlib.AbstractContextManager[BinaryIO]:
    """Open a market file; - is standard input."""
    if path == STANDARD:
        return contextlib.nullcontext(sys.stdin.buffer)
    return Path(path).open("rb")


@contextlib.contextmanager
def open_output(path: str | None) -> Iterator[Sink | None]:
    """Give a file whose content appears under `path` all at once, or not at all on an error."""
    if path is None:
        yield None
    elif path == STANDARD or not _replaceable(path):
        # A stream cannot be renamed into place: keep the bytes until every line proved valid.
        with tempfile.SpooledTemporaryFile(max_size=1 << 24) as spool:
            yield spool
            spool.seek(0)
            with _open_stream(path) as stream:
                while block := spool.read(1 << 20):
                    stream.write(block)
                stream.flush()
    else:
        target = Path(path).resolve()
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=target.name, delete=False
        ) as out:
            try:
                yield out
            except BaseException:
                Path(out.name).unlink()
                raise
        umask = os.umask(0)
        os.umask(umask)
        Path(out.name).chmod(0o666 & ~umask)  # temporary files are private; an events file is not
        Path(out.name).replace(target)


def _open_stream(path: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if path == STANDARD:
        return contextlib.nullcontext(sys.stdout.buffer)
    return Path(path).open("wb")


def _replaceable(path: str) -> bool:
    """Tell whether a rename may take the place of `path`: not of a pipe, not of /dev/stdout."""
    return not Path(path).exists() or Path(path).is_file()
