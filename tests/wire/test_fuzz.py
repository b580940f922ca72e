"""Promise M4: whatever the bytes are, a decoder returns or raises ProtocolError, nothing else.

Goal: no peer stops the gateway. Method: well-formed frames of every kind, mutated, spliced, cut,
grown, with headers drawn anew so that lengths and counts lie; also fed to both ends of a session.
"""

import contextlib
import random

import pytest

from schemas.frames import Frame, ProtocolError, decode_client, decode_server
from schemas.session.client import ClientSession
from schemas.session.machine import ServerState
from schemas.session.messages import Establish
from schemas.session.server import Act, ServerSession
from tests.wire.samples import CLIENT_FRAMES, SERVER_FRAMES

SEED = 20_261_104
SECOND = 10**9
EDGES = (0, 1, 2, 3, 7, 8, 16, 24, 64, 88, 127, 128, 255, 256, 1024, 1025, 4096, 32_767, 65_535)


def mutated(draw, seeds):
    """Return one broken frame; `draw` decides how."""
    frame = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 2, 4))):
        how = draw.randrange(8)
        if how == 0 and frame:
            frame[draw.randrange(len(frame))] ^= 1 << draw.randrange(8)
        elif how == 1 and frame:
            frame[draw.randrange(len(frame))] = draw.randrange(256)
        elif how == 2:
            del frame[draw.randrange(len(frame) + 1) :]
        elif how == 3:
            at = draw.randrange(len(frame) + 1)
            frame[at:at] = draw.randbytes(draw.choice((1, 8, 40)))
        elif how == 4:
            other = draw.choice(seeds)
            frame[draw.randrange(len(frame) + 1) :] = other[draw.randrange(len(other) + 1) :]
        elif how == 5 and len(frame) >= 8:  # a header that lies
            at = draw.choice((0, 2, 4, 6))
            frame[at : at + 2] = draw.choice(EDGES).to_bytes(2, "little")
        elif how == 6 and len(frame) >= 16:
            frame[8:16] = draw.choice((0, 1, 7, 2**63 - 1, 2**63, 2**64 - 1)).to_bytes(8, "little")
        elif how == 7 and len(frame) > 16:  # msgpack that announces more than there is
            at = draw.randrange(16, len(frame))
            frame[at : at + 1] = draw.choice((b"\xdd\xff\xff\xff\xff", b"\xdf\x00\xff\xff\xff", b"\xc6\x7f\xff\xff\xff", b"\xc7", b"\xd9\xff", b"\x9f", b"\x8f"))  # fmt: skip
    return bytes(frame)


def count_of(long, quick):
    return 20 * quick if long else quick


@pytest.mark.parametrize("decode,seeds", [(decode_client, CLIENT_FRAMES), (decode_server, SERVER_FRAMES)])  # fmt: skip
def test_only_protocol_errors_come_out_of_broken_bytes(decode, seeds, long):
    """2·10^5 together in CI, 4·10^6 with --long."""
    print(f"seed {SEED}: pytest tests/wire/test_fuzz.py")
    draw = random.Random(SEED)
    passed = 0
    for _ in range(count_of(long, 100_000)):
        frame = mutated(draw, seeds)
        try:
            decoded = decode(frame)
        except ProtocolError:
            continue
        passed += 1
        assert isinstance(decoded, Frame)
        assert decoded.records.nbytes <= max(len(frame), 2**17)
    assert passed > 1_000  # not everything is broken, else the decoders' depths are not reached


def test_garbage_byte_by_byte_is_malformed_until_it_is_whole():
    for seeds, decode in ((CLIENT_FRAMES, decode_client), (SERVER_FRAMES, decode_server)):
        for seed in seeds:
            for end in range(len(seed)):
                with pytest.raises(ProtocolError):
                    decode(seed[:end])


def test_broken_bytes_cost_the_session_that_sent_them_and_nothing_else(long):
    """Both ends are fed broken frames; what they say is well-formed, and they can be used after."""
    print(f"seed {SEED}: pytest tests/wire/test_fuzz.py")
    draw = random.Random(SEED)
    server = ServerSession()
    client = ClientSession()
    now_ns = 0
    for _ in range(count_of(long, 25_000)):
        now_ns += 1000
        frame = mutated(draw, CLIENT_FRAMES)
        try:
            verdict = server.receive(b"peer", decode_client(frame), now_ns)
        except ProtocolError as error:
            verdict = server.malformed(b"peer", error, now_ns)
            assert server.state is not ServerState.OPEN
        for said in (verdict.reply, verdict.ended.notice if verdict.ended else b""):
            if said:
                decode_server(said)
        with contextlib.suppress(ProtocolError):
            client.receive(mutated(draw, SERVER_FRAMES), now_ns)
        if draw.randrange(50) == 0:
            client = ClientSession()
            client.connected(now_ns)
            client.send_records(11, decode_client(CLIENT_FRAMES[20]).records)
    fresh = decode_client(CLIENT_FRAMES[26])
    assert isinstance(fresh.message, Establish)
    establish = fresh._replace(message=Establish(version_min=1, version_max=1))
    assert server.receive(b"peer", establish, now_ns).act is Act.OPENED
