"""`curb serve`: run the exchange of a data folder until it is told to stop."""

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.console import Console

from exchange import config as configuration
from exchange.identity import IdentityError
from exchange.supervisor.postgres import PostgresFailed
from exchange.supervisor.processes import ProcessFailed
from exchange.supervisor.service import Service, StartStopped, bundle_path

app = typer.Typer(help="Run the exchange, follower, ledger writer and PostgreSQL of a data folder.")
EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 2


@app.command(epilog="Exit codes: 0 stopped, 1 a process could not be started, 2 configuration.")
def serve(
    data: Annotated[Path | None, typer.Argument(help="Data folder; made when missing.")] = None,
    *,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Report in JSON lines.")] = False,
) -> None:
    """Serve until SIGINT or SIGTERM."""
    try:
        settings = configuration.load(config, configuration.environment(), data)
    except (configuration.ConfigError, OSError) as error:
        typer.echo(f"curb serve: {error}", err=True)
        raise typer.Exit(EXIT_CONFIG) from None
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    say = _Reporter(as_json=as_json)
    try:
        with Service(settings, config, say.heard, patient=True, stop=stop) as service:
            addresses = service.addresses
            say.ready(
                {
                    "ready": True,
                    "market": service.identity.market,
                    "commands": addresses.commands,
                    "events": addresses.events,
                    "tape": addresses.tape,
                    "http": f"http://{addresses.http}",
                    "admin_bundle": str(bundle_path(settings, "admin")),
                }
            )
            service.watch(stop)
    except StartStopped:
        return
    except configuration.ConfigError as error:
        typer.echo(f"curb serve: {error}", err=True)
        raise typer.Exit(EXIT_CONFIG) from None
    except (ProcessFailed, PostgresFailed, IdentityError, OSError) as error:
        typer.echo(f"curb serve: {error}", err=True)
        raise typer.Exit(EXIT_FAILED) from None


class _Reporter:
    """Says what the processes report, for people or for programs."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(stderr=True, highlight=False)

    def heard(self, fields: dict[str, Any]) -> None:
        if self._as_json:
            _print_json(fields)
        elif "died" in fields:
            place = fields.get("log", "")
            self._console.print(
                f"[red]{fields['process']}[/] ended ({fields['died']}), starting it again {place}"
            )
        elif "late" in fields:
            self._console.print(
                f"[yellow]{fields['process']}[/] is not ready yet; trading goes on. {fields['log']}"
            )
        elif "progress" in fields:
            self._console.print(
                f"[dim]{fields['process']}[/] {fields['progress']} "
                f"{fields['done']}/{fields['total']}"
            )

    def ready(self, fields: dict[str, Any]) -> None:
        if self._as_json:
            _print_json(fields)
            return
        self._console.print(f"[green]ready[/] market {fields['market']}")
        for name in ("commands", "events", "tape", "http", "admin_bundle"):
            self._console.print(f"  {name:13}{fields[name]}")


def _print_json(fields: dict[str, Any]) -> None:
    sys.stdout.write(msgspec.json.encode(fields).decode() + "\n")
    sys.stdout.flush()
