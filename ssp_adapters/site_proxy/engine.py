"""The engine behind the proxy: an OpenAI-compatible server on this host or next to it.

After a streamed answer llama.cpp drops about half of its connections though it announces keep-alive:
every call closes its own, and is made once more when not a byte came.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import msgspec

from schemas import limits
from schemas.chat import EventReader, Meter, StreamError
from ssp_adapters.contract import Sample
from ssp_adapters.llama_server import Engine as EngineFacts
from ssp_adapters.llama_server import Traffic
from ssp_adapters.llama_server.read import Timing

CHAT: Final = "/v1/chat/completions"
MODELS: Final = "/v1/models"
_SAMPLED: Final = ("/metrics", "/slots", "/props")
_TIMINGS: Final = 256
_TIMING_AGE_NS: Final = 600 * 10**9
_PROBES: Final = 3
_PROBE_EVERY_NS: Final = 60 * 10**9
_PROBE: Final = {
    "messages": [{"role": "user", "content": "Name a colour."}],
    "max_tokens": 4,
    "stream": True,
    "stream_options": {"include_usage": True},
}
_CONNECT_S: Final = 5.0
_SILENCE_S: Final = 60.0
_SAMPLE_S: Final = 5.0
_FIRST_TRY, _LAST_TRY = 1, 2


class EngineError(Exception):
    """The engine did not answer, or answered something else than a chat; no byte was passed on."""


class EngineAnswer:
    """One answer under way: iterate `pieces` for its bytes; `status` and `content_type` are the engine's."""

    def __init__(self, response: aiohttp.ClientResponse, first: bytes) -> None:
        self.status = response.status
        self.content_type = response.headers.get("Content-Type", "application/json")
        self._response = response
        self._first = first

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give the bytes as they come. Raises aiohttp.ClientError when the stream breaks."""
        yield self._first
        async for piece in self._response.content.iter_any():
            yield piece


class Engine:
    """Talk to the engine at `url`; count and time what this proxy sends it."""

    def __init__(
        self, url: str, model: str, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.url = url.rstrip("/")
        self.model = model  # as the engine calls it; "" until `find_model`
        self.in_flight = 0
        self.draining = False
        self._clock_ns = clock_ns
        self._timings: deque[tuple[int, Timing]] = deque(maxlen=_TIMINGS)
        self._probed_ns: int | None = None
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S)
        # No limit of its own: the fills are the limit.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self._http = aiohttp.ClientSession(connector=connector, timeout=timeout)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def find_model(self) -> str:
        """Return what the engine calls its model. Raises EngineError."""
        if not self.model:
            try:
                async with self._http.get(self.url + MODELS) as response:
                    known = msgspec.json.decode(await response.read())
                self.model = str(known["data"][0]["id"])
            except (aiohttp.ClientError, TimeoutError, LookupError, TypeError, ValueError) as error:
                raise EngineError(f"{self.url}{MODELS}: {error}") from None
        return self.model

    @asynccontextmanager
    async def ask(self, body: bytes) -> AsyncIterator[EngineAnswer]:
        """Send one chat and give its answer once its first bytes are here; one retry before those.

        Raises:
            EngineError: twice not a byte came.
        """
        self.in_flight += 1
        try:
            for attempt in (_FIRST_TRY, _LAST_TRY):
                try:
                    response = await self._http.post(
                        self.url + CHAT,
                        data=body,
                        headers={"Content-Type": "application/json", "Connection": "close"},
                    )
                    first = await response.content.readany()
                    if not first:
                        response.close()
                        raise EngineError("the engine closed without an answer")  # noqa: TRY301
                except (aiohttp.ClientError, TimeoutError, EngineError) as error:
                    if attempt == _LAST_TRY:
                        raise EngineError(f"{type(error).__name__}: {error}") from None
                    continue
                try:
                    yield EngineAnswer(response, first)
                finally:
                    # Closed and not released: an engine whose reader is gone stops generating.
                    response.close()
                return
        finally:
            self.in_flight -= 1

    def note(self, ttft_us: int, tokens_in: int) -> None:
        """Keep what a request took from the engine's side: µs to the first content."""
        timing = Timing(min(ttft_us, limits.LATENCY_US_MAX), min(tokens_in, limits.TOKENS_MAX))
        self._timings.append((self._clock_ns(), timing))

    # ------------------------------------------------------------------------- the adapter's source
    async def documents(self) -> tuple[Sample, ...]:
        """Return what the engine says of itself, and what was measured here. Raises OSError."""
        traffic = self._traffic()
        samples = [Sample(source="traffic", text=msgspec.json.encode(traffic).decode())]
        try:
            async with asyncio.timeout(_SAMPLE_S):
                for path in _SAMPLED:
                    async with self._http.get(self.url + path) as response:
                        response.raise_for_status()
                        samples.append(Sample(source=self.url + path, text=await response.text()))
        except (aiohttp.ClientError, TimeoutError, UnicodeError) as error:
            raise OSError(f"{self.url}: {type(error).__name__}: {error}") from None
        return tuple(samples)

    def _traffic(self) -> Traffic:
        now_ns = self._clock_ns()
        while len(self._timings) > _PROBES and now_ns - self._timings[0][0] > _TIMING_AGE_NS:
            self._timings.popleft()
        timings = tuple(timing for _, timing in self._timings)
        return Traffic(in_flight=self.in_flight, timings=timings, draining=self.draining)

    async def probe(self) -> None:
        """Time the engine where no traffic of late has. Raises EngineError."""
        now_ns = self._clock_ns()
        newest_ns = self._timings[-1][0] if self._timings else None
        idle = newest_ns is None or now_ns - newest_ns >= _PROBE_EVERY_NS
        if not idle or self.in_flight:
            return
        for _ in range(_PROBES if self._probed_ns is None else 1):
            await self._probe_once()
        self._probed_ns = now_ns

    async def _probe_once(self) -> None:
        body = msgspec.json.encode({**_PROBE, "model": self.model})
        meter, reader = Meter(), EventReader()
        asked_ns = self._clock_ns()
        async with self.ask(body) as answer:
            try:
                async for piece in answer.pieces():
                    now_ns = self._clock_ns()
                    for data in reader.feed(piece):
                        meter.event(data, now_ns)
            except (aiohttp.ClientError, StreamError, TimeoutError) as error:
                raise EngineError(f"{type(error).__name__}: {error}") from None
        if meter.first_content_ns is not None:
            self.note((meter.first_content_ns - asked_ns) // 1_000, meter.tokens_in)


class EngineSource:
    """The five documents of the `llama_server` adapter."""

    def __init__(self, engine: Engine, facts: EngineFacts) -> None:
        self._engine = engine
        self._facts = Sample(source="engine", text=msgspec.json.encode(facts).decode())

    async def read(self) -> tuple[Sample, ...]:
        """Return the documents as they are now; probes first where nothing was timed. Raises OSError."""
        try:
            await self._engine.probe()
        except EngineError as error:
            raise OSError(str(error)) from None
        return (self._facts, *await self._engine.documents())
