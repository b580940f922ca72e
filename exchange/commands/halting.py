"""What `curb halt` and `curb resume` share: each lifts or sets its own authority's halt alone."""

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from exchange.commands.common import EXIT_USAGE, fail, load_config, one_line_errors, show
from exchange.enrolment import EnrolmentError, describe, host
from schemas import commands

Scope = Annotated[
    Literal["exchange", "operator", "site", "model", "buyer"],
    typer.Argument(help="What is halted."),
]
Name = Annotated[str, typer.Argument(help="Its name; none for the exchange.")]
By = Annotated[Literal["admin", "verifier", "risk"], typer.Option("--by", help="The authority.")]
ROLE_OF: Final = {"admin": "admin", "risk": "admin", "verifier": "verifier"}


def give(
    kind: type[commands.Halt] | type[commands.Resume],
    scope: Literal["exchange", "operator", "site", "model", "buyer"],
    name: str,
    by: Literal["admin", "verifier", "risk"],
    data: Path | None,
    *,
    as_json: bool,
) -> None:
    """Give one halt or resume as the host's admin or verifier; exits 1 when it is refused."""
    config = load_config(data)
    try:
        command = kind(at=0, scope=scope, name=name, by=by)
    except commands.FieldError as error:
        fail(str(error), EXIT_USAGE)
    with one_line_errors():
        with host(config, ROLE_OF[by]) as client:
            answer = client.order(command)
        if answer.code:
            raise EnrolmentError(describe(answer))
    verb = commands.name_of(command)
    what = f"{scope} {name}".strip()
    result = {"command": verb, "scope": scope, "name": name, "by": by, "seq": answer.seq}
    show(result, as_json=as_json, text=f"{verb}: {what} by {by}, sequence number {answer.seq}")
