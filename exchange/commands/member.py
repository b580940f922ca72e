"""`curb member add` and `curb member revoke`: who may connect, from the exchange's host."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from exchange.commands.common import (
    EPILOG,
    EXIT_USAGE,
    AsJson,
    Data,
    fail,
    load_config,
    one_line_errors,
    show,
)
from exchange.enrolment import EnrolmentError, add_member, describe, host
from exchange.host_client import HostClient
from schemas import commands
from schemas.bundle import save_bundle
from schemas.lists import MEMBER_ROLES
from schemas.session.messages import MemberRevoke

app = typer.Typer(help="Enrol members' agents and revoke their keys.", no_args_is_help=True)


@app.command(epilog=EPILOG)
def add(
    member: Annotated[str, typer.Argument(help="The member's name, without a slash.")],
    *,
    role: Annotated[Literal["operator", "buyer", "verifier", "admin"], typer.Option()],
    agent: Annotated[int, typer.Option(min=0, max=4095, help="Number of the agent.")] = 0,
    site: Annotated[list[str] | None, typer.Option(help="A site it speaks for; repeat.")] = None,
    sites_file: Annotated[
        Path | None, typer.Option(help="File of sites it speaks for, one a line.")
    ] = None,
    deposit: Annotated[
        int, typer.Option(min=0, help="Micro-dollars to deposit for the member.")
    ] = 0,
    transfer: Annotated[int, typer.Option(min=1, help="Number of that transfer.")] = 1,
    origin: Annotated[str, typer.Option(help="A buyer's metro, kept in the bundle.")] = "",
    units_per_second: Annotated[int, typer.Option(min=0)] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the bundle goes.")
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Enrol an agent of a member with a new key, and write its bundle (mode 600)."""
    config = load_config(data)
    if deposit and role not in MEMBER_ROLES:
        fail(f"--deposit: a {role} has no account", EXIT_USAGE)
    with one_line_errors(), host(config) as client:
        sites = tuple(site or ())
        if sites_file is not None:
            sites += tuple(sites_file.read_text("utf-8").split())
        bundle = add_member(
            client,
            member,
            role,
            agent=agent,
            sites=sites,
            units_per_second=units_per_second,
            origin=origin,
        )
        # At once: the key before it is void now, and this one is nowhere else.
        path = save_bundle(bundle, output or Path(f"{member}-{agent}.bundle.json"))
        if deposit:
            _deposit(client, member, role, transfer, deposit)
    result = {"member": member, "role": role, "agent": agent, "bundle": str(path)}
    show(result, as_json=as_json, text=f"{member}#{agent} enrolled as {role}: {path}")


@app.command(epilog=EPILOG)
def revoke(
    member: Annotated[str, typer.Argument()],
    *,
    public_key: Annotated[str, typer.Option(help="One key; without it all of the member.")] = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Revoke keys of a member: its sessions are cut and their cancels made."""
    config = load_config(data)
    with one_line_errors(), host(config) as client:
        answer = client.message(MemberRevoke(member=member, public_key=public_key))
        if answer.code:
            raise EnrolmentError(f"{member}: {describe(answer)}")
    show({"member": member, "revoked": True}, as_json=as_json, text=f"{member}: revoked")


def _deposit(client: HostClient, member: str, role: str, transfer: int, micro_dollars: int) -> None:
    command = commands.Deposit(
        at=0,
        role="operator" if role == "operator" else "buyer",
        member=member,
        transfer=transfer,
        amount=1000 * micro_dollars,
    )
    answer = client.order(command)
    if answer.code:
        raise EnrolmentError(f"deposit: {describe(answer)}")
