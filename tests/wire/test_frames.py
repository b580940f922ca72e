"""Frames: layouts that only grow, decoded where they lie, every limit at −1, 0 and +1."""

import msgspec
import numpy as np
import pytest

from schemas import frames, limits, records
from schemas.commands import Bid, Halt
from schemas.frames import ProtocolError, decode_client, decode_server, header
from schemas.reasons import REFUSED
from schemas.session import messages
from tests.wire.samples import (
    CLIENT_FRAMES,
    CLIENT_MESSAGES,
    SERVER_FRAMES,
    SERVER_MESSAGES,
    answer,
    filled,
)

HOT = list(records.COMMAND_RECORDS.items())


def refused(decode, buffer):
    with pytest.raises(ProtocolError) as error:
        decode(buffer)
    return {number: name for name, number in REFUSED.items()}[error.value.code]


def test_the_samples_are_every_message_there_is():
    assert {type(message) for message, _ in CLIENT_MESSAGES} == set(messages.ClientMessage.__args__)
    assert {type(message) for message, _ in SERVER_MESSAGES} == set(messages.ServerMessage.__args__)


@pytest.mark.parametrize("kind,dtype", HOT)
def test_records_come_back_as_they_were_sent_without_a_copy(kind, dtype):
    array = filled(dtype, 5)
    sent = frames.encode_records(kind, array, 41)
    frame = decode_client(sent)
    assert frame.records.tobytes() == array.tobytes()
    assert (frame.type, frame.version, frame.first, frame.numbers) == (kind, 1, 41, 5)
    assert frame.message is None
    assert np.shares_memory(frame.records, np.frombuffer(sent, np.uint8))
    assert not frame.records.flags.writeable


@pytest.mark.parametrize("kind,dtype", HOT)
def test_a_newer_senders_longer_records_are_read_by_their_stride(kind, dtype):
    array = filled(dtype, 4)
    longer = np.full((4, dtype.itemsize + 12), 0xEE, np.uint8)
    longer[:, : dtype.itemsize] = array.view(np.uint8).reshape(4, -1)
    sent = header(kind, dtype.itemsize + 12, 4, 1) + longer.tobytes()
    assert decode_client(sent).records.tolist() == array.tolist()


@pytest.mark.parametrize("last", range(1, 6))
def test_an_older_senders_shorter_records_are_filled_with_zeros(last):
    """Goal: a field that an older sender did not know reads 0. Lengths end where a field ends."""
    dtype = np.dtype([("a", "<u8"), ("b", "<u4"), ("c", "<u2"), ("d", "u1"), ("e", "u1")])
    names = dtype.names or ()
    array = filled(dtype, 3)
    length = sum(dtype[name].itemsize for name in names[:last])
    packed = array.view(np.uint8).reshape(3, -1)[:, :length].tobytes()
    view = frames.view_records(b"xx" + packed, dtype, 8, length, 3, 2)
    for number, name in enumerate(names):
        expected = array[name] if number < last else np.zeros(3)
        assert view[name].tolist() == expected.tolist()


@pytest.mark.parametrize("length", [0, 4, 7, 9, 11, 13])
def test_no_record_ends_inside_a_field_or_before_its_first_version(length):
    dtype = np.dtype([("a", "<u8"), ("b", "<u4"), ("c", "<u2"), ("d", "u1")])
    with pytest.raises(ProtocolError):
        frames.view_records(bytes(64), dtype, 8, length, 2, 0)


def test_no_layout_is_shorter_than_its_first_version():
    """Promise A9, golden: the lengths of version 1, by number. Records only grow."""
    assert frames.FIRST_LENGTH == {
        1: 88, 2: 32, 3: 8, 4: 8, 5: 8, 6: 64, 7: 8, 8: 8, 9: 8, 10: 24, 11: 8, 12: 16, 13: 16,
        32: 24, 33: 184, 34: 240, 35: 48, 36: 32,
    }  # fmt: skip
    every = {**records.COMMAND_RECORDS, **frames.ANSWER_RECORDS}
    assert set(every) == set(frames.FIRST_LENGTH)
    for kind, dtype in every.items():
        assert dtype.itemsize >= frames.FIRST_LENGTH[kind]
        assert frames.FIRST_LENGTH[kind] in frames.field_ends(dtype)


@pytest.mark.parametrize("kind,dtype", HOT)
def test_a_frame_carries_1_to_1024_records(kind, dtype):
    most = limits.RECORDS_PER_FRAME_MAX
    for count, expected in [(0, "malformed"), (most + 1, "size"), (65_535, "size")]:
        body = bytes(dtype.itemsize * min(count, most + 1))
        assert refused(decode_client, header(kind, dtype.itemsize, count, 1) + body) == expected
    for count in (1, most - 1, most):
        sent = header(kind, dtype.itemsize, count, 1) + bytes(dtype.itemsize * count)
        assert decode_client(sent).numbers == count
    for count in (0, most + 1):
        with pytest.raises(ValueError, match="1 to 1024"):
            frames.encode_records(kind, np.zeros(count, dtype), 1)


@pytest.mark.parametrize("quantities", [[4, 64] * 60, [64] * 63 + [63], [64] * 64])
def test_a_bid_frame_carries_up_to_4096_units(quantities):
    bids = np.zeros(len(quantities), records.BID_RECORD)
    bids["quantity"] = quantities
    assert decode_client(frames.encode_records(records.BID, bids, 1)).units == sum(quantities)


@pytest.mark.parametrize("quantities", [[64] * 64 + [1], [65_535] * 1024, [4096, 1]])
def test_a_bid_frame_over_4096_units_is_refused(quantities):
    bids = np.zeros(len(quantities), records.BID_RECORD)
    bids["quantity"] = quantities
    assert refused(decode_client, frames.encode_records(records.BID, bids, 1)) == "size"


@pytest.mark.parametrize("first,fine", [(0, False), (1, True), (2**63 - 4, True), (2**63 - 3, False), (2**64 - 1, False)])  # fmt: skip
def test_message_numbers_stay_within_63_bits(first, fine):
    sent = frames.encode_records(records.RELEASE, np.zeros(3, records.RELEASE_RECORD), first)
    if fine:
        assert decode_client(sent).first == first
    else:
        assert refused(decode_client, sent) == "malformed"


@pytest.mark.parametrize("message,first", CLIENT_MESSAGES)
def test_client_messages_come_back_and_only_those_that_count_have_numbers(message, first):
    frame = decode_client(frames.encode_message(message, first))
    assert frame.message == message
    assert (frame.first, frame.numbers) == (first, int(first > 0))
    wrong = frames.encode_message(message, 0 if first else 1)
    assert refused(decode_client, wrong) == "malformed"


@pytest.mark.parametrize("message,first", SERVER_MESSAGES)
def test_server_messages_come_back(message, first):
    frame = decode_server(frames.encode_message(message, first))
    assert (frame.message, frame.first) == (message, first)


@pytest.mark.parametrize("fills", [[0], [1], [0, 3, 0, 64], [4] * 1024])
def test_an_answer_has_the_fills_that_its_statuses_tell_of(fills):
    frame = decode_server(answer(9, fills))
    assert frame.records["fills"].tolist() == fills
    assert len(frame.fills) == sum(fills)
    assert frame.fills.tobytes() == filled(records.FILL_RECORD, sum(fills)).tobytes()


@pytest.mark.parametrize("told", [[1, 1], [1, 3], [0, 0]])
def test_an_answer_with_other_fills_than_told_is_malformed(told):
    sent = bytearray(answer(9, [1, 2]))
    for number, count in enumerate(told):
        at = records.HEADER_BYTES + number * 24 + 12
        sent[at : at + 2] = count.to_bytes(2, "little")
    if sum(told) != 3:
        assert refused(decode_server, bytes(sent)) == "malformed"


@pytest.mark.parametrize("decode,seeds", [(decode_client, CLIENT_FRAMES), (decode_server, SERVER_FRAMES)])  # fmt: skip
def test_a_byte_more_or_less_is_malformed(decode, seeds):
    for seed in seeds:
        decode(seed)
        assert refused(decode, seed + b"\0") == "malformed"
        for cut in range(len(seed)):
            assert refused(decode, seed[:cut]) == "malformed"


@pytest.mark.parametrize("decode", [decode_client, decode_server])
def test_a_frame_over_the_limit_is_refused_by_its_length_alone(decode):
    most = limits.MESSAGE_BYTES_MAX
    assert refused(decode, bytes(most + 1)) == "size"
    assert refused(decode, bytes(most)) == "malformed"


def test_one_side_may_not_say_what_the_other_says():
    hot = frames.encode_records(records.BID, filled(records.BID_RECORD, 1), 1)
    assert refused(decode_server, hot) == "malformed"
    assert refused(decode_client, answer(1, [0])) == "malformed"
    established, first = SERVER_MESSAGES[0]
    assert refused(decode_client, frames.encode_message(established, first)) == "malformed"


def test_five_bytes_that_announce_gigabytes_take_none():
    """A list's announced length is judged before there is room made for it."""
    huge = b"\xdd\x7f\xff\xff\xff"
    for decode, start in [
        (decode_client, b"\x82\xa1m\xa9establish\xa7streams"),
        (decode_client, b"\x82\xa1m\xa6lookup\xa7handles"),
        (decode_client, b"\x82\xa1m\xa9establish\xa7unheard"),
        (decode_server, b"\x82\xa1m\xa7outcome\xa5fills"),
        (decode_server, b"\x82\xa1m\xabestablished\xa5sites"),
        (decode_server, b"\x82\xa1m\xa5found\xa7entries"),
        (decode_server, b"\x82\xa1m\xa5found\xa7entries\x91\x81\xa6detail"),
    ]:
        for body in (start + huge, start + b"\x91" * 1000 + huge, start + b"\x91" * 10_000):
            assert refused(decode, header(records.MESSAGE, 0, 1, 0) + body) == "malformed"


def test_unknown_fields_of_a_newer_side_are_passed_over():
    body = msgspec.msgpack.encode({"m": "terminated", "code": 3, "mood": ["blue", {"deep": 1}]})
    frame = decode_server(header(records.MESSAGE, 0, 1, 0) + body)
    assert frame.message == messages.Terminated(code=3)


def test_an_orders_command_is_judged_field_by_field():
    """A wrong command is refused as `field`; it does not cost the session."""
    good = frames.encode_order(Halt(at=5, scope="site", name="acme/one", by="verifier"))
    assert frames.decode_command(good) == Halt(at=0, scope="site", name="acme/one", by="verifier")
    for body, words in [
        ({"type": "halt", "at": 0, "scope": "moon", "by": "admin"}, "scope"),
        ({"type": "halt", "at": 0, "scope": "site", "by": "admin"}, "name: the site must be named"),
        ({"type": "halt", "at": 0, "scope": "exchange", "by": "admin", "x": 1}, "unknown field"),
        ({"type": "moon", "at": 0}, "moon"),
        ({"at": 0}, "type"),
        (7, "object"),
    ]:
        order = messages.Order(command=msgspec.Raw(msgspec.msgpack.encode(body)))
        with pytest.raises(frames.CommandError, match=words):
            frames.decode_command(order)


def test_other_layouts_are_not_sent():
    with pytest.raises(ValueError, match="layout"):
        frames.encode_records(records.BID, np.zeros(1, records.OFFER_RECORD), 1)
    bid = Bid(at=9, buyer="b", bid=1, campaign="c", origin="o", tokens_in=1, tokens_out=0)
    assert frames.decode_command(frames.encode_order(bid)).at == 0
