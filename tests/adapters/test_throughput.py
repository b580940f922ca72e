"""The throughput estimate: its facts, its direction, and how near it comes to what was measured."""

import csv
import gzip
from pathlib import Path
from statistics import median

import pytest

from schemas.lists import HARDWARE
from ssp_adapters.price_list import facts, throughput
from ssp_adapters.price_list.throughput import CannotEstimateError, estimate, token_cost_pusd

PERF = Path(__file__).parents[3] / "shared" / "data" / "perf"


def test_every_fact_has_a_page_and_a_date_and_names_the_markets_hardware():
    for name in ("hardware.csv", "models.csv"):
        for row in facts._rows(name):
            assert row["source"].startswith("https://"), row
            assert len(row["dated"]) >= len("2024-01"), row
    assert facts.hardware_facts().keys() <= set(HARDWARE)
    assert all(x.active_params_m <= x.params_m for x in facts.model_facts().values())


def test_hardware_agrees_with_published_specifications():
    """Within a tenth: vendors print the same chip with slightly different figures."""
    path = PERF / "gpu_specs_aiconfigurator.csv"
    if not path.exists():
        pytest.skip(f"{path} is not here: compared where it is")
    names = {
        "h100_sxm": "h100", "h200_sxm": "h200", "b200_sxm": "b200", "a100_sxm": "a100",
        "l4": "l4", "l40s": "l40s",
    }  # fmt: skip
    for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
        if row["system"] in names:
            fact = facts.hardware_facts()[names[row["system"]]]
            assert fact.bandwidth_gb_per_s == pytest.approx(float(row["mem_bw"]) / 1e9, rel=0.1)
            assert fact.tflops_16bit == pytest.approx(
                float(row["bfloat16_tc_flops"]) / 1e12, rel=0.1
            )


def test_decode_estimates_are_within_a_factor_of_two_of_measured_ones():
    """Llama 3.1 8B, FP8, one H200, vLLM; the step at the measured batch and context."""
    path = PERF / "silicon_ttft_tpot.csv.gz"
    if not path.exists():
        pytest.skip(f"{path} is not here: compared where it is")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if "Llama-3.1-8B" in row["model_path"]
            and (row["system"], row["precision"], row["tp_size"]) == ("h200_sxm", "fp8", "1")
            and (row["backend"], row["mode"]) == ("vllm", "agg")
        ]
    assert len(rows) >= 5
    ratios = []
    for row in rows:
        # The estimate states a batch of 70 % of concurrency at 1,500 tokens of context: scale the
        # request so that batch × context is the measured one.
        held = int(row["concurrency"]) * (int(row["isl"]) + int(row["osl"]) // 2)
        concurrency = max(1, held * 10 // (7 * throughput.CONTEXT_TOKENS))
        step_ms = estimate("llama-3.1-8b", "h200", 1, "fp8", concurrency).step_ns / 1e6
        ratios.append(float(row["silicon_tpot_ms"]) / step_ms)
    print("measured / estimated:", [f"{ratio:.2f}" for ratio in sorted(ratios)])
    assert 0.5 < median(ratios) < 2


def test_more_bandwidth_is_faster_and_more_at_once_is_cheaper_and_slower():
    small, large = (estimate("llama-3.1-8b", chip, 1, "fp8", 32) for chip in ("l4", "h100"))
    assert large.step_ns < small.step_ns
    assert large.ttft_us < small.ttft_us
    few, many = (estimate("llama-3.1-8b", "h100", 1, "fp8", count) for count in (8, 64))
    assert many.out_ps < few.out_ps
    assert many.tokens_per_second < few.tokens_per_second
    assert many.in_ps == few.in_ps


def test_an_hours_price_is_what_its_tokens_bring_at_the_stated_utilisation():
    """Sell the stated share of an hour's output tokens at cost: the hour is paid, to rounding."""
    speed = estimate("llama-3.1-8b", "l4", 1, "fp8", 32)
    hour_nusd = 804_800_000
    cost = token_cost_pusd(hour_nusd, speed.out_ps)
    sold = 3_600 * 10**12 * throughput.UTILISATION_PPM // (speed.out_ps * 10**6)
    assert cost * sold // 1000 == pytest.approx(hour_nusd, rel=1e-5)


def test_a_mixture_of_experts_reads_no_more_than_all_its_weights():
    one, many = (estimate("gpt-oss-20b", "h100", 1, "fp4", count) for count in (1, 64))
    dense = throughput.weight_bytes(20_914, "fp4") / (3350e9 * 0.8) * 1e9
    assert one.step_ns < dense
    assert many.step_ns > dense


@pytest.mark.parametrize(
    "arguments,field",
    [
        (("nobody", "h100", 1, "fp8", 8), "model"),
        (("llama-3.1-8b", "other", 1, "fp8", 8), "hardware"),
        (("llama-3.1-8b", "h100", 1, "other", 8), "precision"),
        (("llama-3.1-8b", "h100", 0, "fp8", 8), "accelerators"),
        (("llama-3.1-8b", "h100", 1, "fp8", 0), "concurrency"),
        (("llama-3.3-70b", "l4", 1, "fp8", 8), "accelerators"),
    ],
)
def test_what_cannot_be_estimated_names_the_input(arguments, field):
    with pytest.raises(CannotEstimateError) as caught:
        estimate(*arguments)
    assert caught.value.field == field
