"""`curb site enrol`: give a site its keys, its certificate and its place in the site directory."""

from pathlib import Path
from typing import Annotated

import typer

from exchange.commands.common import EPILOG, AsJson, Data, load_config, one_line_errors, show
from exchange.enrolment import enrol_site, host

app = typer.Typer(help="Enrol a site's own agent and write its bundle.")


@app.command(epilog=EPILOG)
def enrol(
    site: Annotated[str, typer.Argument(help="Name of a site that is known: OPERATOR/SITE.")],
    *,
    endpoint: Annotated[str, typer.Option(help="https:// address that buyers reach it under.")],
    agent: Annotated[
        int | None,
        typer.Option(min=0, max=4095, help="Agent number of the operator's; else one of its own."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for bundle and TLS key.")
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make the site's CURVE key, TLS certificate and token key, pin it, and write its folder."""
    config = load_config(data)
    folder = output or Path(site.replace("/", "-"))
    with one_line_errors(), host(config) as client:
        bundle = enrol_site(client, site, endpoint, folder, agent=agent)
    result = {
        "site": site,
        "member": bundle.member,
        "agent": bundle.agent,
        "folder": str(folder),
        "bundle": str(folder / "bundle.json"),
    }
    show(
        result, as_json=as_json, text=f"{site} enrolled as {bundle.member}#{bundle.agent}: {folder}"
    )
