"""The SDK's parts that need no exchange: frames, first copies, holdings, metering."""

import random
from pathlib import Path

import numpy as np
import pytest

from dsp_sdk.chat import estimate_tokens
from dsp_sdk.events import FirstCopies
from dsp_sdk.pool import Holdings
from dsp_sdk.request import SiteUnreachableError, bearer, fingerprint
from dsp_sdk.results import Fill, frame_bounds
from schemas import records
from schemas.chat import EventReader, Meter, StreamError
from ssp_adapters.site_proxy.admission import token_of

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "llama_server"
SECOND = 10**9


def test_frames_hold_the_limits_and_every_bid_once_in_order():
    seed = 5
    draw = random.Random(seed)
    for _ in range(200):
        quantities = np.array([draw.choice((1, 1, 2, 7)) for _ in range(draw.randrange(0, 40))])
        bounds = frame_bounds(quantities, 5, 9)
        assert [place for start, end in bounds for place in range(start, end)] == list(
            range(len(quantities))
        )
        for start, end in bounds:
            assert 1 <= end - start <= 5
            assert quantities[start:end].sum() <= 9
    with pytest.raises(ValueError, match="bid 1 "):
        frame_bounds(np.array([1, 10]), 5, 9)


def test_a_fill_that_came_with_its_answer_is_not_told_again():
    copies = FirstCopies()
    copies.note(np.array([1, 2]))
    events = np.zeros(4, records.EVENT_RECORD)
    events["type"] = [1, 10, 1, 1]
    events["fill"] = [1, 1, 3, 3]
    assert copies.fresh(events)["fill"].tolist() == [1, 3, 3]  # the settlement of 1, then 3
    assert copies.fresh(events[2:])["fill"].tolist() == []


def _fill(number, operator, lease_until_ns):
    return Fill(
        fill=number, bid=1, unit=0, operator=operator, site="s", offer=1, model="m",
        hardware="cpu", precision="other", contract="spot", tier="central", tokens_in=1,
        tokens_out=1, price_nusd=1, contested=False, cold=False, resting=False, latency_us=1,
        at_ns=0, lease_until_ns=lease_until_ns, token=b"", endpoint="", endpoint_sha256="",
    )  # fmt: skip


def test_holdings_give_out_the_shortest_lease_first_and_nothing_too_old():
    held = Holdings()
    for number, operator, until_s in ((1, "a", 10), (2, "a", 8), (3, "b", 9), (4, "b", 2)):
        held.add(_fill(number, operator, until_s * SECOND))
    assert [fill.fill for fill in held.expired(now_ns=0)] == [4]  # its token is void already
    assert held.take(0, not_operator="a").fill == 3
    assert held.take(0).fill == 2
    assert held.take(7_600_000_000) is None  # less than half a second to reach the site
    assert len(held) == 1


def test_a_tokens_header_is_read_back_and_nothing_else_is():
    token = bytes(range(60))
    assert token_of(bearer(token)) == token
    for wrong in ("", "Bearer", "Basic " + "A" * 80, "Bearer " + "!" * 80, bearer(token) + "A"):
        assert token_of(wrong) is None


def test_without_a_certificate_to_pin_there_is_no_connection():
    for wrong in ("", "zz", "00" * 31):
        with pytest.raises(SiteUnreachableError):
            fingerprint(wrong)


def test_an_estimate_is_above_the_count_of_a_real_engine():
    # 32 tokens were counted by llama.cpp for SmolLM2's template with this prompt.
    assert 32 < estimate_tokens([{"role": "user", "content": "Say hello"}]) <= 64


def test_a_stream_is_read_alike_however_it_is_cut():
    stream = b"".join(
        b'data: {"choices":[{"delta":{"content":%s}}]}\r\n\r\n' % text
        for text in (b"null", b'"a"', b'"b\\nc"', b'""')
    )
    stream += b": a comment\n\ndata: [DONE]\n\n"
    for cut in range(1, len(stream)):
        reader, meter, text = EventReader(), Meter(), ""
        for piece in (stream[:cut], stream[cut:]):
            for data in reader.feed(piece):
                text += meter.event(data, now_ns=7)
        assert (text, meter.tokens_out, meter.finished) == ("ab\nc", 2, True)


def test_a_stream_that_is_none_is_an_error():
    for wrong in (b"{", b'{"choices": 1}', b'{"error": {"message": "out of memory"}}'):
        with pytest.raises(StreamError):
            Meter().event(wrong, 0)
    with pytest.raises(StreamError):
        EventReader().feed(b"data: " + b"x" * (2 << 20))


@pytest.mark.skipif(not SAMPLES.exists(), reason=f"no captured answers at {SAMPLES}")
def test_real_answers_are_metered_as_the_engine_counted():
    reader, meter = EventReader(), Meter()
    body = (SAMPLES / "smollm2_chat_stream.sse").read_bytes().split(b"\n", 1)[1] + b"\n"
    for tick, data in enumerate(reader.feed(body)):
        meter.event(data, now_ns=tick)
    assert meter.first_content_ns == 1  # the chunk that opens carries a role alone
    assert (meter.tokens_in, meter.tokens_out) == (42, 59)
    assert meter.finished
    whole = Meter()
    text = whole.whole((SAMPLES / "smollm2_chat.json").read_bytes(), 0)
    assert text.endswith("How can I assist you?")
    assert (whole.tokens_in, whole.tokens_out) == (33, 10)
