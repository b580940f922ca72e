"""A real exchange process over CURVE sockets: who gets in, what forging costs, what malformed bytes cost.

One process serves all tests of this file; each opens sessions of its own and leaves the market as it
needs it.
"""

import stat
import threading
import time

import pytest
import zmq

from exchange.enrolment import EnrolmentError, add_member
from exchange.host_client import HostClient, HostError
from exchange.supervisor.service import bundle_path
from schemas import records
from schemas.bundle import load_bundle, save_bundle
from schemas.frames import decode_server, encode_message, encode_order, encode_records
from schemas.link import ClientLink, new_keypair
from schemas.reasons import REFUSED, REJECTED
from schemas.session.messages import Establish, Heartbeat, MemberRevoke, RegisterAdapters
from tests.doors.role_table import HOT, NAMES_A_SITE, RARE, SENDERS, hot_row
from tests.doors.served import Caller, Served, bid_row
from tests.fakes.house import frame, offer
from tests.waiting import until

REFUSALS = set(REFUSED.values())
ABSENT_S = 0.7  # how long nothing must come; handshake and answer take some milliseconds

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with Served(tmp_path_factory.mktemp("served") / "data") as served:
        served.bundles = served.found_town()
        yield served


def campaign_of(caller):
    return caller.lookup("campaign").entries[0].handle


# ----------------------------------------------------------------------------- the whole table
def test_the_whole_role_table_over_the_wire(served):
    """Promise S1 on real sockets: role × frame kind and role × command; what is refused leaves the
    replayed journal as it was, number by number.
    """
    bundles = served.bundles
    with HostClient(bundles["acme"]) as acme:
        campaign = campaign_of(acme)
    seq = served.replayed()[0].seq
    for sender, role in SENDERS.items():
        with caller_of(served, sender) as caller:
            for kind, roles in HOT.items():
                if role not in roles:
                    code = caller.records(kind, hot_row(kind, campaign, 1))["code"].tolist()
                    assert code == [REFUSED["role"]], (sender, kind)
            for case, (command, meant_for) in RARE.items():
                if sender not in meant_for:
                    answer = caller.message(encode_order(command))
                    assert answer.code in REFUSALS, (sender, case)
            if role != "operator":
                answer = caller.message(RegisterAdapters(adapters=("a",)))
                assert answer.code == REFUSED["role"]
            if role != "admin":
                with pytest.raises(EnrolmentError, match="role"):
                    add_member(caller, "nova", "buyer")
                assert caller.message(MemberRevoke(member="acme")).code == REFUSED["role"]
                assert caller.site_key("lantern/one").key == b""
    # All that was numbered meanwhile are the cancels that end a buyer's session.
    market, registry, _ = served.replayed()
    # A session may end between the two looks at the journal: what came after the first is not its.
    numbered = [record for record in served.journal() if seq < record.seq <= market.seq]
    numbered = [record for record in numbered if record.count]
    assert market.seq == seq + len(numbered)
    assert all(record.payload[0] == records.BIDS_CANCEL for record in numbered)
    assert "nova" not in registry.roles


def caller_of(served, name):
    if SENDERS[name] in {"admin", "verifier"}:
        return Caller(bundle_path(served.config, name))
    return Caller(served.bundles[name])


def test_what_each_role_may_say_passes(served):
    """Goal: the other half of the table: nothing meant for a role is refused to it."""
    bundles = served.bundles
    with Caller(bundles["lantern"]) as lantern, Caller(bundles["acme"]) as acme:
        callers = {"lantern": lantern, "acme": acme}
        campaign = campaign_of(acme)
        lantern.records(records.OFFER, offer())
        for kind, roles in HOT.items():
            for sender, caller in callers.items():
                if SENDERS[sender] in roles:
                    (code,) = caller.records(kind, hot_row(kind, campaign, 1))["code"].tolist()
                    assert code not in REFUSALS, (sender, kind, code)
        with Caller(bundles["beacon"]) as beacon:
            for kind in NAMES_A_SITE:
                code = beacon.records(kind, hot_row(kind, campaign, 1))["code"].tolist()
                assert code == [REFUSED["site"]]
            assert beacon.records(records.START, {"fill": 1})["code"][0] == REJECTED["unknown"]


# ----------------------------------------------------------------------------- strangers
def test_an_unknown_key_gets_nothing(served):
    """Goal: not a byte of an answer, and no session: the handshake is refused."""
    context = zmq.Context()
    public, secret = new_keypair()
    link = ClientLink(
        context, served.addresses.commands, served.identity.server.public, public, secret
    )
    end = time.monotonic() + ABSENT_S
    while time.monotonic() < end:
        assert not link.send(encode_message(Establish(version_min=1, version_max=1)))
        assert not link.wait(50)
    link.close()
    context.term()


@pytest.mark.parametrize("kind", ["plain", "wrong server key"])
def test_without_the_right_curve_there_is_no_connection(served, kind):
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    if kind != "plain":
        bundle = served.bundles["acme"]
        socket.setsockopt(zmq.CURVE_SERVERKEY, new_keypair()[0].encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, bundle.public_key.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, bundle.secret_key.encode())
    socket.connect(served.addresses.commands)
    establish = encode_message(Establish(version_min=1, version_max=1))
    end = time.monotonic() + ABSENT_S
    while time.monotonic() < end:
        if socket.poll(50, zmq.POLLOUT):
            socket.send(establish, zmq.NOBLOCK)
        assert not socket.poll(10, zmq.POLLIN)
    socket.close(0)
    context.term()


def test_a_chosen_routing_id_is_nobodys(served):
    """Goal: who names its own connection, even as another's, is not heard at all."""
    seen = served.replayed()[0].digest()
    bundle = served.bundles["bolt"]
    context = zmq.Context()
    for chosen in (b"chosen", b"x" * 200, b"\x01\x00\x00\x00\x01"):
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.ROUTING_ID, chosen)
        socket.setsockopt(zmq.CURVE_SERVERKEY, bundle.server_key.encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, bundle.public_key.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, bundle.secret_key.encode())
        socket.connect(served.addresses.commands)
        socket.send(encode_message(Establish(version_min=1, version_max=1)))
        assert not socket.poll(round(500 * ABSENT_S), zmq.POLLIN)
        socket.close(0)
    context.term()
    assert served.replayed()[0].digest() == seen


def test_a_session_is_bound_to_its_connection(served):
    """Goal: a second connection of the same key cannot speak in the first one's session."""
    bundle = served.bundles["acme"]
    with Caller(bundle) as acme:
        seq = served.replayed()[0].seq
        other = Caller(bundle)
        until(lambda: other._link.writable)
        number = acme._session.next_number
        other.raw(encode_records(records.BIDS_CANCEL, frame(records.BIDS_CANCEL, {}), number))
        assert other._link.wait(3000)
        (answer,) = other._link.drain()
        assert decode_server(answer.buffer).message.code == REFUSED["not_established"]
        other._close()
        assert served.replayed()[0].seq == seq
        assert acme.records(records.BIDS_CANCEL, {})["code"].tolist() == [0]


# ----------------------------------------------------------------------------- malformed, revoked
@pytest.mark.parametrize("junk", [b"", b"\x00", b"\xff" * 16, b"\x06\x00\x01\x00" + b"\x40" * 12])
def test_a_malformed_frame_costs_that_session_and_no_other(served, junk):
    """Promise M4 on real sockets."""
    with Caller(served.bundles["bolt"]) as bolt, Caller(served.bundles["acme"]) as acme:
        campaign = campaign_of(bolt)
        number = 100 * len(junk) + 1
        assert acme.established
        bolt.raw(junk)
        with pytest.raises(HostError, match="ended the session"):
            bolt.records(records.BID, bid_row(campaign, number))
        assert acme.records(records.BIDS_CANCEL, {})["code"].tolist() == [0]
    with Caller(served.bundles["bolt"]) as again:
        assert again.records(records.BIDS_CANCEL, {})["code"].tolist() == [0]


def test_a_message_over_the_limit_costs_its_connection_alone(served):
    """Promise M5: one byte more than a message may have."""
    with Caller(served.bundles["acme"]) as acme:
        with Caller(served.bundles["bolt"], timeout_s=4.0) as bolt:
            bolt.raw(bytes((1 << 20) + 1))
            assert acme.records(records.BIDS_CANCEL, {})["code"].tolist() == [0]
        assert acme.records(records.BIDS_CANCEL, {})["code"].tolist() == [0]


def test_a_revoked_key_is_cut_within_a_second(served):
    """Promise S1: its session ends, its bids at rest too, and it does not get in again."""
    with served.host() as admin:
        bundle = add_member(admin, "acme", "buyer", agent=3)
        with Caller(bundle) as agent:
            campaign = campaign_of(agent)
            rest = bid_row(campaign, 1, rest_us=60_000_000, tokens_in=4000)
            assert agent.records(records.BID, rest)["resting"].tolist() == [1]
            started = time.monotonic()
            assert (
                admin.message(MemberRevoke(member="acme", public_key=bundle.public_key)).code == 0
            )
            with pytest.raises(HostError, match="revoked"):
                until(lambda: agent._pump(10), 1.0)
            assert time.monotonic() - started < 1.0
    assert served.replayed()[0].counts()["resting_units"] == 0
    with pytest.raises(HostError), HostClient(bundle, timeout_s=ABSENT_S):
        pass


def test_records_of_an_unregistered_handle_are_refused_unnumbered_and_unjournaled(served):
    with Caller(served.bundles["acme"]) as acme:
        before = len(served.journal())
        campaign = campaign_of(acme)
        rows = [bid_row(campaign, 9_000_001, origin=99), bid_row(99, 9_000_002),
                bid_row(campaign, 9_000_003, adapter=5)]  # fmt: skip
        answer = acme.records(records.BID, *rows)
        assert answer["code"].tolist() == [REFUSED["handle"]] * 3
        assert answer["number"].tolist() == [0, 0, 0]
        assert len(served.journal()) == before


def test_two_host_commands_with_one_key_take_turns(served, tmp_path):
    """Goal: a second `curb` command waits for the first instead of ending its session."""
    path = save_bundle(load_bundle(bundle_path(served.config, "admin")), tmp_path / "admin.json")
    second_done = threading.Event()

    def second():
        with HostClient(path) as client:
            client.handles("site")
            second_done.set()

    thread = threading.Thread(target=second)
    with HostClient(path) as first:
        thread.start()
        assert first.handles("site")
        assert not second_done.is_set()
        first.handles("metro")
    thread.join(10)
    assert second_done.is_set()


def test_keys_and_bundles_are_for_their_owner_alone(served):
    """Promise S6 at rest: folders 700, files 600."""
    keys = served.config.keys_folder
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    for file in keys.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_no_secret_is_in_logs_journal_or_run_folder(served):
    """Promise S6: whatever is secret in the folder's identity or in a bundle is nowhere else."""
    with Caller(served.bundles["bolt"]) as bolt:
        bolt.raw(encode_message(Heartbeat()))
    identity = served.identity
    secrets = [
        identity.server.secret, identity.admin.secret, identity.verifier.secret,
        identity.token_secret, identity.postgres_password,
        *(bundle.secret_key for bundle in served.bundles.values()),
    ]  # fmt: skip
    canaries = [secret.encode() for secret in secrets] + [identity.token_secret_bytes]
    looked = 0
    for folder in ("journal", "logs", "run", "events", "snapshots"):
        for file in (served.config.data / folder).iterdir():
            content = file.read_bytes()
            looked += 1
            assert not any(canary in content for canary in canaries), file
    assert looked >= 4
