"""What the host's commands share: the data folder option, errors as one line, exit codes."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import msgspec
import typer

from exchange import config as configuration
from exchange.config import Config
from exchange.enrolment import EnrolmentError
from exchange.host_client import HostError
from schemas.bundle import BundleError
from schemas.link import LinkError

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EPILOG: Final = "Exit codes: 0 done, 1 refused or not reached, 2 wrong usage or configuration."

Data = Annotated[
    Path | None, typer.Option("--data", help="Data folder of the exchange on this host.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def load_config(data: Path | None) -> Config:
    """Read the settings of the host's exchange; exits 2 with one line when they are wrong."""
    try:
        return configuration.load(None, os.environ, data)
    except (configuration.ConfigError, OSError) as error:
        fail(str(error), EXIT_USAGE)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what can go wrong at the host into one line and exit code 1."""
    try:
        yield
    except (HostError, EnrolmentError, BundleError, LinkError, OSError) as error:
        fail(str(error), EXIT_FAILED)


def fail(why: str, code: int) -> NoReturn:
    """Say why on standard error and exit."""
    typer.echo(f"curb: {why}", err=True)
    raise typer.Exit(code)


def show(result: dict[str, Any], *, as_json: bool, text: str) -> None:
    """Print a result for programs or for people."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
    else:
        typer.echo(text)
