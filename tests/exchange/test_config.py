"""Settings: one file, the environment over it, and nothing that is silently something else."""

import stat

import pytest

from exchange import identity, ports
from exchange.config import Config, ConfigError, load
from exchange.identity import IdentityError


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "curb.toml"
        path.write_text(text)
        return path

    return write


def test_without_a_file_and_an_environment_the_defaults_hold():
    config = load(None, {})
    assert config == Config()
    assert config.exchange.commands_bind == "tcp://127.0.0.1:*"


def test_the_environment_goes_over_the_file_and_the_command_line_over_both(toml, tmp_path):
    path = toml('data = "there"\n[exchange]\nunits_per_second = 5\ndrain_messages = 6\n')
    config = load(path, {"CURB_EXCHANGE__UNITS_PER_SECOND": "7", "CURB_DATA": "here"}, None)
    assert (config.exchange.units_per_second, config.exchange.drain_messages) == (7, 6)
    assert str(config.data) == "here"
    assert load(path, {"CURB_DATA": "here"}, tmp_path).data == tmp_path


def test_a_value_may_stand_in_a_file_of_its_own(tmp_path):
    secret = tmp_path / "dsn"
    secret.write_text("postgresql://x\n")
    assert load(None, {"CURB_POSTGRES__DSN_FILE": str(secret)}).postgres.dsn == "postgresql://x"
    with pytest.raises(OSError, match="none"):
        load(None, {"CURB_POSTGRES__DSN_FILE": str(tmp_path / "none")})
    both = {"CURB_POSTGRES__DSN_FILE": str(secret), "CURB_POSTGRES__DSN": "y"}
    with pytest.raises(ConfigError, match="give one of them"):
        load(None, both)


@pytest.mark.parametrize(
    "environment, named",
    [
        ({"CURB_EXCHANGE__COMMANDS_BINT": "x"}, "commands_bint"),
        ({"CURB_EXCHANG__COMMANDS_BIND": "x"}, "exchang"),
        ({"CURB_EXCHANGE__UNITS_PER_SECOND": "many"}, r"\$\.exchange\.units_per_second"),
        ({"CURB_EXCHANGE__UNITS_PER_SECOND": "0"}, r"\$\.exchange\.units_per_second"),
        ({"CURB_JOURNAL__SEGMENT_BYTES": "1"}, r"\$\.journal\.segment_bytes"),
        ({"CURB_DATA__X": "1"}, "CURB_DATA__X|data"),
    ],
)
def test_an_unknown_setting_or_a_wrong_value_is_an_error_that_names_it(environment, named):
    with pytest.raises(ConfigError, match=named):
        load(None, environment)


@pytest.mark.parametrize(
    "text", ["[exchange]\nnope = 1\n", "[nope]\n", "nope = 1\n", "[", "a = \xff"]
)
def test_a_file_that_says_something_else_is_an_error_that_names_the_file(toml, text):
    path = toml("")
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"curb\.toml"):
        load(path, {})


def test_names_outside_the_prefix_are_not_looked_at():
    assert load(None, {"EXCHANGE__NOPE": "1", "CURBSIDE": "2", "CURB_LOG_LEVEL": "x"}) == Config()


# ----------------------------------------------------------------------------- where it may listen
@pytest.mark.parametrize(
    "address", ["127.0.0.1:80", "127.9.9.9:*", "[::1]:80", "localhost:*", "unix:/run/curb.sock"]
)
def test_plain_http_may_listen_on_this_machine(address):
    assert load(None, {"CURB_FOLLOWER__HTTP_BIND": address}).follower.http_bind == address


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:80", "*:80", ":80", "[::]:*", "192.0.2.1:80", "example.com:80", "127.0.0.1", "[::1]",
     "127.0.0.1:http", "127.0.0.1:99999"],
)  # fmt: skip
def test_plain_http_listens_nowhere_else(address):
    """Promise S1: no HTTP listener beyond loopback without TLS."""
    with pytest.raises(ConfigError, match="http_bind"):
        load(None, {"CURB_FOLLOWER__HTTP_BIND": address})


@pytest.mark.parametrize(
    "setting", ["EXCHANGE__COMMANDS_BIND", "FOLLOWER__EVENTS_BIND", "FOLLOWER__TAPE_BIND"]
)
def test_a_zeromq_door_may_be_anywhere_for_it_always_has_curve(setting):
    for address in ("tcp://0.0.0.0:7401", "tcp://*:*", "tcp://[::1]:*", "tcp://eth0:7401"):
        load(None, {f"CURB_{setting}": address})
    for address in (
        "0.0.0.0:7401",
        "tcp://0.0.0.0",
        "inproc://x",
        "ipc:///x",
        "tcp://:1",
        "udp://a:1",
    ):
        with pytest.raises(ConfigError, match="not tcp://ADDRESS:PORT"):
            load(None, {f"CURB_{setting}": address})


# ----------------------------------------------------------------------------- the data folder
def test_a_port_once_chosen_stays_the_folders(tmp_path):
    """Goal: a restarted exchange is found where its clients look for it."""
    config = Config(data=tmp_path / "data")
    identity.prepare(config)
    first = ports.resolve(config)
    assert ports.resolve(config) == ports.load(config) == first
    assert len({first.commands, first.events, first.tape, f"tcp://{first.http}"}) == 4
    assert all(not address.endswith("*") for address in (first.commands, first.http))
    assert not list(config.run_folder.glob("*.part"))


def test_a_given_port_goes_before_the_one_that_was_chosen(tmp_path):
    environment = {"CURB_EXCHANGE__COMMANDS_BIND": "tcp://127.0.0.1:7777"}
    given = load(None, environment, tmp_path / "data")
    identity.prepare(given)
    other = ports.resolve(Config(data=given.data))
    now = ports.resolve(given)
    assert now.commands == "tcp://127.0.0.1:7777"
    assert (now.events, now.tape, now.http) == (other.events, other.tape, other.http)
    assert ports.resolve(Config(data=given.data)).commands == "tcp://127.0.0.1:7777"


@pytest.mark.parametrize("address", ["tcp://[::1]:*", "tcp://*:*", "tcp://0.0.0.0:*"])
def test_ports_are_chosen_on_any_address(tmp_path, address):
    config = load(None, {"CURB_EXCHANGE__COMMANDS_BIND": address}, tmp_path / "data")
    identity.prepare(config)
    chosen = ports.resolve(config).commands
    assert chosen.startswith(address[:-1])
    assert chosen.removeprefix(address[:-1]).isdigit()


def test_an_address_that_is_not_this_hosts_is_named(tmp_path):
    config = load(None, {"CURB_FOLLOWER__TAPE_BIND": "tcp://192.0.2.1:*"}, tmp_path / "data")
    identity.prepare(config)
    with pytest.raises(ConfigError, match=r"tape: cannot listen on 192\.0\.2\.1"):
        ports.resolve(config)


def test_a_folder_is_made_once_and_for_its_owner_alone(tmp_path):
    config = Config(data=tmp_path / "data")
    made = identity.prepare(config)
    assert identity.prepare(config) == identity.load(config) == made
    for folder in (config.data, *(path for path in config.data.iterdir() if path.is_dir())):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    path = config.keys_folder / identity.IDENTITY_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for secret in (
        made.server.secret,
        made.admin.secret,
        made.token_secret,
        made.postgres_password,
    ):
        assert secret not in f"{made!r} {made} {made.server!r} {made.admin}"


def test_keys_that_others_may_read_or_that_are_gone_are_refused(tmp_path):
    """Goal: a journal without its keys is not given new ones: no token of it would be worth anything."""
    config = Config(data=tmp_path / "data")
    with pytest.raises(IdentityError, match="not a served data folder"):
        identity.load(config)
    identity.prepare(config)
    path = config.keys_folder / identity.IDENTITY_NAME
    path.chmod(0o640)
    with pytest.raises(IdentityError, match="chmod 600"):
        identity.load(config)
    path.write_text("{}")
    path.chmod(0o600)
    with pytest.raises(IdentityError, match=r"identity\.json"):
        identity.load(config)
    path.unlink()
    (config.journal_folder / "journal-00000000000000000000.seg").touch()
    with pytest.raises(IdentityError, match="restore it"):
        identity.prepare(config)
