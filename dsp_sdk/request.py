"""Use a fill: one HTTPS request to its site, admitted by its token, streamed and metered.

The site's certificate is its own; the exchange's directory gives its SHA-256, and nothing else is
trusted (WIRE.md, "Fill token"). What this side meters is what it later says in `complete`.
"""

import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import aiohttp

from dsp_sdk.results import Fill
from schemas.chat import EventReader, Meter, StreamError

PATH: Final = "/v1/chat/completions"
_US: Final = 1_000
_ERROR_BYTES_MAX: Final = 65_536
_FINGERPRINT_BYTES: Final = 32


class ServeError(Exception):
    """What every failure of a request at a site is. `started`: the site admitted it before it failed.

    A fill that never started can be released; one that started is completed with what was metered.
    """

    def __init__(self, why: str, *, started: bool) -> None:
        super().__init__(why)
        self.started = started


class SiteRefusedError(ServeError):
    """The site answered, but did not serve: HTTP `status`, and its numbered reason (0: none)."""

    def __init__(self, status: int, reason: int, why: str, *, started: bool) -> None:
        super().__init__(f"the site answered {status}: {why}", started=started)
        self.status = status
        self.reason = reason


class SiteUnreachableError(ServeError):
    """The site could not be reached, its certificate is another, or the stream broke."""


def bearer(token: bytes) -> str:
    """Return the HTTP header value that carries a fill token."""
    return "Bearer " + base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def fingerprint(sha256_hex: str) -> aiohttp.Fingerprint:
    """Return what aiohttp compares a certificate with.

    Raises:
        SiteUnreachableError: the directory holds no SHA-256: nothing to pin means no connection.
    """
    try:
        digest = bytes.fromhex(sha256_hex)
    except ValueError:
        digest = b""
    if len(digest) != _FINGERPRINT_BYTES:
        raise SiteUnreachableError("the site has no certificate to pin", started=False)
    return aiohttp.Fingerprint(digest)


class SiteRequest:
    """One streamed chat completion under one fill. Iterate it once for the text as it arrives.

    `meter` counts on this side. `ttft_us` is from sending the request to the first content, 0 while
    there is none. `started`: the site admitted the request, so the fill cannot be released any more.
    """

    def __init__(
        self, http: aiohttp.ClientSession, fill: Fill, body: Mapping[str, Any],
        clock_ns: Callable[[], int],
    ) -> None:  # fmt: skip
        self.fill = fill
        self.meter = Meter()
        self.started = False
        self._http = http
        self._body = body
        self._clock_ns = clock_ns
        self._sent_ns = 0

    @property
    def ttft_us(self) -> int:
        """Time to the first content in µs, the connection's set-up included."""
        first_ns = self.meter.first_content_ns
        return 0 if first_ns is None else (first_ns - self._sent_ns) // _US

    @property
    def tokens_in(self) -> int:
        """Tokens of the prompt to complete with: as metered, but never above what was declared."""
        return min(self.meter.tokens_in, self.fill.tokens_in)

    @property
    def tokens_out(self) -> int:
        """Tokens of the answer to complete with, likewise."""
        return min(self.meter.tokens_out, self.fill.tokens_out)

    async def __aiter__(self) -> AsyncIterator[str]:
        """Send the request and give the text piece by piece.

        Raises:
            SiteRefusedError: the site did not admit it, or its engine failed.
            SiteUnreachableError: no connection, another certificate, or the stream broke.
        """
        pin = fingerprint(self.fill.endpoint_sha256)
        body = {
            **self._body,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        headers = {"Authorization": bearer(self.fill.token), "Accept": "text/event-stream"}
        url = self.fill.endpoint.rstrip("/") + PATH
        self._sent_ns = self._clock_ns()
        try:
            async with self._http.post(url, json=body, headers=headers, ssl=pin) as response:
                if response.status != 200:
                    raise await _refusal(response)
                self.started = True
                reader = EventReader()
                async for piece in response.content.iter_any():
                    now_ns = self._clock_ns()
                    for data in reader.feed(piece):
                        text = self.meter.event(data, now_ns)
                        if text:
                            yield text
        except aiohttp.ClientError as error:
            raise SiteUnreachableError(_why(error), started=self.started) from None
        except TimeoutError:
            raise SiteUnreachableError("the site did not answer", started=self.started) from None
        except StreamError as error:
            raise SiteRefusedError(200, 0, str(error), started=True) from None
        if not self.meter.finished:
            raise SiteUnreachableError("the stream ended early", started=True)


async def _refusal(response: aiohttp.ClientResponse) -> SiteRefusedError:
    raw = await response.content.read(_ERROR_BYTES_MAX)
    reason, why = 0, response.reason or ""
    try:
        error = json.loads(raw)["error"]
        why = str(error.get("message", why))
        code = error.get("code")
        reason = code if isinstance(code, int) else 0
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    # 403: the token was not admitted, so nothing started. Later failures come after the start.
    started = response.headers.get("X-Curb-Started") == "1"
    return SiteRefusedError(response.status, reason, why, started=started)


def _why(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        return "the site's certificate is not the one that the exchange's directory names"
    return f"{type(error).__name__}: {error}"
