"""Ask the follower how a flagged bid is explained, over a connection of its own at its events door."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from schemas.channel import Link, RefusedError
from schemas.explanation import Explanation
from schemas.frames import ProtocolError, decode_server, encode_message
from schemas.link import AsyncioPump
from schemas.reasons import NAME_OF_REFUSED, REFUSED
from schemas.session.messages import Explain, Explained, Refused

_REPEAT_S: Final = 0.25  # a question that found no connection, or whose answer was lost
_BEHIND_S: Final = (
    0.01  # the follower has not come to the bid: it is milliseconds behind, if at all
)
_REQUEST_MAX: Final = 2**32 - 1


class Explanations:
    """Questions of one agent. The connection is made at the first of them."""

    def __init__(self, make_link: Callable[[], Link]) -> None:
        self._make_link = make_link
        self._link: Link | None = None
        self._pump: AsyncioPump | None = None
        self._request = 0
        self._waiting: dict[int, asyncio.Future[Explained]] = {}

    async def ask(self, bid: int, timeout_s: float) -> Explanation:
        """Return the explanation of a bid of this agent.

        Raises:
            RefusedError: `explain`: it was not flagged, was rejected, or is not kept any more; `rate`.
            TimeoutError: the follower did not answer, or did not come to the bid, in time.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                answer = await self._once(bid)
                if answer.explanation is not None:
                    return answer.explanation
                if answer.code != REFUSED["gap"]:
                    raise RefusedError(answer.code, NAME_OF_REFUSED.get(answer.code, ""))
                await asyncio.sleep(_BEHIND_S)

    def close(self) -> None:
        """Stop; questions under way are cancelled."""
        if self._pump is not None:
            self._pump.stop()
        if self._link is not None:
            self._link.close()
        self._link = self._pump = None
        for future in self._waiting.values():
            future.cancel()

    async def _once(self, bid: int) -> Explained:
        if self._link is None or self._pump is None:
            self._link = self._make_link()
            self._pump = AsyncioPump(self._link, self._on_frames, asyncio.get_running_loop())
        link, pump = self._link, self._pump
        self._request = self._request % _REQUEST_MAX + 1
        request = self._request
        payload = encode_message(Explain(request=request, bid=bid))
        future: asyncio.Future[Explained] = asyncio.get_running_loop().create_future()
        self._waiting[request] = future
        try:
            while not future.done():
                sent = link.send(payload)
                pump.kick()
                await asyncio.wait((future,), timeout=_REPEAT_S if sent else _BEHIND_S)
            return future.result()
        finally:
            del self._waiting[request]

    def _on_frames(self, frames: list[Any]) -> None:
        for frame in frames:
            try:
                message = decode_server(frame.buffer).message
            except ProtocolError:
                continue  # nothing that this door says: the question is asked again
            if isinstance(message, Explained):
                future = self._waiting.get(message.request)
                if future is not None and not future.done():
                    future.set_result(message)
            elif isinstance(message, Refused) and message.fatal:
                error = RefusedError(message.code, message.why)
                for future in self._waiting.values():
                    if not future.done():
                        future.set_exception(error)
