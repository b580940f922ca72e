"""What a host's admin types: `curb apply`, `member`, `site enrol`, `halt`, `resume`, on a real exchange."""

import hashlib
import json
import ssl
import stat

import msgspec
import pytest
from typer.testing import CliRunner

from exchange.commands import apply, halt, member, resume, site_enrol
from exchange.commands.common import EXIT_FAILED, EXIT_USAGE
from exchange.host_client import HostClient, HostError
from schemas import commands as c
from schemas import records
from schemas.bundle import load_bundle
from schemas.reasons import REJECTED
from tests.doors.served import Caller, Served, bid_row, state
from tests.fakes.house import campaign, town_commands

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with Served(tmp_path_factory.mktemp("host") / "data") as served:
        yield served


@pytest.fixture
def curb(served):
    """Run a command as a person does, on this host's folder; return (exit code, stdout, stderr)."""

    def run(app, *arguments, stdin=None):
        result = CliRunner().invoke(
            app, [*map(str, arguments), "--data", str(served.config.data)], input=stdin
        )
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            result.exception
        )
        return result.exit_code, result.stdout, result.stderr

    return run


def lines(*commands):
    return b"".join(msgspec.json.encode(command) + b"\n" for command in commands)


def town_file(tmp_path):
    """The small market as an admin's file and a verifier's, members included."""
    *mine, first, second = town_commands()
    members = (
        *(c.Operator(at=0, operator=name) for name in ("lantern", "beacon")),
        *(c.Buyer(at=0, buyer=name) for name in ("acme", "bolt")),
    )
    admin, verifier = tmp_path / "admin.jsonl", tmp_path / "verifier.jsonl"
    admin.write_bytes(lines(*members, *mine))
    verifier.write_bytes(lines(first, second))
    return admin, verifier


# ----------------------------------------------------------------------------- apply
def test_a_market_is_opened_by_two_files(served, curb, tmp_path):
    admin, verifier = town_file(tmp_path)
    code, out, _ = curb(apply.app, admin, "--json")
    assert code == 0
    count = len(admin.read_bytes().splitlines())
    assert json.loads(out) == {"commands": count, "applied": count, "refused": {}}
    assert curb(apply.app, verifier, "--as", "verifier")[0] == 0
    market, _, _ = served.replayed()
    assert market.counts()["sites"] == 2
    assert market.names.handle("buyer", "bolt") == 2


@pytest.mark.parametrize(
    "bad, field",
    [
        (b'{"type":"metro","metro":"x"}\n', "lat"),
        (b'{"type":"rules","take_rate_ppm":1.5}\n', "take_rate_ppm"),
        (b'{"type":"rules","colour":1}\n', "colour"),
        (b'{"type":"buyer","buyer":"x","buyer":"y"}\n', "buyer"),
        (b"not json\n", "line"),
        (b"\n", "line"),
        (b'{"at":0}\n', "type"),
        (b"{}\n", "type"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_sent(served, curb, tmp_path, bad, field):
    """ISSUE: a malformed market file names `FILE:LINE: field`; the good lines before it are not given."""
    file = tmp_path / "bad.jsonl"
    file.write_bytes(lines(c.Buyer(at=0, buyer="never")) + bad)
    before = len(served.journal())
    code, out, err = curb(apply.app, file, "--json")
    assert code == EXIT_USAGE
    assert err.startswith(f"{file}:2: {field}: ")
    assert out == ""
    assert len(served.journal()) == before


def test_lines_without_a_time_and_from_standard_input_are_taken(curb):
    code, out, _ = curb(
        apply.app, "-", "--json", stdin=b'{"type":"rules","settle_us":21600000000}\n'
    )
    assert (code, json.loads(out)["applied"]) == (0, 1)


def test_refused_and_rejected_lines_are_named_and_the_rest_goes_on(served, curb, tmp_path):
    file = tmp_path / "some.jsonl"
    unknown = c.PriceCard(at=0, model="nothing", band=5, card_in=1, card_out=1)
    foreign = c.CampaignEnd(at=0, buyer="acme", campaign="x")
    good = c.Metro(at=0, metro="Oslo", lat=0.0, lon=0.0, country="NO", population=1)
    file.write_bytes(lines(unknown, foreign, good))
    code, out, err = curb(apply.app, file, "--json")
    assert code == EXIT_FAILED
    assert json.loads(out)["applied"] == 1
    assert f"{file}:1: unknown" in err
    assert f"{file}:2: role" in err
    assert served.replayed()[0].names.handle("metro", "Oslo")


def test_what_an_admin_may_not_say_is_refused_line_by_line(curb, tmp_path):
    file = tmp_path / "rtt.jsonl"
    file.write_bytes(lines(c.Rtt(at=0, site="lantern/one", metro="Berlin", p99_us=1)))
    code, _, err = curb(apply.app, file)
    assert code == EXIT_FAILED
    assert f"{file}:1: role" in err


def test_rtts_of_unknown_sites_are_refused_and_the_others_taken(curb, tmp_path):
    file = tmp_path / "rtt.jsonl"
    pairs = [("lantern/one", 1_000), ("nobody/one", 1), ("beacon/one", None)]
    file.write_bytes(
        lines(*[c.Rtt(at=0, site=site, metro="Berlin", p99_us=p99) for site, p99 in pairs])
    )
    code, out, err = curb(apply.app, file, "--as", "verifier", "--json")
    assert (code, json.loads(out)["applied"]) == (EXIT_FAILED, 2)
    assert f"{file}:2: handle" in err


def test_a_missing_file_and_an_unserved_folder_are_said_in_one_line(curb, tmp_path):
    code, _, err = curb(apply.app, tmp_path / "none.jsonl")
    assert (code, err.count("\n")) == (EXIT_USAGE, 1)
    file = tmp_path / "empty.jsonl"
    file.write_bytes(b"")
    result = CliRunner().invoke(apply.app, [str(file), "--data", str(tmp_path / "nowhere")])
    assert result.exit_code == EXIT_FAILED
    assert "served" in result.stderr


# ----------------------------------------------------------------------------- member
def test_a_member_gets_a_bundle_of_its_own_and_money(served, curb, tmp_path):
    path = tmp_path / "nova.json"
    code, out, _ = curb(
        member.app, "add", "nova", "--role", "buyer", "--deposit", 5, "--origin", "Berlin",
        "-o", path, "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out) == {"member": "nova", "role": "buyer", "agent": 0, "bundle": str(path)}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    bundle = load_bundle(path)
    assert (bundle.market, bundle.origin) == (served.identity.market, "Berlin")
    assert bundle.events_address == served.addresses.events
    with Caller(bundle) as nova:
        assert nova.order(campaign("nova")).code == 0
        answer = nova.records(records.BID, bid_row(nova.lookup("campaign").entries[0].handle, 1))
        assert answer["code"].tolist() == [0]
    market, _, _ = served.replayed()
    assert market.names.handle("buyer", "nova")
    again, _, err = curb(
        member.app, "add", "nova", "--role", "buyer", "--agent", 1, "--deposit", 5,
        "-o", tmp_path / "second.json",
    )  # fmt: skip
    assert again == EXIT_FAILED
    assert "duplicate" in err  # that transfer was made
    assert load_bundle(tmp_path / "second.json").agent == 1  # and the key is not lost for it


def test_what_cannot_be_enrolled_is_said_and_leaves_no_bundle(curb, tmp_path):
    path = tmp_path / "x.json"
    for name, role, why in (("a/b", "buyer", "slash"), ("acme", "operator", "known as buyer")):
        code, _, err = curb(member.app, "add", name, "--role", role, "-o", path)
        assert code == EXIT_FAILED
        assert why in err
        assert not path.exists()
    code, _, err = curb(member.app, "add", "v", "--role", "verifier", "--deposit", 1, "-o", path)
    assert (code, path.exists()) == (EXIT_USAGE, False)
    assert "no account" in err
    assert curb(member.app, "add", "v", "--role", "boss")[0] == EXIT_USAGE


def test_sites_of_an_operator_come_from_options_and_from_a_file(served, curb, tmp_path):
    listed = tmp_path / "sites.txt"
    listed.write_text("nova-op/b\nnova-op/c\n")
    path = tmp_path / "op.json"
    code, _, _ = curb(
        member.app, "add", "nova-op", "--role", "operator", "--site", "nova-op/a",
        "--sites-file", listed, "-o", path,
    )  # fmt: skip
    assert code == 0
    assert load_bundle(path).sites == ("nova-op/a", "nova-op/b", "nova-op/c")
    assert served.replayed()[1].by_name["nova-op", 0].sites == (
        "nova-op/a",
        "nova-op/b",
        "nova-op/c",
    )


def test_a_revoked_member_is_out(curb, tmp_path):
    path = tmp_path / "out.json"
    assert curb(member.app, "add", "out", "--role", "buyer", "-o", path)[0] == 0
    with HostClient(path):
        pass
    code, out, _ = curb(member.app, "revoke", "out", "--json")
    assert (code, json.loads(out)) == (0, {"member": "out", "revoked": True})
    with pytest.raises(HostError), HostClient(path, timeout_s=0.7):
        pass
    code, _, err = curb(member.app, "revoke", "out")
    assert (code, "no such key" in err) == (EXIT_FAILED, True)


# ----------------------------------------------------------------------------- site enrol
def test_a_site_gets_key_certificate_and_its_pinned_place(served, curb, tmp_path):
    """ARCHITECTURE: the site directory has each site's endpoint and the hash of its certificate."""
    folders = {}
    for site in ("lantern/one", "beacon/one"):
        folder = folders[site] = tmp_path / site.replace("/", "-")
        code, out, _ = curb(
            site_enrol.app, site, "--endpoint", "https://127.0.0.1:8443/", "-o", folder, "--json"
        )
        assert code == 0
        assert json.loads(out)["folder"] == str(folder)
        for file in folder.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
    one = load_bundle(folders["lantern/one"] / "bundle.json")
    assert (one.member, one.site, one.sites, one.site_handle) == (
        "lantern", "lantern/one", ("lantern/one",), 1,
    )  # fmt: skip
    assert len(one.token_key_bytes[1]) == 32
    assert one.agent != load_bundle(folders["beacon/one"] / "bundle.json").agent
    pem = (folders["lantern/one"] / "tls.crt").read_text()
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    with served.host() as admin:
        entry = admin.lookup("site", ("lantern/one",)).entries[0]
    known = msgspec.msgpack.decode(entry.detail, type=c.AnyCommand)
    assert (known.endpoint, known.endpoint_sha256) == ("https://127.0.0.1:8443", digest)
    assert known.country == "DE"  # what was said of it before stays


@pytest.mark.parametrize(
    "site, endpoint, why",
    [
        ("lantern/none", "https://h:1", "not known"),
        ("lantern/one", "http://h:1", "https"),
        ("lantern/one", "h:1", "https"),
    ],
)
def test_a_site_that_cannot_be_enrolled_gets_no_folder(curb, tmp_path, site, endpoint, why):
    folder = tmp_path / "site"
    code, _, err = curb(site_enrol.app, site, "--endpoint", endpoint, "-o", folder)
    assert (code, why in err, folder.exists()) == (EXIT_FAILED, True, False)


# ----------------------------------------------------------------------------- halt, resume
def test_a_halt_is_effective_before_the_next_command_and_lifted_by_its_own_authority(
    curb, tmp_path
):
    """Promise A8, through the command line."""
    path = tmp_path / "halted.json"
    assert curb(member.app, "add", "halted", "--role", "buyer", "-o", path)[0] == 0
    with Caller(path) as buyer:
        assert buyer.order(campaign("halted")).code == 0
        mine = buyer.lookup("campaign").entries[0].handle

        def bid(number):
            return int(buyer.records(records.BID, bid_row(mine, number))["code"][0])

        assert bid(1) == 0
        code, out, _ = curb(halt.app, "buyer", "halted", "--json")
        assert code == 0
        assert (
            json.loads(out).items() >= {"command": "halt", "scope": "buyer", "by": "admin"}.items()
        )
        assert bid(2) == REJECTED["halted"]
        assert (
            curb(resume.app, "buyer", "halted", "--by", "risk")[0] == 0
        )  # nobody else's is lifted
        assert bid(3) == REJECTED["halted"]
        assert curb(resume.app, "buyer", "halted")[0] == 0
        assert bid(4) == 0
        assert curb(halt.app, "exchange", "--by", "risk")[0] == 0
        assert bid(5) == REJECTED["halted"]
        assert curb(resume.app, "exchange", "--by", "risk")[0] == 0
        assert bid(6) == 0


@pytest.mark.parametrize(
    "arguments, code",
    [
        (("exchange", "all"), EXIT_USAGE),
        (("buyer",), EXIT_USAGE),
        (("planet", "x"), EXIT_USAGE),
        (("buyer", "nobody"), EXIT_FAILED),
        (("exchange", "--by", "verifier"), EXIT_FAILED),  # a verifier halts sites alone
    ],
)
def test_a_halt_that_is_none_is_said_in_its_exit_code(served, curb, arguments, code):
    before = state(served.replayed()[0])
    assert curb(halt.app, *arguments)[0] == code
    assert state(served.replayed()[0]) == before
