"""`curb verify`: do journal, snapshots and ledger of a data folder agree?

- The journal is read whole: every checksum, the chain, every command through the core.
- Each snapshot of the follower, and the digests that exchange and follower left when they stopped, is the state that the journal
  gives at that position.
- The ledger's rows are the fold of the journal up to its position, and that is where the journal was
  when this began; accounts sum to zero and are what the core counts.

Exit codes: 0 all agree; 1 something differs (each difference on a line) or cannot be read; 2 wrong usage.
"""

import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from msgspec import Struct

from exchange.commands.common import EXIT_FAILED, fail, load_config
from exchange.config import Config
from schemas.startup import refuse_optimised

EPILOG: Final = "Exit codes: 0 all agree, 1 something differs or cannot be read, 2 wrong usage."
POLL_S: Final = 0.05

app = typer.Typer(add_completion=False)


class Report(Struct, kw_only=True):
    """What was found. `ledger_ok` is null when the ledger was not asked for."""

    journal_ok: bool = False  # whole, and the snapshots are its states
    ledger_ok: bool | None = None
    market: int = 0
    position: int = 0  # up to where the journal was read
    commands: int = 0
    digest: str = ""  # there
    snapshots: int = 0  # compared
    ledger_position: int = 0
    differences: list[str] = []


@app.command(epilog=EPILOG)
def verify(
    data: Annotated[Path, typer.Argument(help="The data folder.")],
    *,
    dsn: Annotated[
        str, typer.Option(help="The ledger's server; without it the configured or own one.")
    ] = "",
    journal_only: Annotated[bool, typer.Option(help="Leave the ledger out.")] = False,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds that the ledger may take to catch up.")
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check that journal, snapshots and ledger agree; the exchange may run meanwhile."""
    from exchange.follower.replay import NoJournal
    from exchange.journal.errors import JournalError

    refuse_optimised()
    config = load_config(data)
    report = Report()
    try:
        run(config, report, dsn=None if journal_only else dsn, wait_s=wait)
    except JournalError as error:
        report.journal_ok = False
        report.differences.append(f"journal: {error}")
    except (NoJournal, OSError) as error:
        fail(str(error), EXIT_FAILED)
    if as_json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        _print(report)
    if report.differences:
        raise typer.Exit(EXIT_FAILED)


def run(config: Config, report: Report, *, dsn: str | None, wait_s: float) -> None:
    """Fill in the report; `dsn` None leaves the ledger out, "" finds its server.

    Raises NoJournal, and JournalDamaged for a journal that is not what was written.
    """
    from exchange.follower.replay import extent, records

    where = extent(config)
    report.market = next((record.market for record in records(where)), 0)
    if dsn is None:
        _read(config, where, report, None)
    else:
        _with_ledger(config, where, report, dsn, wait_s)


def _with_ledger(config: Config, where: Any, report: Report, dsn: str, wait_s: float) -> None:
    import contextlib

    import psycopg

    from exchange.ledger.verify import LedgerCheck, wait_for
    from exchange.supervisor.postgres import PostgresFailed

    report.ledger_ok = False
    with contextlib.ExitStack() as stack:
        try:
            address = _server(config, dsn, stack)
            ends = time.monotonic() + wait_s

            def waited() -> bool:
                time.sleep(POLL_S)
                return time.monotonic() < ends

            progress = wait_for(address, report.market, where.end, waited)
            report.ledger_position = progress.position
            if progress.position < where.end:
                report.differences.append(
                    f"ledger: at position {progress.position}, the journal at {where.end}"
                )
            if progress.position == 0:
                _read(config, where, report, None)
                return
            connection = stack.enter_context(psycopg.connect(address, connect_timeout=5))
            check = LedgerCheck(connection, report.market)
            # It may have gone on since; the journal it was written from is there to be read.
            where = where._replace(end=max(where.end, check.progress.position))
            report.ledger_position = check.progress.position
            behind = bool(report.differences)
            _read(config, where, report, check)
            report.differences += map(str, check.differences)
            report.ledger_ok = not behind and not check.differences
        except (psycopg.Error, PostgresFailed, FileNotFoundError) as error:
            report.differences.append(f"ledger: {error}".strip().replace("\n", " "))
            if not report.digest:
                _read(config, where, report, None)


def _read(config: Config, where: Any, report: Report, check: Any) -> None:
    """Read the whole journal and compare on the way what is to be compared at each place."""
    from exchange.commands.progress import bar
    from exchange.follower.collect import Collector
    from exchange.follower.replay import records
    from exchange.registry import Registry
    from matching_core.market import Market

    market = Market()
    collector = Collector(market, Registry(), where.first, 1)
    due = _snapshots(config, report.market, where.end)
    unfinished = check is not None
    agrees = True

    def arrive(position: int) -> None:
        """Compare what was taken at or before a position that has been reached."""
        nonlocal unfinished, agrees
        while due and due[0][0] <= position:
            _, what, digest = due.pop(0)
            report.snapshots += 1
            if digest != market.digest():
                agrees = False
                report.differences.append(f"{what}: is not the state that the journal gives there")
        if unfinished and check.progress.position <= position:
            check.finish(collector)
            unfinished = False

    with bar("verifying", where.end - where.first) as advance:
        for record in records(where):
            arrive(record.position)
            collector.add(record)
            if unfinished:
                check.seen(collector)
            elif collector.event_count:
                collector.take()
            report.position = record.end
            advance(record.end - where.first)
        report.position = where.end
        arrive(where.end)
    report.commands = market.seq
    report.digest = market.digest()
    report.journal_ok = agrees


def _snapshots(config: Config, number: int, upto: int) -> list[tuple[int, str, str]]:
    """Return (position, what, digest) of the follower's snapshots and last words, by position."""
    from exchange import snapshots

    found = []
    for path in snapshots.newest_first(config.snapshots_folder):
        position = int(path.stem)
        loaded = snapshots.load_newest(config.snapshots_folder, number, position)
        # One that another build wrote, or that is damaged, is passed over by everybody.
        if loaded.path == path and position <= upto:
            found.append((position, f"snapshot {path.name}", loaded.market.digest()))
    for process in ("exchange", "follower"):
        try:
            said = msgspec.json.decode((config.run_folder / f"{process}.json").read_bytes())
        except (OSError, msgspec.MsgspecError):
            continue  # it runs, or was killed: no last word
        if said.get("state") == "stopped" and said["position"] <= upto:
            found.append((said["position"], f"the {process}'s last digest", said["digest"]))
    return sorted(found)


def _server(config: Config, dsn: str, stack: Any) -> str:
    """Return where the ledger is; a server of our own that is not running is run meanwhile."""
    from exchange.ledger.main import dsn_of
    from exchange.supervisor.postgres import PostgresFailed, PostgresServer

    if dsn or config.postgres.dsn:
        return dsn or config.postgres.dsn
    if not (config.data / "postgres.json").exists():
        return dsn_of(config)  # none was ever made here, and this is no time to make one
    server = PostgresServer(config.data)
    try:
        stack.enter_context(server)
    except PostgresFailed:
        # `curb serve` holds it, and says where it is.
        return dsn_of(config)
    return server.dsn


def _print(report: Report) -> None:
    ledger = {None: "not asked", True: "ok", False: "DIFFERS"}[report.ledger_ok]
    typer.echo(
        f"journal {'ok' if report.journal_ok else 'DIFFERS'}: {report.commands} commands, "
        f"{report.position} bytes, {report.snapshots} snapshots compared, digest {report.digest}\n"
        f"ledger {ledger}: position {report.ledger_position}",
        err=True,
    )
    for difference in report.differences:
        typer.echo(difference, err=True)
