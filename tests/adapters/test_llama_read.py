"""The llama_server adapter reads what llama.cpp really says, and names what is impossible."""

from pathlib import Path

import msgspec
import pytest

from ssp_adapters import llama_server
from ssp_adapters.contract import AdapterError, Policy, Sample, Samples, overcommitted
from ssp_adapters.llama_server.read import Timing, kind_of, round_down, round_up
from ssp_adapters.prometheus_text import Metrics

SHARED = Path(__file__).parents[3] / "shared" / "samples" / "llama_server"
METRICS = """# HELP llamacpp:requests_processing Number of requests processing
llamacpp:prompt_tokens_total 1000
llamacpp:prompt_seconds_total 5
llamacpp:tokens_predicted_total 1278
llamacpp:tokens_predicted_seconds_total 29.3222
llamacpp:requests_processing 3
llamacpp:requests_deferred 1
"""
ENGINE = llama_server.Engine(
    site="lantern/berlin-01", model="smollm2-135m", hardware="cpu", precision="int4",
    cost_in=20_000, cost_out=40_000,
)  # fmt: skip
TRAFFIC = llama_server.Traffic(in_flight=2, timings=(Timing(100_000, 10), Timing(90_000, 0)))


def documents(metrics=METRICS, slots='[{"n_ctx":2048,"is_processing":true}]', total=1, **more):
    texts = {
        "http://127.0.0.1:1/metrics": metrics,
        "http://127.0.0.1:1/slots": slots,
        "props.txt": f'{{"total_slots":{total}}}',
        "engine": msgspec.json.encode(more.get("engine", ENGINE)).decode(),
        "traffic": msgspec.json.encode(more.get("traffic", TRAFFIC)).decode(),
    }
    return Samples(documents=tuple(Sample(source=s, text=t) for s, t in texts.items()))


def test_load_speed_and_time_to_first_token_are_what_was_observed():
    slots = '[{"n_ctx":2048,"is_processing":true},{"n_ctx":1024,"is_processing":false}]'
    engine = llama_server.read(documents(slots=slots, total=2)).engines[0]
    assert (engine.concurrency, engine.elsewhere) == (2, 2)  # 3 busy + 1 queued, 2 of them ours
    assert (engine.kv_tokens, engine.context_classes[0].context_limit) == (2048, 1024)
    assert engine.prefill_ns_per_token == 5_100_000  # 5 s for 1000 tokens, rounded up
    assert engine.tokens_per_second == 43
    assert engine.ttft_us == 90_000  # 100 ms less 51 ms of prompt is not the slower one


def test_a_draining_site_and_one_that_was_never_timed_offer_nothing():
    traffic = llama_server.Traffic(in_flight=0, timings=(Timing(1, 0),), draining=True)
    fleet = llama_server.read(documents(traffic=traffic))
    assert llama_server.offers(fleet, Policy(), 0) == ()
    with pytest.raises(AdapterError, match="traffic: timings: nothing was timed"):
        llama_server.read(documents(traffic=llama_server.Traffic(in_flight=0)))


@pytest.mark.parametrize(
    "old, new, named",
    [
        ("processing 3", "processing -1", "metrics:6: llamacpp:requests_processing: -1"),
        ("processing 3", "processing NaN", "metrics:6: llamacpp:requests_processing"),
        ("deferred 1", "deferred 1.5", "metrics:7: llamacpp:requests_deferred: 1.5 is not a whole"),
        ("deferred 1", "deferred +Inf", "metrics:7: llamacpp:requests_deferred"),
        ("seconds_total 5\n", "seconds_total -5\n", "metrics:3: llamacpp:prompt_seconds_total"),
        ("seconds_total 29.3222", "seconds_total 1e-9", "metrics:5: llamacpp:tokens_predicted_sec"),
        (
            "llamacpp:requests_deferred 1\n",
            "",
            "llamacpp:requests_deferred: this metric is missing",
        ),
        ("llamacpp:requests_deferred 1", "%%%", "metrics:7: line: '%%%' is no sample"),
        ("deferred 1", "deferred one", "metrics:7: llamacpp:requests_deferred: 'one' is no number"),
    ],
)
def test_an_impossible_value_is_an_error_that_names_the_metric(old, new, named):
    assert old in METRICS
    with pytest.raises(AdapterError) as error:
        llama_server.read(documents(metrics=METRICS.replace(old, new)))
    assert named in str(error.value)


@pytest.mark.parametrize(
    "change, named",
    [
        ({"total": 2}, "1 slots, but props says 2"),
        ({"slots": '[{"n_ctx":0,"is_processing":true}]'}, "slots: $[0].n_ctx"),
        ({"slots": "["}, "is no JSON"),
        ({"total": 0}, "props.txt: $.total_slots"),
    ],
)
def test_a_document_that_cannot_be_is_an_error_that_names_the_place(change, named):
    with pytest.raises(AdapterError) as error:
        llama_server.read(documents(**change))
    assert named in str(error.value)


def test_documents_must_be_all_there_once_and_known():
    whole = documents().documents
    for wrong, named in (
        (whole[1:], "missing"),
        ((*whole, whole[0]), "twice"),
        ((*whole, Sample(source="x/other", text="")), "none of"),
    ):
        with pytest.raises(AdapterError, match=named):
            llama_server.read(Samples(documents=wrong))


def test_rounding_never_promises_more():
    for value in (0, 7, 99, 100, 101, 999, 123_456):
        assert round_up(value) >= value >= round_down(value)
        assert len(str(round_up(value)).rstrip("0")) <= 2
    assert kind_of("http://127.0.0.1:8080/metrics/") == "metrics"


def test_labels_and_time_stamps_of_the_text_format_are_read():
    metrics = Metrics(
        Sample(source="m", text='a{x="1",y="q\\"\\n"} 2 1700000000\na{x="2"} 3\nb 1e3\n')
    )
    assert [value.labels for value in metrics.values("a")] == [{"x": "1", "y": 'q"\n'}, {"x": "2"}]
    assert (metrics.number("a", 0, 9), metrics.count("b", 2_000)) == (5, 1_000)
    with pytest.raises(AdapterError, match="labels"):
        Metrics(Sample(source="m", text="a{x=1} 2"))


@pytest.mark.skipif(not SHARED.exists(), reason=f"no captured output at {SHARED}")
@pytest.mark.parametrize("load", ["", "_under_load"])
def test_the_captured_output_of_a_real_server_becomes_offers_that_partition_it(load):
    names = {"metrics": load, "slots": load, "props": load}
    samples = [
        Sample(source=f"smollm2/{name}", text=(SHARED / f"smollm2_{name}{tail}.txt").read_text())
        for name, tail in names.items()
    ]
    samples += documents().documents[3:]
    fleet = llama_server.read(Samples(documents=tuple(samples)))
    engine = fleet.engines[0]
    assert (engine.concurrency, engine.kv_tokens) == (4, 4 * 2048)
    assert engine.elsewhere == (6 if load else 0)
    offers = llama_server.offers(fleet, Policy(), 0)
    assert overcommitted(fleet, offers) == ()
    assert sum(offer.slots for offer in offers) == (0 if load else 4)
