"""An OpenAI-style streamed answer: server-sent events to pieces of text, and what was metered.

Buyer and operator meter the same bytes with the same code: where two meters disagree by more than
the tolerance a fill is disputed and earns nobody anything (MARKET.md §8).
"""

from typing import Any, Final

import msgspec

DONE: Final = b"[DONE]"
EVENT_BYTES_MAX: Final = 1 << 20  # one event; a longer one is a broken or hostile engine


class StreamError(ValueError):
    """Say that a stream is not what an OpenAI-compatible engine sends."""


class EventReader:
    """Cut a byte stream into the data of its events (WHATWG HTML, "Server-sent events").

    Fed in pieces of any size. Lines end in LF or CRLF; comments and fields other than `data` are
    passed over.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the data of each event that this piece completes.

        Raises:
            StreamError: an event is longer than EVENT_BYTES_MAX.
        """
        *lines, self._rest = (self._rest + piece).split(b"\n")
        events = []
        for line in lines:
            stripped = line.removesuffix(b"\r")
            if not stripped:
                if self._data:
                    events.append(b"\n".join(self._data))
                self._data, self._size = [], 0
            elif stripped.startswith(b"data:"):
                value = stripped[5:].removeprefix(b" ")
                self._data.append(value)
                self._size += len(value)
        if self._size + len(self._rest) > EVENT_BYTES_MAX:
            raise StreamError(f"an event has more than {EVENT_BYTES_MAX} bytes")
        return events


class Usage(msgspec.Struct, frozen=True):
    """What the engine itself counted."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[Any] | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, frozen=True):
    choices: list[_Choice] = []
    usage: Usage | None = None
    error: msgspec.Raw | None = None


_decoder = msgspec.json.Decoder(_Chunk)


class Meter:
    """Count the tokens of one answer, streamed or whole, and notice its first content.

    `tokens_out` is what the engine's usage says, else the number of chunks that carried content (an
    engine sends a token a chunk). `tokens_in` is usage's too, 0 while unknown. The first content is
    the first that is not empty: the chunk that opens an answer carries only a role.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.chunks_count = 0
        self.finished = False
        self.first_content_ns: int | None = None

    @property
    def tokens_in(self) -> int:
        """Tokens of the prompt as the engine counted them; 0 while it has not said."""
        return self.usage.prompt_tokens if self.usage else 0

    @property
    def tokens_out(self) -> int:
        """Tokens of the answer so far."""
        return self.usage.completion_tokens if self.usage else self.chunks_count

    def event(self, data: bytes, now_ns: int) -> str:
        """Take the data of one event and return its text, "" where it has none.

        Raises:
            StreamError: it is no JSON object of a chat stream, or the engine reports an error.
        """
        if data == DONE:
            self.finished = True
            return ""
        return self._take(data, now_ns)

    def whole(self, body: bytes, now_ns: int) -> str:
        """Take an answer that was not streamed and return its text. Raises as `event`."""
        text = self._take(body, now_ns)
        self.finished = True
        return text

    def _take(self, data: bytes, now_ns: int) -> str:
        try:
            chunk = _decoder.decode(data)
        except (msgspec.MsgspecError, ValueError) as error:
            raise StreamError(f"not a chunk of a chat: {error}") from None
        if chunk.error is not None:
            raise StreamError(f"the engine failed: {bytes(chunk.error).decode(errors='replace')}")
        if chunk.usage is not None:
            self.usage = chunk.usage
        text = ""
        carried = False
        for choice in chunk.choices:
            part = choice.delta or choice.message or _Delta()
            text += part.content or choice.text or ""
            carried = carried or bool(
                part.content or choice.text or part.reasoning_content or part.tool_calls
            )
        if carried:
            self.chunks_count += 1
            if self.first_content_ns is None:
                self.first_content_ns = now_ns
        return text
