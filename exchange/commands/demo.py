"""`curb demo`: a whole market on this machine, from streamed offer to settled fill."""

import signal
import sys
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console

from exchange.demo.play import Outcome, Play, Settings
from exchange.demo.screen import LineScreen, LiveScreen, board
from exchange.demo.stage import ActorFailed
from exchange.enrolment import EnrolmentError
from exchange.host_client import HostError
from exchange.identity import IdentityError
from exchange.supervisor.postgres import PostgresFailed
from exchange.supervisor.processes import ProcessFailed

app = typer.Typer(add_completion=False)
SECONDS_MIN: Final = 12.0
EXIT_FAILED: Final = 1


@app.command(epilog="Exit codes: 0 all well, 1 a step failed or a promise did not hold, 2 usage.")
def demo(
    *,
    seconds: Annotated[
        float, typer.Option(min=SECONDS_MIN, help="Bids stop 8 s before the end.")
    ] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Last line: one JSON object.")] = False,
    forever: Annotated[
        bool, typer.Option("--forever", help="Run until ^C; prints a buyer's bundle.")
    ] = False,
    trace: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="CSV of requests (.gz too) to replay."),
    ] = None,
    data: Annotated[Path, typer.Option(help="Data folder; an earlier demo's is emptied.")] = Path(
        ".demo"
    ),
    sites: Annotated[int, typer.Option(min=600, help="Sites of the world.")] = 640,
    seed: Annotated[int, typer.Option(min=0, help="Of the world and the demand.")] = 1,
    speed: Annotated[float, typer.Option(min=0.1, help="Times as fast as the trace.")] = 60.0,
) -> None:
    """Play a market of 600 sites, a dozen operators and a real engine; then check its books."""
    settings = Settings(data.resolve(), seconds, forever, trace, seed, sites, speed)
    console = Console(stderr=True)
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stopped.append(1))
    live = console.is_terminal and not as_json
    try:
        with LiveScreen(console) if live else LineScreen() as screen:
            play = Play(settings, screen, lambda: bool(stopped))
            outcome = play.run()
    except (
        ActorFailed, ProcessFailed, PostgresFailed, HostError, EnrolmentError, IdentityError,
    ) as error:  # fmt: skip
        typer.echo(f"curb demo: {error}", err=True)
        raise typer.Exit(EXIT_FAILED) from None
    if as_json:
        sys.stdout.write(msgspec.json.encode(outcome.plain()).decode() + "\n")
    else:
        _summary(console if live else Console(), outcome, settings)
    if outcome.problems:
        raise typer.Exit(EXIT_FAILED)


def _summary(console: Console, outcome: Outcome, settings: Settings) -> None:
    plain = outcome.plain()
    console.print(board(outcome.summary, outcome.buyers, 0.0, None))
    latency = plain["bid_to_fill_us"]
    console.print(
        f"{plain['auctions']:,} auctions, {plain['fills']:,} fills, {plain['settled']:,} settled; "
        f"bid → fill p50 {latency['p50'] / 1e3:.1f} ms, p99 {latency['p99'] / 1e3:.1f} ms "
        f"(one sync: {plain['sync_floor_us'] / 1e3:.2f} ms); "
        f"{plain['real_completions']} requests really answered, {plain['real_tokens']} tokens",
        highlight=False,
    )
    for problem in outcome.problems:
        console.print(f"[red]✗[/] {problem}", highlight=False)
    if not outcome.problems:
        console.print("[green]✓[/] journal intact, replay equals the live run, ledger agrees")
    console.print(f"[dim]data folder: {settings.data}[/]", highlight=False)
