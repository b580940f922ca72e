"""`curb replay`: run the journal of a data folder through a core again, offline.

Exit codes: 0 done; 1 the journal is missing or damaged (place and reason on standard error), or a file
cannot be written; 2 wrong usage. On 1 and 2 the events file is untouched.
"""

import time
from pathlib import Path
from typing import Annotated, Final

import typer

from exchange.commands.clear import AsJson, EngineName, EventsFile, Summary, open_output
from exchange.commands.common import EXIT_FAILED, fail, load_config
from matching_core.engines import COMPILED
from matching_core.market_file import format_events
from schemas import events as e
from schemas.startup import refuse_optimised

EPILOG: Final = "Exit codes: 0 done, 1 journal missing or damaged, or no output, 2 wrong usage."

app = typer.Typer(add_completion=False)


@app.command(epilog=EPILOG)
def replay(
    data: Annotated[Path, typer.Argument(help="The data folder.")],
    *,
    events: EventsFile = None,
    engine: EngineName = COMPILED,
    json_summary: AsJson = False,
) -> None:
    """Run the journal of a data folder through a core; it may be in use meanwhile."""
    from exchange.commands.progress import bar
    from exchange.follower.replay import NoJournal, extent
    from exchange.follower.replay import replay as run
    from exchange.journal.errors import JournalError

    refuse_optimised()
    summary = Summary()
    started = time.perf_counter()
    try:
        where = extent(load_config(data))
        with open_output(events) as output, bar("replaying", where.end - where.first) as advance:

            def happened(found: list[e.AnyEvent]) -> None:
                for event in found:
                    summary.count(event)
                if output is not None and found:
                    output.write(format_events(found))

            core = run(where, engine, happened, advance)
    except (JournalError, NoJournal, OSError) as error:
        fail(str(error), EXIT_FAILED)
    summary.commands = core.seq
    summary.end(core, time.perf_counter() - started)
    summary.tell(as_json=json_summary)
