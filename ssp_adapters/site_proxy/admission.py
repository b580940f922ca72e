"""Who is let in: a request's fill token, judged by the site alone (pure; WIRE.md, "Fill token")."""

import base64
import binascii
from collections.abc import Container, Mapping
from typing import Final, NamedTuple

from schemas.reasons import ADMISSION
from schemas.token import Token, TokenChecker, TokenRefused

_SCHEME: Final = "bearer "
_TOKEN_CHARACTERS: Final = 80
_WHY: Final = {
    "token": "no fill token: send Authorization: Bearer TOKEN",
    "version": "the token has a version that is not served",
    "key": "the token was made under a key that this site does not hold",
    "mac": "the token was altered, or is another site's",
    "market": "the token is of another market",
    "site": "the token is another site's",
    "deadline": "the token's time is over",
    "used": "the token was used",
    "voided": "the fill was given back",
    "start": "the exchange did not take the start: the lease was over",
    "model": "the fill is of a model or adapter that is not served here",
    "draining": "the site is shutting down",
    "engine": "the engine failed; the fill was declined",
}


class NotAdmitted(NamedTuple):
    """Why a request is not served: a name of `reasons.ADMISSION`, and words for people."""

    reason: str
    why: str

    @property
    def code(self) -> int:
        """The reason's number."""
        return ADMISSION[self.reason]


def refusal(reason: str, why: str = "") -> NotAdmitted:
    """Return a refusal with the usual words for its reason."""
    return NotAdmitted(reason, why or _WHY[reason])


def token_of(authorization: str) -> bytes | None:
    """Return the token of an Authorization header; None when there is none in it."""
    if authorization[: len(_SCHEME)].lower() != _SCHEME:
        return None
    text = authorization[len(_SCHEME) :].strip()
    if len(text) != _TOKEN_CHARACTERS or not text.isascii():
        return None
    try:
        return base64.b64decode(text.encode(), altchars=b"-_", validate=True)
    except binascii.Error:
        return None


def admit(
    authorization: str,
    checker: TokenChecker,
    *,
    now_ns: int,
    used: Container[int],
    voided: Container[int],
    models: Mapping[int, str],
) -> Token | NotAdmitted:
    """Judge a request by its header: its token, or why it is not admitted.

    `models`: handles of the models served here. Nothing of a token is believed before its MAC.
    """
    raw = token_of(authorization)
    if raw is None:
        return refusal("token")
    token = checker.check(raw, now_ns)
    if isinstance(token, TokenRefused):
        return refusal("token" if token.reason == "length" else token.reason)
    if token.fill in used:
        return refusal("used")
    if token.fill in voided:
        return refusal("voided")
    if token.model not in models or token.adapter:
        return refusal("model")
    return token
