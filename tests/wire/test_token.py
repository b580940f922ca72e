"""The fill token: its bytes, its key, and everything for which a site does not admit it."""

import hashlib
import hmac

import numpy as np
import pytest

from schemas.records import EVENT_RECORD, FILL_RECORD, TOKEN_BYTES
from schemas.token import (
    BODY_BYTES,
    TOKEN_LAYOUT,
    Token,
    TokenChecker,
    TokenMaker,
    TokenRefused,
    hkdf_sha256,
    site_key,
)

SECRET = bytes(range(32))
MARKET, SITE = 0x01020304, 77
FILL = {
    "fill": 123_456_789,
    "site": SITE,
    "offer": 12,
    "model": 3,
    "adapter": 0,
    "tokens_in": 1_000,
    "tokens_out": 200,
}
LEASE_UNTIL_NS = 1_700_000_005_000_000_000
DEADLINE_NS = 1_700_000_003_000_000_000

# RFC 5869, appendix A.1 to A.3: the vectors with SHA-256.
RFC_5869 = [
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        42,
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        82,
        (
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e"
            "590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
    ),
    (
        "0b" * 22,
        "",
        "",
        42,
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


@pytest.fixture(scope="module")
def maker():
    return TokenMaker(SECRET, MARKET)


@pytest.fixture(scope="module")
def token(maker):
    return maker.make(**FILL, lease_until_ns=LEASE_UNTIL_NS)


@pytest.fixture(scope="module")
def checker():
    return TokenChecker({1: site_key(SECRET, MARKET, SITE)}, MARKET, SITE)


@pytest.mark.parametrize("secret,salt,info,length,output", RFC_5869)
def test_keys_are_derived_as_rfc_5869_says(secret, salt, info, length, output):
    secret, salt, info = map(bytes.fromhex, (secret, salt, info))
    derived = hkdf_sha256(secret, salt, info, length)
    assert derived.hex() == output


def test_hkdf_gives_255_hashes_and_no_byte_more():
    assert len(hkdf_sha256(SECRET, b"", b"", 255 * 32)) == 255 * 32
    with pytest.raises(ValueError, match="255"):
        hkdf_sha256(SECRET, b"", b"", 255 * 32 + 1)


def test_a_token_is_the_bytes_that_the_document_says(token):
    """Built here by hand from WIRE.md, field by field, with nothing of the code's own packing."""
    body = b"".join(
        value.to_bytes(size, "little")
        for value, size in [
            (1, 1), (1, 1), (MARKET, 4), (FILL["fill"], 8), (SITE, 4), (12, 2), (3, 4), (0, 4),
            (1_000, 4), (200, 4), (DEADLINE_NS, 8),
        ]
    )  # fmt: skip
    info = b"curb fill token" + MARKET.to_bytes(4, "little") + SITE.to_bytes(4, "little") + b"\x01"
    extracted = hmac.new(bytes(32), SECRET, hashlib.sha256).digest()
    key = hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()
    assert site_key(SECRET, MARKET, SITE) == key
    assert token == body + hashlib.blake2b(body, key=key, digest_size=16).digest()
    assert len(token) == TOKEN_BYTES == 60


def test_a_site_admits_a_token_until_its_deadline_and_not_at_it(token, checker):
    admitted = checker.check(token, DEADLINE_NS - 1)
    assert admitted == Token(key_id=1, market=MARKET, **FILL, deadline_ns=DEADLINE_NS)
    assert checker.check(token, DEADLINE_NS) == TokenRefused("deadline")


def test_no_altered_bit_is_served(token, checker):
    """Every bit of the token, one at a time."""
    for bit in range(8 * len(token)):
        altered = bytearray(token)
        altered[bit // 8] ^= 1 << bit % 8
        refused = checker.check(bytes(altered), 0)
        assert isinstance(refused, TokenRefused)
        expected = {0: "version", 1: "key"}.get(bit // 8, "mac")
        assert refused.reason == expected


@pytest.mark.parametrize("length", [*range(60), 61, 120])
def test_no_other_length_is_served(token, checker, length):
    assert checker.check((token * 2)[:length], 0) == TokenRefused("length")


def test_what_is_wrong_first_is_said(token):
    """Reasons in order: a token's words are believed only after its MAC."""
    key = site_key(SECRET, MARKET, SITE)
    late = DEADLINE_NS
    assert TokenChecker({2: key}, MARKET, SITE).check(token, late) == TokenRefused("key")
    other = site_key(SECRET, MARKET, SITE + 1)
    assert TokenChecker({1: other}, MARKET, SITE).check(token, late) == TokenRefused("mac")
    assert TokenChecker({1: key}, MARKET + 1, SITE).check(token, late) == TokenRefused("market")
    assert TokenChecker({1: key}, MARKET, SITE + 1).check(token, late) == TokenRefused("site")
    assert TokenChecker({1: key}, MARKET, SITE).check(token, late) == TokenRefused("deadline")


@pytest.mark.parametrize(
    "secret,market,site,key_id",
    [
        (SECRET[::-1], MARKET, SITE, 1),
        (SECRET, MARKET + 1, SITE, 1),
        (SECRET, MARKET, SITE + 1, 1),
        (SECRET, MARKET, SITE, 2),
    ],
)
def test_every_part_of_a_key_matters(secret, market, site, key_id):
    assert site_key(secret, market, site, key_id) != site_key(SECRET, MARKET, SITE, 1)


def test_two_keys_of_a_site_overlap():
    """Rotation: while a site knows the old key and the new, tokens of both are served."""
    both = TokenChecker({n: site_key(SECRET, MARKET, SITE, n) for n in (1, 2)}, MARKET, SITE)
    for key_id in (1, 2):
        made = TokenMaker(SECRET, MARKET, key_id).make(**FILL, lease_until_ns=LEASE_UNTIL_NS)
        admitted = both.check(made, 0)
        assert isinstance(admitted, Token)
        assert admitted.key_id == key_id


@pytest.mark.parametrize("dtype", [FILL_RECORD, EVENT_RECORD])
def test_tokens_made_together_are_those_made_alone(maker, dtype):
    """Both processes make the same token, one from a status, the other from its own core."""
    rows = np.zeros(50, dtype)
    for name in FILL:
        limit = min(2**31, int(np.iinfo(dtype[name]).max))
        rows[name] = np.random.default_rng(1).integers(0, limit, 50)
    rows["lease_until"] = LEASE_UNTIL_NS + np.arange(50)
    together = maker.make_all(rows)
    assert together.shape == (50, 60)
    target = bytearray(70)
    for row, made in zip(rows, together, strict=True):
        fields = {name: int(row[name]) for name in FILL}
        until = int(row["lease_until"])
        alone = maker.make(**fields, lease_until_ns=until)
        assert made.tobytes() == alone
        maker.make_into(target, 5, **fields, lease_until_ns=until)
        assert target[5:65] == alone
    assert target[:5] == bytes(5)
    assert maker.make_all(rows[:0]).shape == (0, 60)


def test_short_secrets_and_keys_are_refused():
    for short in (b"", SECRET[:31]):
        with pytest.raises(ValueError, match="32"):
            site_key(short, MARKET, SITE)
        with pytest.raises(ValueError, match="32"):
            TokenMaker(short, MARKET)
        with pytest.raises(ValueError, match="32"):
            TokenChecker({1: short}, MARKET, SITE)
    with pytest.raises(ValueError, match="at least one"):
        TokenChecker({}, MARKET, SITE)


def test_the_packed_layout_is_the_array_layout():
    assert TOKEN_LAYOUT.itemsize == TOKEN_BYTES
    assert TOKEN_LAYOUT.fields is not None
    assert TOKEN_LAYOUT.fields["mac"][1] == BODY_BYTES == 44
