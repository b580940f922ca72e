"""From a bundle to an open client: the first of the three lines.

async with connect("buyer.bundle.json") as market:
    async for text in market.chat("smollm2-135m", "Say hello", max_latency_ms=5000):
        print(text, end="")
"""

import asyncio
import os
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from dsp_sdk.client import Client
from schemas import limits
from schemas.bundle import Bundle, load_bundle
from schemas.channel import SessionOverError
from schemas.link import new_context

ORIGIN_VARIABLE: Final = "CURB_ORIGIN"
CONNECT_S: Final = 10.0


class NoExchangeError(ConnectionError):
    """Say that nobody opened a session at an address in time."""


def connect(
    bundle: Bundle | Path | str,
    *,
    origin: str = "",
    timeout_s: float = CONNECT_S,
    cancel_after_ms: int = limits.CANCEL_AFTER_US_DEFAULT // 1_000,
) -> "Connecting":
    """Connect a buyer's agent by its bundle: `async with` the result, or await it.

    `origin` is the metro that requests come from; else $CURB_ORIGIN, else the bundle's. When the
    session was silent for `cancel_after_ms`, the exchange cancels this agent's bids at rest.

    Raises (when entered):
        BundleError: the file is no bundle. ValueError: it is not a buyer's.
        NoExchangeError: nobody opened a session in time. SessionOverError: it was refused.
    """
    return Connecting(bundle, origin, timeout_s, 1_000 * cancel_after_ms)


class Connecting:
    """What `connect` returns: `async with` it, or await it and close the client yourself."""

    def __init__(
        self, bundle: Bundle | Path | str, origin: str, timeout_s: float, cancel_after_us: int
    ) -> None:
        self._bundle = bundle
        self._origin = origin
        self._timeout_s = timeout_s
        self._cancel_after_us = cancel_after_us
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        """Connect."""
        return self._connect().__await__()

    async def _connect(self) -> Client:
        given = self._bundle
        bundle = given if isinstance(given, Bundle) else load_bundle(given)
        if bundle.role != "buyer":
            raise ValueError(f"{bundle!r} is not a buyer's bundle")
        origin = self._origin or os.environ.get(ORIGIN_VARIABLE, "") or bundle.origin
        client = Client(bundle, new_context(), origin, cancel_after_us=self._cancel_after_us)
        try:
            async with asyncio.timeout(self._timeout_s):
                await client.channel.opened()
        except TimeoutError:
            await client.close()
            raise NoExchangeError(
                f"no session at {bundle.commands_address} within {self._timeout_s:g} s: the address "
                "is wrong, the exchange is down, or this agent's key is not enrolled"
            ) from None
        except SessionOverError:
            await client.close()
            raise
        self._client = client
        return client

    async def __aenter__(self) -> Client:
        """Connect."""
        return await self._connect()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the client."""
        if self._client is not None:
            await self._client.close()
