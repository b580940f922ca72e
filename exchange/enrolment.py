"""Enrol members and sites from the exchange's host: keys, the enrolment itself, the bundle.

The secret keys are made here and go into the bundle only; the exchange learns the public one.
"""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from exchange import certificate
from exchange.config import Config
from exchange.host_client import HostClient, HostError
from exchange.identity import write_private
from exchange.supervisor.service import bundle_path
from schemas import commands
from schemas.bundle import Bundle, save_bundle
from schemas.limits import AGENT_MAX
from schemas.link import new_keypair
from schemas.reasons import NAME_OF_REFUSED, NAME_OF_REJECTED
from schemas.session.messages import MemberAdd, OrderAnswer

BUNDLE_NAME: Final = "bundle.json"
KEY_NAME: Final = "tls.key"
CERTIFICATE_NAME: Final = "tls.crt"
FOLDER_MODE: Final = 0o700


class EnrolmentError(RuntimeError):
    """The exchange did not take the enrolment; says which part and why."""


def host(config: Config, role: str = "admin") -> HostClient:
    """Return a client of the host's own admin or verifier; raises HostError without a bundle."""
    path = bundle_path(config, role)
    if not path.exists():
        raise HostError(f"{path}: missing: has this data folder been served yet?")
    return HostClient(path)


def describe(answer: OrderAnswer) -> str:
    """Return the reason of an answer by name, and what was said about it."""
    name = NAME_OF_REFUSED.get(answer.code) or NAME_OF_REJECTED.get(answer.code) or "refused"
    return f"{name}: {answer.why}" if answer.why else name


def add_member(
    client: HostClient,
    member: str,
    role: str,
    *,
    agent: int = 0,
    sites: tuple[str, ...] = (),
    units_per_second: int = 0,
    origin: str = "",
) -> Bundle:
    """Enrol a new key of a member's agent and return its bundle; raises EnrolmentError."""
    public, secret = new_keypair()
    answer = client.message(
        MemberAdd(
            member=member,
            role=role,
            agent=agent,
            public_key=public,
            sites=sites,
            units_per_second=units_per_second,
        )
    )
    if answer.code:
        raise EnrolmentError(f"{member}: {describe(answer)}")
    own = client.bundle
    fields = {
        "member": member, "role": role, "agent": agent, "sites": sites, "public_key": public,
        "secret_key": secret, "server_key": own.server_key,
        "commands_address": own.commands_address, "events_address": own.events_address,
        "tape_address": own.tape_address, "market": own.market, "origin": origin,
    }  # fmt: skip
    return msgspec.convert(fields, Bundle)


def enrol_site(
    client: HostClient, site: str, endpoint: str, folder: Path, *, agent: int | None = None
) -> Bundle:
    """Enrol a site's own agent: certificate, pinned in the site directory, token key, bundle.

    The site must be known. Without a number its agent gets one that no other site has: counted down
    from the highest by the site's handle, away from those that people give. Writes the bundle, the TLS key and the certificate into `folder`.
    Raises EnrolmentError, HostError.
    """
    host_name = urlsplit(endpoint).hostname
    if urlsplit(endpoint).scheme != "https" or not host_name:
        raise EnrolmentError(f"endpoint: {endpoint} is no https:// address")
    entries = client.lookup("site", (site,)).entries
    if not entries:
        raise EnrolmentError(f"site: {site} is not known: apply its `site` command first")
    known = msgspec.msgpack.decode(entries[0].detail, type=commands.AnyCommand)
    assert isinstance(known, commands.Site)
    if agent is None:
        agent = AGENT_MAX + 1 - entries[0].handle
        if agent < 1:
            raise EnrolmentError("agent: give a number that no other agent of the operator has")
    made = certificate.make(site, host_name)
    bundle = add_member(client, known.operator, "operator", agent=agent, sites=(site,))
    pinned = msgspec.structs.replace(
        known, endpoint=endpoint.rstrip("/"), endpoint_sha256=made.sha256
    )
    answer = client.order(pinned)
    if answer.code:
        raise EnrolmentError(f"site: {describe(answer)}")
    token = client.site_key(site)
    if not token.key:
        raise EnrolmentError(f"site: {site}: no token key was given")
    bundle = msgspec.structs.replace(
        bundle,
        site=site,
        site_handle=token.site_handle,
        token_keys={str(token.key_id): token.key.hex()},
    )
    folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
    write_private(folder / KEY_NAME, made.key_pem)
    write_private(folder / CERTIFICATE_NAME, made.certificate_pem)
    save_bundle(bundle, folder / BUNDLE_NAME)
    return bundle
