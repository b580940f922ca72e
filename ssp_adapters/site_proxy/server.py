"""The HTTPS door of a site: one path, fill tokens only, streams passed through as they come."""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
from aiohttp import web

from schemas.chat import EventReader, Meter, StreamError
from schemas.token import Token, TokenChecker
from ssp_adapters.site_proxy.admission import NotAdmitted, admit, refusal
from ssp_adapters.site_proxy.body import Prepared, prepare
from ssp_adapters.site_proxy.engine import CHAT, Engine, EngineAnswer, EngineError
from ssp_adapters.site_proxy.journal import JournalFailedError, SiteJournal
from ssp_adapters.site_proxy.settle import Settlements

_log: Final = logging.getLogger("curb.site")
STARTED_HEADER: Final = "X-Curb-Started"
_BODY_BYTES_MAX: Final = 16 << 20
_STATUS: Final = {"request": 400, "draining": 503, "engine": 502}  # 403 for every other reason
_SHUTDOWN_S: Final = 5.0


class Door:
    """Serve requests under fills. `models` maps handles of models to what the engine calls them.

    `on_started(fill)` is told, before the first byte, that a fill's request runs.
    """

    def __init__(
        self,
        checker: TokenChecker,
        journal: SiteJournal,
        settlements: Settlements,
        engine: Engine,
        models: Mapping[int, str],
        on_started: Callable[[int], None],
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.draining = False
        self.counts = {"served": 0, "refused": 0, "broken": 0, "tokens_out": 0}
        self._checker = checker
        self._journal = journal
        self._settlements = settlements
        self._engine = engine
        self._models = models
        self._on_started = on_started
        self._clock_ns = clock_ns
        self._wall_ns = wall_ns
        self._running: set[asyncio.Future[None]] = set()
        self._runner: web.AppRunner | None = None

    # ------------------------------------------------------------------------- the listener
    async def listen(self, host: str, port: int, certificate: Path, key: Path) -> int:
        """Listen with TLS; returns the port, which the system chose for 0. Raises OSError, SSLError."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        app = web.Application(client_max_size=_BODY_BYTES_MAX)
        app.router.add_post(CHAT, self._chat)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, ssl_context=context)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def drain(self, patience_s: float) -> None:
        """Admit nothing more, and wait for what runs."""
        self.draining = True
        if self._running:
            await asyncio.wait(set(self._running), timeout=patience_s)

    async def close(self) -> None:
        """Close the listener and every connection."""
        if self._runner is not None:
            await self._runner.cleanup()

    # ------------------------------------------------------------------------- one request
    async def _chat(self, request: web.Request) -> web.StreamResponse:
        if self.draining:
            return self._refuse(refusal("draining"))
        token = self._admit(request)
        if isinstance(token, NotAdmitted):
            return self._refuse(token)
        engine_model = self._models[token.model]
        try:
            prepared = prepare(await request.read(), token, engine_model)
        except web.HTTPRequestEntityTooLarge:
            prepared = refusal("request", "the body is too large")
        if isinstance(prepared, NotAdmitted):
            return self._refuse(prepared)
        # The body took its time: the fill may have been given back or used meanwhile.
        token = self._admit(request)
        if isinstance(token, NotAdmitted):
            return self._refuse(token)
        try:
            if not await self._journal.use(token.fill, token.deadline_ns):
                return self._refuse(refusal("used"))
        except JournalFailedError as error:
            _log.error("%s", error)  # the trace says nothing more
            return self._refuse(refusal("draining", "the site's disk failed"))
        running: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running.add(running)
        try:
            return await self._serve(request, token, prepared)
        finally:
            self._running.discard(running)
            running.set_result(None)

    def _admit(self, request: web.Request) -> Token | NotAdmitted:
        return admit(
            request.headers.get("Authorization", ""),
            self._checker,
            now_ns=self._wall_ns(),
            used=self._journal.used,
            voided=self._journal.voided,
            models=self._models,
        )

    async def _serve(
        self, request: web.Request, token: Token, prepared: Prepared
    ) -> web.StreamResponse:
        """Serve an admitted request. From here on the fill ends in a completion or a decline."""
        started = self._settlements.begin(token.fill)
        self._on_started(token.fill)
        passing = _Passing(self._clock_ns, stream=prepared.stream, tokens_max=token.tokens_out)
        why = ""
        serving = asyncio.ensure_future(self._pass(request, prepared, passing))
        started.add_done_callback(lambda told: None if told.result() else serving.cancel())
        try:
            await serving
        except EngineError as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001 -- the fill must come to an end
            # Whatever it was: a fill that is neither completed nor declined holds its slot for ever.
            _log.exception("fill %s", token.fill)
            why = f"{type(error).__name__}: {error}"
            passing.abort()
        except asyncio.CancelledError:
            if not (started.done() and not started.result()):
                serving.cancel()
                await asyncio.shield(self._end(token, passing, ""))
                raise
        return await asyncio.shield(self._finish(token, passing, why, started))

    async def _finish(
        self, token: Token, passing: "_Passing", why: str, started: "asyncio.Future[bool]"
    ) -> web.StreamResponse:
        await self._end(token, passing, why)
        if started.done() and not started.result():
            if passing.response is None:
                return self._refuse(refusal("start"), started=True)
            passing.abort()
        if passing.response is None:
            _log.warning("fill %s: %s", token.fill, why)
            return self._refuse(refusal("engine"), started=True)
        return passing.response

    async def _end(self, token: Token, passing: "_Passing", why: str) -> None:
        if passing.response is None and why:
            self.counts["broken"] += 1
            await self._settlements.decline(token.fill, "failed")
            return
        tokens_in = min(passing.meter.tokens_in, token.tokens_in)
        tokens_out = min(passing.meter.tokens_out, token.tokens_out)
        self.counts["served"] += 1
        self.counts["tokens_out"] += tokens_out
        await self._settlements.complete(token.fill, tokens_in, tokens_out, passing.ttft_us)

    async def _pass(self, request: web.Request, prepared: Prepared, passing: "_Passing") -> None:
        """Pass the answer through and meter it. A client that left ends it, and is no error."""
        async with self._engine.ask(prepared.body) as answer:
            if answer.status != 200:
                text = b"".join([piece async for piece in answer.pieces()])[:300]
                raise EngineError(f"status {answer.status}: {text.decode(errors='replace')}")
            try:
                await passing.through(request, answer)
            except ConnectionResetError:
                _log.info("a client left before its answer ended")
                passing.left = True
            except (aiohttp.ClientError, StreamError, TimeoutError) as error:
                _log.warning("the engine broke off: %s: %s", type(error).__name__, error)
                passing.abort()
        if passing.meter.first_content_ns is not None and not passing.left:
            self._engine.note(passing.ttft_us, passing.meter.tokens_in)

    def _refuse(self, why: NotAdmitted, *, started: bool = False) -> web.Response:
        self.counts["refused"] += 1
        error = {"message": why.why, "type": "curb_" + why.reason, "param": None, "code": why.code}
        return web.Response(
            status=_STATUS.get(why.reason, 403),
            body=msgspec.json.encode({"error": error}),
            content_type="application/json",
            headers={STARTED_HEADER: "1"} if started else {},
        )


class _Passing:
    """One answer on its way to the client: the response, once begun, and its meter."""

    def __init__(self, clock_ns: Callable[[], int], *, stream: bool, tokens_max: int) -> None:
        self.meter = Meter()
        self.response: web.StreamResponse | None = None
        self.left = False
        self._clock_ns = clock_ns
        self._stream = stream
        self._tokens_max = tokens_max
        self._asked_ns = clock_ns()
        self._request: web.Request | None = None

    @property
    def ttft_us(self) -> int:
        """From the request to the engine to its first content, in µs; 0 while there is none."""
        first_ns = self.meter.first_content_ns
        return 0 if first_ns is None else (first_ns - self._asked_ns) // 1_000

    async def through(self, request: web.Request, answer: EngineAnswer) -> None:
        """Write the engine's bytes to the client as they come.

        Raises:
            ConnectionResetError: the client left. aiohttp.ClientError: the engine did.
        """
        self._request = request
        response = web.StreamResponse(
            headers={
                "Content-Type": answer.content_type,
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
                STARTED_HEADER: "1",
            }
        )
        await response.prepare(request)
        self.response = response
        reader = EventReader()
        whole = bytearray()
        async for piece in answer.pieces():
            now_ns = self._clock_ns()
            if self._stream:
                for data in reader.feed(piece):
                    self.meter.event(data, now_ns)
            else:
                whole += piece
            await response.write(piece)
            # `max_tokens` bounds it; an engine that does not keep to it is not the buyer's gain.
            if self.meter.usage is None and self.meter.chunks_count > self._tokens_max + 1:
                break
        if not self._stream:
            self.meter.whole(bytes(whole), self._clock_ns())
        await response.write_eof()

    def abort(self) -> None:
        """Cut the connection: the client must see that the answer is not whole."""
        if self._request is not None and self._request.transport is not None:
            self._request.transport.abort()
