"""`curb apply`: give the commands of a market file to a running exchange, as admin or verifier."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import typer
from rich.progress import Progress

from exchange.commands.common import (
    EPILOG,
    EXIT_FAILED,
    EXIT_USAGE,
    AsJson,
    Data,
    fail,
    load_config,
    one_line_errors,
    show,
)
from exchange.enrolment import describe, host
from matching_core.market_file import parse_command
from schemas.commands import AnyCommand, FieldError

app = typer.Typer(help="Give the commands of a market file to the exchange on this host.")
_SHOWN_MAX = 20


@app.command(epilog=EPILOG)
def apply(
    file: Annotated[Path, typer.Argument(help="Market file; - for standard input.")],
    *,
    role: Annotated[Literal["admin", "verifier"], typer.Option("--as")] = "admin",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Give every line in order. `at` is the sequencer's: what a line says is passed over.

    A line that is no valid command stops everything before the first one is sent (exit 2). A
    command that is refused or rejected is named and the rest goes on (exit 1 at the end).
    """
    config = load_config(data)
    try:
        given = list(_read(file))
    except FieldError as error:
        typer.echo(str(error), err=True)  # FILE:LINE: field, as `curb clear` says it
        raise typer.Exit(EXIT_USAGE) from None
    except OSError as error:
        fail(str(error), EXIT_USAGE)
    refused: list[tuple[int, str]] = []
    with one_line_errors(), host(config, role) as client, Progress(disable=as_json) as progress:
        task = progress.add_task(f"as {role}", total=len(given))
        answers = client.orders(given, lambda done: progress.update(task, completed=done))
        for line, answer in enumerate(answers, start=1):
            if answer.code:
                refused.append((line, describe(answer)))
    for line, why in refused[:_SHOWN_MAX]:
        typer.echo(f"{file}:{line}: {why}", err=True)
    result = {
        "commands": len(given),
        "applied": len(given) - len(refused),
        "refused": dict(Counter(why for _, why in refused)),
    }
    show(result, as_json=as_json, text=f"{result['applied']} of {len(given)} commands applied")
    if refused:
        raise typer.Exit(EXIT_FAILED)


def _read(file: Path) -> Iterator[AnyCommand]:
    if str(file) == "-":
        yield from _lines(sys.stdin.buffer, "-")
        return
    with file.open("rb") as lines:
        yield from _lines(lines, str(file))


def _lines(lines: BinaryIO, name: str) -> Iterator[AnyCommand]:
    for number, line in enumerate(lines, start=1):
        try:
            yield _command(line)
        except FieldError as error:
            raise FieldError(f"{name}:{number}: {error.field}", _why(error)) from None


def _command(line: bytes) -> AnyCommand:
    try:
        return parse_command(line)
    except FieldError as error:
        # A file written for this command need not make times up.
        if error.field != "at" or "missing" not in str(error):
            raise
        return parse_command(b'{"at":0,' + line.lstrip().removeprefix(b"{"))


def _why(error: FieldError) -> str:
    return str(error).removeprefix(f"{error.field}: ")
