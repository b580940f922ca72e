"""The fill token: what lets a site admit one request without asking anyone (WIRE.md).

    version u8 · key_id u8 · market u32 · fill u64 · site u32 · offer u16 · model u32 · adapter u32 ·
    tokens_in u32 · tokens_out u32 · deadline i64 (ns) · MAC 16 bytes          = 60, little-endian

The MAC is BLAKE2b (RFC 7693) of the 44 bytes before it, 16 bytes long, keyed with the site's key.
The site's key is HKDF-SHA-256 (RFC 5869) of the exchange's secret; a site never sees the secret.
"""

import hashlib
import hmac
import struct
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np

from schemas.limits import TOKEN_MARGIN_NS
from schemas.records import FILL_RECORD, TOKEN_BYTES

TOKEN_VERSION: Final = 1
KEY_BYTES: Final = 32
SECRET_BYTES_MIN: Final = 32
MAC_BYTES: Final = 16
KEY_ID_START: Final = 1

_BODY = struct.Struct("<BBIQIHIIIIq")
BODY_BYTES: Final = _BODY.size
_TOKEN = np.dtype(
    [
        ("version", "u1"), ("key_id", "u1"), ("market", "<u4"), ("fill", "<u8"), ("site", "<u4"),
        ("offer", "<u2"), ("model", "<u4"), ("adapter", "<u4"), ("tokens_in", "<u4"),
        ("tokens_out", "<u4"), ("deadline", "<i8"), ("mac", "u1", (MAC_BYTES,)),
    ]
)  # fmt: skip
TOKEN_LAYOUT: Final = _TOKEN
_FROM_FILL: Final = (
    "fill", "site", "offer", "model", "adapter", "tokens_in", "tokens_out",
)  # fmt: skip
_INFO: Final = b"curb fill token"
_INFO_TAIL = struct.Struct("<IIB")

assert BODY_BYTES + MAC_BYTES == TOKEN_BYTES == _TOKEN.itemsize

# In the order in which they are looked for: nothing of a token is believed before its MAC.
Reason: TypeAlias = Literal["length", "version", "key", "mac", "market", "site", "deadline"]


class Token(NamedTuple):
    """What a valid token says. `deadline_ns` is its lease's end less two seconds."""

    key_id: int
    market: int
    fill: int
    site: int
    offer: int
    model: int
    adapter: int
    tokens_in: int
    tokens_out: int
    deadline_ns: int


class TokenRefused(NamedTuple):
    """Why a site does not admit a token."""

    reason: Reason


def hkdf_sha256(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """Derive `length` bytes from a secret by HKDF with SHA-256 (RFC 5869, 2.2 and 2.3).

    Raises:
        ValueError: more than 255 hashes' worth of bytes are asked for.
    """
    size = hashlib.sha256().digest_size
    if length > 255 * size:
        raise ValueError("HKDF gives at most 255 hashes")
    key = hmac.digest(salt or bytes(size), secret, "sha256")
    block, output = b"", b""
    for counter in range(1, -(-length // size) + 1):
        block = hmac.digest(key, block + info + bytes((counter,)), "sha256")
        output += block
    return output[:length]


def site_key(secret: bytes, market: int, site: int, key_id: int = KEY_ID_START) -> bytes:
    """Derive the 32-byte key of one site (by handle); the info is a label and the three numbers.

    Raises:
        ValueError: the secret has less than 32 bytes.
    """
    if len(secret) < SECRET_BYTES_MIN:
        raise ValueError(f"the exchange's secret has at least {SECRET_BYTES_MIN} bytes")
    return hkdf_sha256(secret, b"", _INFO + _INFO_TAIL.pack(market, site, key_id), KEY_BYTES)


class TokenMaker:
    """Make tokens of one market. Keyed states are kept per site: a copy costs less than a key."""

    def __init__(self, secret: bytes, market: int, key_id: int = KEY_ID_START) -> None:
        if len(secret) < SECRET_BYTES_MIN:
            raise ValueError(f"the exchange's secret has at least {SECRET_BYTES_MIN} bytes")
        self._secret = secret
        self._market = market
        self._key_id = key_id
        self._states: dict[int, hashlib.blake2b] = {}

    @property
    def market(self) -> int:
        """The market of all its tokens."""
        return self._market

    @property
    def key_id(self) -> int:
        """The number of the keys that it seals with."""
        return self._key_id

    def site_key(self, site: int) -> bytes:
        """Return the key that the tokens of a site (by handle) are sealed with."""
        return site_key(self._secret, self._market, site, self._key_id)

    def _state(self, site: int) -> hashlib.blake2b:
        state = self._states.get(site)
        if state is None:
            state = hashlib.blake2b(key=self.site_key(site), digest_size=MAC_BYTES)
            self._states[site] = state
        return state

    def make_into(
        self,
        target: bytearray | memoryview,
        offset: int,
        *,
        fill: int,
        site: int,
        offer: int,
        model: int,
        adapter: int,
        tokens_in: int,
        tokens_out: int,
        lease_until_ns: int,
    ) -> None:
        """Write one token of 60 bytes at `offset`; handles as on the wire."""
        deadline = lease_until_ns - TOKEN_MARGIN_NS
        _BODY.pack_into(
            target, offset, TOKEN_VERSION, self._key_id, self._market, fill, site, offer, model,
            adapter, tokens_in, tokens_out, deadline,
        )  # fmt: skip
        end = offset + BODY_BYTES
        mac = self._state(site).copy()
        mac.update(memoryview(target)[offset:end])
        target[end : end + MAC_BYTES] = mac.digest()

    def make(
        self,
        *,
        fill: int,
        site: int,
        offer: int,
        model: int,
        adapter: int,
        tokens_in: int,
        tokens_out: int,
        lease_until_ns: int,
    ) -> bytes:
        """Return one token of 60 bytes; handles as on the wire."""
        token = bytearray(TOKEN_BYTES)
        self.make_into(
            token, 0, fill=fill, site=site, offer=offer, model=model, adapter=adapter,
            tokens_in=tokens_in, tokens_out=tokens_out, lease_until_ns=lease_until_ns,
        )  # fmt: skip
        return bytes(token)

    def make_all(self, rows: np.ndarray) -> np.ndarray:
        """Make the tokens of many fills at once.

        `rows` is any structured array with the columns fill, site, offer, model, adapter,
        tokens_in, tokens_out and lease_until (ns): FILL_RECORD, EVENT_RECORD and the core's event
        rows all have them. Returns `uint8[n, 60]`, to be assigned to a `token` column.
        """
        tokens = np.zeros(len(rows), _TOKEN)
        tokens["version"] = TOKEN_VERSION
        tokens["key_id"] = self._key_id
        tokens["market"] = self._market
        for name in _FROM_FILL:
            tokens[name] = rows[name]
        tokens["deadline"] = rows["lease_until"] - TOKEN_MARGIN_NS
        raw = bytearray(tokens.tobytes())
        view = memoryview(raw)
        for offset, site in zip(
            range(0, len(raw), TOKEN_BYTES), tokens["site"].tolist(), strict=True
        ):
            end = offset + BODY_BYTES
            mac = self._state(site).copy()
            mac.update(view[offset:end])
            view[end : end + MAC_BYTES] = mac.digest()
        return np.frombuffer(raw, np.uint8).reshape(-1, TOKEN_BYTES)


class TokenChecker:
    """Judge tokens at a site, from its keys alone.

    Whether a token was used before, or voided by `releasing`, only the site's own records can say.
    """

    def __init__(self, keys: Mapping[int, bytes], market: int, site: int) -> None:
        self._states = {
            key_id: hashlib.blake2b(key=key, digest_size=MAC_BYTES) for key_id, key in keys.items()
        }
        if not self._states or any(len(key) != KEY_BYTES for key in keys.values()):
            raise ValueError(f"a site has at least one token key, of {KEY_BYTES} bytes")
        self._market = market
        self._site = site

    def check(self, token: bytes | memoryview, now_ns: int) -> Token | TokenRefused:
        """Judge a token at a moment: what it says, or why it is refused."""
        if len(token) != TOKEN_BYTES:
            return TokenRefused("length")
        raw = bytes(token)
        if raw[0] != TOKEN_VERSION:
            return TokenRefused("version")
        state = self._states.get(raw[1])
        if state is None:
            return TokenRefused("key")
        mac = state.copy()
        mac.update(raw[:BODY_BYTES])
        if not hmac.compare_digest(mac.digest(), raw[BODY_BYTES:]):
            return TokenRefused("mac")
        found = Token(*_BODY.unpack_from(raw)[1:])
        if found.market != self._market:
            return TokenRefused("market")
        if found.site != self._site:
            return TokenRefused("site")
        if now_ns >= found.deadline_ns:
            return TokenRefused("deadline")
        return found


assert {*_FROM_FILL, "lease_until"} <= set(FILL_RECORD.names or ())
