"""`curb site serve`: put a site's engine on the market, behind its own proxy."""

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

EXIT_CANNOT_SERVE: Final = 1


def app(
    folder: Annotated[
        Path,
        typer.Argument(help="The site's folder from enrolment: bundle.json, tls.key, tls.crt."),
    ],
    engine: Annotated[
        str, typer.Option(help="Address of the OpenAI-compatible engine, http://HOST:PORT.")
    ] = "http://127.0.0.1:8080",
    listen: Annotated[
        str, typer.Option(help="HOST:PORT to listen on; default: the site's endpoint.")
    ] = "",
    engine_model: Annotated[
        str, typer.Option(help="What the engine calls its model; default: ask it.")
    ] = "",
    json_output: Annotated[
        bool, typer.Option("--json", help="Say everything as JSON lines on standard output.")
    ] = False,
) -> None:
    """Serve a site: admit fills, stream and meter their requests, keep its offers standing.

    The folder must also hold engine.json, what the operator says of the engine (site, model,
    hardware, precision, cost_in, cost_out), and may hold policy.json, how it asks. Exit codes: 0
    stopped by SIGTERM or SIGINT, 1 it cannot serve (said on standard error), 2 wrong usage.
    """
    import asyncio
    import json
    import logging

    from schemas.bundle import BundleError
    from schemas.channel import ChannelError
    from schemas.link import LinkError
    from schemas.startup import refuse_optimised
    from ssp_adapters.site_proxy.engine import EngineError
    from ssp_adapters.site_proxy.journal import JournalFailedError
    from ssp_adapters.site_proxy.site import SiteError, serve

    refuse_optimised()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )

    def tell(what: dict[str, Any]) -> None:
        if json_output:
            text = json.dumps(what)
        else:
            text = ", ".join(f"{name} {value}" for name, value in what.items())
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    try:
        asyncio.run(serve(folder, engine, listen, engine_model, tell))
    except (
        SiteError, BundleError, LinkError, EngineError, ChannelError, JournalFailedError, OSError,
        LookupError,
    ) as error:  # fmt: skip
        sys.stderr.write(f"curb site serve: {error}\n")
        raise typer.Exit(EXIT_CANNOT_SERVE) from None
