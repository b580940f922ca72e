"""A site's folder for the fake exchange, and a TLS certificate of its own."""

import socket
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from exchange import certificate
from schemas.bundle import save_bundle
from ssp_adapters.llama_server import Engine
from ssp_adapters.site_proxy.site import SiteProcess
from tests.fakes import market as small


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def enrol(exchange, folder: Path, port=0):
    """Write what enrolment writes, and tell the exchange of the endpoint; returns the endpoint."""
    port = port or free_port()
    endpoint = f"https://127.0.0.1:{port}"
    made = certificate.make(small.SITE, "127.0.0.1")
    folder.mkdir(exist_ok=True)
    (folder / "tls.key").write_bytes(made.key_pem)
    (folder / "tls.crt").write_bytes(made.certificate_pem)
    exchange.apply(small.site(endpoint, made.sha256))
    bundle = exchange.bundle_for(
        small.OPERATOR, "operator", number=9, sites=(small.SITE,), site=small.SITE
    )
    save_bundle(bundle, folder / "bundle.json")
    facts = Engine(
        site=small.SITE, model=small.MODEL, hardware="cpu", cost_in=20_000, cost_out=40_000
    )
    (folder / "engine.json").write_bytes(msgspec.json.encode(facts))
    return endpoint


@asynccontextmanager
async def served(folder, engine_url):
    """Serve the site within the running loop."""
    import asyncio

    site = SiteProcess(folder, engine_url, interval_s=0.05)
    try:
        await site.start()
    except BaseException:
        await site.close()
        raise
    stop = asyncio.Event()
    running = asyncio.create_task(site.run(stop, 5.0))
    try:
        yield site
    finally:
        stop.set()
        await running
