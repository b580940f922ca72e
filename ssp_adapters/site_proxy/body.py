"""What a fill lets through to the engine: one answer, of at most the declared tokens (pure)."""

import json
from typing import Any, Final, NamedTuple

from schemas.token import Token
from ssp_adapters.site_proxy.admission import NotAdmitted, refusal

# Every engine has switches of its own that lift a limit (`n_predict`, `min_tokens`, `best_of`). What
# is not known here is refused by name, not dropped: an answer to another question is worse than none.
PASSED: Final = frozenset(
    {
        "messages", "temperature", "top_p", "stop", "seed", "frequency_penalty",
        "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "response_format", "tools",
        "tool_choice", "parallel_tool_calls", "user",
    }
)  # fmt: skip
_SET_HERE: Final = frozenset(
    {"model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n"}
)
# The longest tokens of current vocabularies are some dozen bytes. A prompt with more bytes than this
# per declared token cannot be within the fill; how much it really is, only the engine counts.
_BYTES_PER_TOKEN_MAX: Final = 64


class Prepared(NamedTuple):
    """A body for the engine."""

    body: bytes
    stream: bool


def prepare(raw: bytes, token: Token, engine_model: str) -> Prepared | NotAdmitted:
    """Turn a client's body into the engine's: model and limits are set here, whatever it says."""
    try:
        given: Any = json.loads(raw)
    except (ValueError, RecursionError):
        return refusal("request", "the body is no JSON")
    if not isinstance(given, dict) or not isinstance(given.get("messages"), list):
        return refusal("request", "the body is no chat: an object with messages is wanted")
    for name in given:
        if name not in PASSED and name not in _SET_HERE:
            return refusal("request", f"{name[:60]}: not passed on to the engine")
    if given.get("n", 1) != 1:
        return refusal("request", "n: a fill is one answer")
    if len(raw) > _BYTES_PER_TOKEN_MAX * (token.tokens_in + 64):
        return refusal("request", f"messages: more than the {token.tokens_in} tokens of the fill")
    wanted = token.tokens_out
    for name in ("max_tokens", "max_completion_tokens"):
        value = given.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            return refusal("request", f"{name}: not a count of tokens")
        wanted = min(wanted, value)
    stream = given.get("stream", False)
    if not isinstance(stream, bool):
        return refusal("request", "stream: true or false")
    body = {name: value for name, value in given.items() if name in PASSED}
    # 0 tokens out is a fill for the prompt alone; engines take 0 for "no limit" or refuse it.
    body |= {"model": engine_model, "stream": stream, "max_tokens": max(1, wanted)}
    if stream:
        body["stream_options"] = {"include_usage": True}
    return Prepared(json.dumps(body, ensure_ascii=False).encode(), stream)
