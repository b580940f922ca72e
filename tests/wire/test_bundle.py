"""The bundle: one file, for its owner's eyes only, and an error that says what is wrong with it."""

import os
import stat
from typing import Any

import msgspec
import pytest

from schemas.bundle import Bundle, BundleError, load_bundle, save_bundle
from schemas.link import new_keypair

PUBLIC, SECRET = new_keypair()
SERVER, _ = new_keypair()


def bundle(**fields):
    body: dict[str, Any] = (
        {
            "member": "acme", "role": "operator", "agent": 3, "sites": ("acme/one",),
            "public_key": PUBLIC, "secret_key": SECRET, "server_key": SERVER,
            "commands_address": "tcp://127.0.0.1:7700", "market": 9, "site": "acme/one",
            "site_handle": 1, "token_keys": {"1": "ab" * 32},
        }
        | fields
    )  # fmt: skip
    return Bundle(**body)


def test_a_saved_bundle_is_read_back_and_only_its_owner_may(tmp_path):
    path = tmp_path / "acme.bundle.json"
    old = os.umask(0)
    try:
        save_bundle(bundle(), path)
    finally:
        os.umask(old)
    assert load_bundle(path) == bundle()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    save_bundle(bundle(agent=4), path)
    assert load_bundle(path).agent == 4
    assert load_bundle(path).token_key_bytes == {1: b"\xab" * 32}


def test_a_bundle_that_others_may_read_is_refused(tmp_path):
    path = save_bundle(bundle(), tmp_path / "b.json")
    for mode in (0o640, 0o604, 0o644):
        path.chmod(mode)
        with pytest.raises(BundleError, match="chmod 600"):
            load_bundle(path)


@pytest.mark.parametrize(
    "change,words",
    [
        ({"secret_key": "short"}, r"secret_key"),
        ({"role": "king"}, r"role"),
        ({"agent": 4096}, r"agent"),
        ({"kind": "curb bundle 2"}, r"kind"),
        ({"token_keys": {"1": "zz"}}, r"token_keys"),
        ({"member": None}, r"member"),
    ],
)
def test_what_is_wrong_is_named_without_the_secret(tmp_path, change, words):
    path = tmp_path / "b.json"
    save_bundle(bundle(), path)
    body = msgspec.json.decode(path.read_bytes()) | change
    path.write_bytes(msgspec.json.encode(body))
    with pytest.raises(BundleError, match=words) as error:
        load_bundle(path)
    assert str(path) in str(error.value)
    assert SECRET not in str(error.value)


def test_no_bundle_no_json_no_place(tmp_path):
    with pytest.raises(BundleError, match="No such file"):
        load_bundle(tmp_path / "absent")
    (tmp_path / "b").write_bytes(b"\xff{")
    (tmp_path / "b").chmod(0o600)
    with pytest.raises(BundleError, match="no JSON"):
        load_bundle(tmp_path / "b")
    with pytest.raises(BundleError, match="No such file"):
        save_bundle(bundle(), tmp_path / "nowhere" / "b")


def test_a_bundle_in_a_log_shows_no_secret():
    for text in (repr(bundle()), str(bundle()), f"{bundle()}"):
        assert SECRET not in text
        assert "ab" * 32 not in text
