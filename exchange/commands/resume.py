"""`curb resume`: a standing order of one authority; another's halt is not touched."""

import typer

from exchange.commands.common import EPILOG, AsJson, Data
from exchange.commands.halting import By, Name, Scope, give
from schemas import commands

app = typer.Typer()


@app.command(epilog=EPILOG)
def resume(
    scope: Scope, name: Name = "", *, by: By = "admin", data: Data = None, as_json: AsJson = False
) -> None:
    """Lift a halt of the exchange, an operator, a site, a model or a buyer; journaled like every command."""
    give(commands.Resume, scope, name, by, data, as_json=as_json)
