"""`curb halt`: a standing order of one authority; another's halt is not touched."""

import typer

from exchange.commands.common import EPILOG, AsJson, Data
from exchange.commands.halting import By, Name, Scope, give
from schemas import commands

app = typer.Typer()


@app.command(epilog=EPILOG)
def halt(
    scope: Scope, name: Name = "", *, by: By = "admin", data: Data = None, as_json: AsJson = False
) -> None:
    """Stop the exchange, an operator, a site, a model or a buyer; journaled like every command."""
    give(commands.Halt, scope, name, by, data, as_json=as_json)
