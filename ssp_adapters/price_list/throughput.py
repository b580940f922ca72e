"""How fast a model runs on an accelerator, and what a token then costs: an ESTIMATE, `roofline-1`.

A price list says what an hour of hardware costs; the market trades tokens. Between them stands this
model. It is a roofline (Williams, Waterman and Patterson, CACM 52(4), 2009): generating a token is
bound by reading weights and KV cache from memory, reading a prompt by arithmetic.

    decode step   = max( (weights read + batch × CONTEXT × KV bytes) / (bandwidth × BANDWIDTH_SHARE),
                         2 × active parameters × batch / (FLOPS × COMPUTE_SHARE) ) + STEP_OVERHEAD
    prefill       = 2 × active parameters / (FLOPS × COMPUTE_SHARE)             per prompt token
    ttft (p99)    = the step that is running + a chunk of a neighbour's prompt + our own first step
                    + REQUEST_OVERHEAD
    cost_out      = hourly price × decode step / batch / UTILISATION
    cost_in       = hourly price × prefill / UTILISATION

at the batch an engine has when its first tranche is full. Decode and prefill share the accelerator,
and each token pays for the accelerator's time that it takes, so nothing is paid twice. Of a mixture of
experts a batch reads as many weights as its tokens choose: at most all, at most batch × active.

Against measurements: Llama 3.1 8B, FP8, one H200 under vLLM (InferenceMAX runs, published in
ai-dynamo/aiconfigurator, Apache-2.0) agrees within a factor of two (tests/adapters/test_throughput.py).
No public measurement of T4, A10 or L4 under load was found; nothing here says more than their data
sheets do. Change a constant, and `VERSION` changes with it. Integers throughout: two machines that
read one price list must ask the same.
"""

from functools import lru_cache
from typing import Final, NamedTuple

from schemas import limits
from ssp_adapters.price_list.facts import HardwareFact, ModelFact, hardware_facts, model_facts

VERSION: Final = "roofline-1"

# Estimates, all of them; parts per million.
BANDWIDTH_SHARE_PPM: Final = (
    800_000  # of the data sheet's bandwidth (aiconfigurator's scaling: 0.8)
)
COMPUTE_SHARE_PPM: Final = 400_000  # of dense FLOPS that prefill reaches
PARALLEL_SHARE_PPM: Final = 850_000  # kept when a model is split over several accelerators
MEMORY_SHARE_PPM: Final = 900_000  # of memory an engine may take (vLLM's gpu_memory_utilization)
UTILISATION_PPM: Final = (
    600_000  # of the hour that is sold; the target of the first tranche is higher
)
BATCH_PPM: Final = 700_000  # of concurrency: the batch costs and speeds are stated at
CONTEXT_TOKENS: Final = 1_500  # held by a running request: mean of the Azure 2023 trace, rounded up
CHUNK_TOKENS: Final = 256  # of another's prompt that one step also reads (chunked prefill)
STEP_OVERHEAD_NS: Final = 1_000_000  # launching kernels, sampling
REQUEST_OVERHEAD_NS: Final = 2_000_000  # HTTP, tokenizer, scheduler
ACTIVATION_BYTES: Final = 2_000_000_000  # per accelerator

_BITS: Final = {
    "fp32": 32, "bf16": 16, "fp16": 16, "fp8": 8, "int8": 8, "fp4": 4, "int4": 4,
}  # fmt: skip
_NS_PER_HOUR: Final = 3_600 * 10**9
_MEMORY_SCALE_BITS_PPM: Final = 4_250_000  # a 4-bit weight with its block's scale: 4.25 bits
_PPM: Final = limits.PPM


class CannotEstimateError(ValueError):
    """Say which input (`field`) of an estimate is unknown or does not fit, and why."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field


class Estimate(NamedTuple):
    """What an engine is taken to do. Times in ns; `*_ps` are accelerator time per token, in ps."""

    kv_tokens: int
    step_ns: int
    ttft_us: int
    prefill_ns_per_token: int
    tokens_per_second: int
    out_ps: int
    in_ps: int


def _ceil_div(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


def _lookup(model: str, hardware: str, precision: str) -> tuple[ModelFact, HardwareFact, int]:
    """Return the facts and the FLOPS (per second, of one accelerator) that the precision runs at."""
    about_model = model_facts().get(model)
    if about_model is None:
        raise CannotEstimateError("model", f"{model!r} is not in {VERSION}'s table of models")
    about_hardware = hardware_facts().get(hardware)
    if about_hardware is None:
        raise CannotEstimateError(
            "hardware", f"{hardware!r} is not in {VERSION}'s table of hardware"
        )
    bits = _BITS.get(precision)
    if bits is None:
        raise CannotEstimateError("precision", f"{precision!r} has no stated width")
    tflops = about_hardware.tflops_16bit
    if bits == 32:
        tflops //= 2
    # Hardware without narrow arithmetic still stores narrow weights and computes on 16 bits; 4-bit
    # weights are computed on 8 or 16 bits by all engines in use, whatever the data sheet offers.
    elif bits <= 8 and about_hardware.tflops_8bit:
        tflops = about_hardware.tflops_8bit
    return about_model, about_hardware, tflops * 10**12


def weight_bytes(params_m: int, precision: str) -> int:
    """Return the bytes that so many million parameters take."""
    bits = _BITS[precision]
    bits_ppm = _MEMORY_SCALE_BITS_PPM if bits == 4 else bits * _PPM
    return params_m * bits_ppm // 8


def kv_bytes_per_token(model: ModelFact, precision: str) -> int:
    """Return the bytes of KV cache per token: 8 bits where the model runs on 8, else 16."""
    return 2 * model.layers * model.kv_heads * model.head_dim * (1 if _BITS[precision] == 8 else 2)


@lru_cache(maxsize=4096)
def estimate(
    model: str, hardware: str, accelerators: int, precision: str, concurrency: int
) -> Estimate:
    """Estimate an engine: `model` on so many accelerators, running `concurrency` requests at most.

    Raises `CannotEstimateError` naming the input when a fact is missing or the model does not fit.
    """
    about, chip, flops = _lookup(model, hardware, precision)
    if accelerators < 1:
        raise CannotEstimateError("accelerators", "must be at least 1")
    if concurrency < 1:
        raise CannotEstimateError("concurrency", "must be at least 1")
    parallel_ppm = _PPM if accelerators == 1 else PARALLEL_SHARE_PPM
    bandwidth = (
        (accelerators * chip.bandwidth_gb_per_s * 10**9 * BANDWIDTH_SHARE_PPM // _PPM)
        * parallel_ppm
        // _PPM
    )
    compute = (accelerators * flops * COMPUTE_SHARE_PPM // _PPM) * parallel_ppm // _PPM
    weights = weight_bytes(about.params_m, precision)
    kv_bytes = kv_bytes_per_token(about, precision)
    memory = accelerators * (chip.memory_gb * 10**9 * MEMORY_SHARE_PPM // _PPM - ACTIVATION_BYTES)
    kv_tokens = (memory - weights) // kv_bytes
    if kv_tokens < CONTEXT_TOKENS:
        raise CannotEstimateError(
            "accelerators",
            f"{model} in {precision} takes {weights / 1e9:.1f} GB of weights and does not fit on "
            f"{accelerators} × {hardware} ({chip.memory_gb} GB each)",
        )
    batch = max(1, concurrency * BATCH_PPM // _PPM)
    read = min(weights, batch * weight_bytes(about.active_params_m, precision))
    active = about.active_params_m * 10**6
    memory_ns = _ceil_div((read + batch * CONTEXT_TOKENS * kv_bytes) * 10**9, bandwidth)
    arithmetic_ns = _ceil_div(2 * active * batch * 10**9, compute)
    step_ns = max(memory_ns, arithmetic_ns) + STEP_OVERHEAD_NS
    prefill_ps = _ceil_div(2 * active * 10**12, compute)
    ttft_ns = 2 * step_ns + CHUNK_TOKENS * prefill_ps // 1000 + REQUEST_OVERHEAD_NS
    return Estimate(
        kv_tokens=kv_tokens,
        step_ns=step_ns,
        ttft_us=_ceil_div(ttft_ns, 1000),
        prefill_ns_per_token=_ceil_div(prefill_ps, 1000),
        tokens_per_second=10**9 // step_ns,
        out_ps=_ceil_div(step_ns * 1000, batch),
        in_ps=prefill_ps,
    )


def token_cost_pusd(nusd_per_hour: int, ps_per_token: int) -> int:
    """Return what one token costs in pico-dollars, rounded up.

    `nusd_per_hour`: price of all the engine's accelerators, in nano-dollars an hour; n$ × 1000 = p$,
    ns × 1000 = ps, so the factors cancel.
    """
    return _ceil_div(nusd_per_hour * ps_per_token * _PPM, _NS_PER_HOUR * UTILISATION_PPM)
