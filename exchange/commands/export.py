"""`curb export`: the journal of a data folder as a market file, its readable twin (MARKET_FILE.md).

`curb clear` of what it writes gives the same events and the same digest as `curb replay`.

Exit codes: 0 done; 1 the journal is missing or damaged, or a file cannot be written; 2 wrong usage. On
1 and 2 the output file is untouched.
"""

from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from exchange.commands.clear import STANDARD, open_output
from exchange.commands.common import EXIT_FAILED, fail, load_config
from schemas.commands import AnyCommand
from schemas.startup import refuse_optimised

EPILOG: Final = "Exit codes: 0 done, 1 journal missing or damaged, or no output, 2 wrong usage."

app = typer.Typer(add_completion=False)


@app.command(epilog=EPILOG)
def export(
    data: Annotated[Path, typer.Argument(help="The data folder.")],
    *,
    output: Annotated[
        str, typer.Option("--output", "-o", help="The market file; - is standard output.")
    ] = STANDARD,
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help='Also members, keys and sessions, in lines of type "note" that clear does not take.',
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="How much it was, as JSON on standard output, last.")
    ] = False,
) -> None:
    """Write the commands of a journal as a market file; the folder may be in use meanwhile."""
    from exchange import notes
    from exchange.commands.progress import bar
    from exchange.follower.replay import NoJournal, extent
    from exchange.follower.replay import export as run
    from exchange.journal.errors import JournalError
    from exchange.journal.record import Record
    from matching_core.market_file import format_command

    refuse_optimised()
    counts = {"commands": 0, "notes": 0}
    try:
        where = extent(load_config(data))
        with open_output(output) as sink, bar("exporting", where.end - where.first) as advance:
            assert sink is not None

            def command(found: AnyCommand) -> None:
                counts["commands"] += 1
                sink.write(format_command(found))

            def note(record: Record, found: notes.AnyNote) -> None:
                if everything:
                    counts["notes"] += 1
                    fields = msgspec.to_builtins(found)
                    line = {"type": "note", "at": record.at_ns, "note": fields.pop("n"), **fields}
                    sink.write(msgspec.json.encode(line) + b"\n")

            run(where, command, note, advance)
    except (JournalError, NoJournal, OSError) as error:
        fail(str(error), EXIT_FAILED)
    if as_json:
        typer.echo(msgspec.json.encode(counts))
