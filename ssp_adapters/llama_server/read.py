"""Read a llama.cpp server: five documents → `FleetState` of one engine.

Documents are told apart by the last part of their source, without an extension:

    metrics   GET /metrics   Prometheus text
    slots     GET /slots     one entry per slot, with its context
    props     GET /props     total slots, the model's file type
    engine    `Engine` as JSON: what the operator says of it (site, model, hardware, cost)
    traffic   `Traffic` as JSON: what the site's proxy measured itself

Values outside their unit's range are errors that name the metric, never clamped.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from schemas import limits
from schemas.commands import (
    Capabilities,
    ContextLimit,
    Contract,
    Hardware,
    LatencyUs,
    Name,
    OfferNumber,
    Precision,
    PrefillNs,
    SecondPrice,
    UnitPrice,
)
from ssp_adapters.contract import (
    AdapterError,
    ContextClass,
    EngineState,
    FleetState,
    Sample,
    Samples,
)
from ssp_adapters.prometheus_text import Metrics

KINDS: Final = ("metrics", "slots", "props", "engine", "traffic")
# Slots of a llama.cpp server: each has its own part of the context, so thousands are no server.
_SLOTS_MAX: Final = 4_096
_SECONDS_MAX: Final = 10.0**10
_TOKENS_MAX: Final = 10.0**15
_P99: Final = 0.99
_PREFILL_UNKNOWN_NS: Final = 0


class Engine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the operator says of the engine: nothing of this can be seen from outside it.

    `context_limit` 0: a slot's whole context. `model` as the exchange names it; `cost_in` and
    `cost_out` in pico-dollars per token.
    """

    site: Name
    model: Name
    hardware: Hardware
    precision: Precision = "other"
    contract: Contract = "on_demand"
    cost_in: UnitPrice
    cost_out: UnitPrice
    cost_second: SecondPrice = 0
    first_offer: OfferNumber = 1
    context_limit: Annotated[int, Meta(ge=0, le=limits.CONTEXT_LIMIT_MAX)] = 0
    capabilities: Capabilities = ("streaming",)
    utc_offset_minutes: Annotated[int, Meta(ge=-14 * 60, le=14 * 60)] = 0
    draining: bool = False


class Timing(Struct, frozen=True, array_like=True):
    """One request that the site timed: µs to the first content, and tokens of its prompt."""

    ttft_us: LatencyUs
    tokens_in: Annotated[int, Meta(ge=0, le=limits.TOKENS_MAX)]


class Traffic(Struct, frozen=True, kw_only=True):
    """What the site's proxy knows: its own requests at the engine now, and the newest timings.

    `draining`: the proxy is shutting down and sells nothing more.
    """

    in_flight: Annotated[int, Meta(ge=0, le=limits.SLOTS_MAX)]
    timings: Annotated[tuple[Timing, ...], Meta(max_length=4_096)] = ()
    draining: bool = False


class _Slot(Struct, frozen=True):
    n_ctx: ContextLimit
    is_processing: bool


class _Props(Struct, frozen=True):
    total_slots: Annotated[int, Meta(ge=1, le=_SLOTS_MAX)]


def kind_of(source: str) -> str:
    """Return which document a source is: `http://127.0.0.1:8080/metrics` → `metrics`."""
    return source.rstrip("/").rpartition("/")[2].partition(".")[0]


def read(samples: Samples) -> FleetState:
    """Turn the five documents into the state of one engine. Raises `AdapterError`."""
    documents: dict[str, Sample] = {}
    for sample in samples.documents:
        kind = kind_of(sample.source)
        if kind not in KINDS:
            raise AdapterError(sample.source, 0, "source", f"is none of {', '.join(KINDS)}")
        if kind in documents:
            raise AdapterError(sample.source, 0, "source", "this document is there twice")
        documents[kind] = sample
    for kind in KINDS:
        if kind not in documents:
            raise AdapterError(kind, 0, "source", "this document is missing")
    engine: Engine = _decode(documents["engine"], Engine)
    traffic: Traffic = _decode(documents["traffic"], Traffic)
    slots: list[_Slot] = _decode(documents["slots"], list[_Slot])
    props: _Props = _decode(documents["props"], _Props)
    metrics = Metrics(documents["metrics"])
    if len(slots) != props.total_slots:
        why = f"{len(slots)} slots, but props says {props.total_slots}"
        raise AdapterError(documents["slots"].source, 0, "length", why)
    if not traffic.timings:
        raise AdapterError(
            documents["traffic"].source, 0, "timings", "nothing was timed yet: probe the engine"
        )
    return FleetState(engines=(_state(engine, traffic, slots, metrics),), fills=samples.fills)


def _state(engine: Engine, traffic: Traffic, slots: list[_Slot], metrics: Metrics) -> EngineState:
    busy = metrics.count("llamacpp:requests_processing", _SLOTS_MAX)
    queued = metrics.count("llamacpp:requests_deferred", limits.SLOTS_MAX)
    prefill_ns = _prefill_ns_per_token(metrics)
    speed = _tokens_per_second(metrics)
    # Every slot holds as much; the smallest is what any request can count on.
    context = min(slot.n_ctx for slot in slots)
    limit = min(engine.context_limit or context, context)
    return EngineState(
        site=engine.site,
        engine=f"{engine.model}#{engine.first_offer}",
        first_offer=engine.first_offer,
        model=engine.model,
        hardware=engine.hardware,
        precision=engine.precision,
        contract=engine.contract,
        cost_in=engine.cost_in,
        cost_out=engine.cost_out,
        cost_second=engine.cost_second,
        concurrency=len(slots),
        # The metrics were read a moment after the traffic was counted: a request of ours that ended
        # between is in neither, one that came between counts as a stranger's until the next look.
        elsewhere=max(0, busy + queued - traffic.in_flight),
        kv_tokens=len(slots) * context,
        context_classes=(ContextClass(context_limit=limit, share_ppm=limits.PPM),),
        ttft_us=_ttft_us(traffic.timings, prefill_ns, speed),
        prefill_ns_per_token=prefill_ns,
        tokens_per_second=speed,
        capabilities=engine.capabilities,
        utc_offset_minutes=engine.utc_offset_minutes,
        draining=engine.draining or traffic.draining,
    )


def _prefill_ns_per_token(metrics: Metrics) -> PrefillNs:
    tokens = metrics.number("llamacpp:prompt_tokens_total", 0, _TOKENS_MAX)
    seconds = metrics.number("llamacpp:prompt_seconds_total", 0, _SECONDS_MAX)
    if not tokens:
        return _PREFILL_UNKNOWN_NS
    # Cached prompts leave few tokens to divide by, so the quotient may pass what an offer can say. It
    # only splits measured times: what is not said per token stays in `ttft_us`.
    wanted = round_up(int(seconds * 10**9 / tokens) + 1)
    return min(wanted, limits.PREFILL_NS_PER_TOKEN_MAX)


def _tokens_per_second(metrics: Metrics) -> int:
    tokens = metrics.number("llamacpp:tokens_predicted_total", 0, _TOKENS_MAX)
    seconds = metrics.number("llamacpp:tokens_predicted_seconds_total", 0, _SECONDS_MAX)
    if not seconds:
        return 0
    wanted = round_down(int(tokens / seconds))
    if wanted > limits.TOKENS_PER_SECOND_MAX:
        line = metrics.values("llamacpp:tokens_predicted_seconds_total")[0].line
        raise AdapterError(
            metrics.source, line, "llamacpp:tokens_predicted_seconds_total",
            f"{wanted} tokens per second is not within 0 … {limits.TOKENS_PER_SECOND_MAX}",
        )  # fmt: skip
    return wanted


def _ttft_us(timings: tuple[Timing, ...], prefill_ns: int, speed: int) -> int:
    """Return the p99 of what is left of each timing without its prompt's share, queueing included.

    With fewer than a hundred timings that is the largest: a promise is not made of the good half. The
    first token is itself a step of decoding, so it never takes less than one, whatever share of a short
    timing the prompt's average cost would claim.
    """
    bare = sorted(
        max(0, timing.ttft_us - timing.tokens_in * prefill_ns // 1_000) for timing in timings
    )
    slowest = bare[int(_P99 * (len(bare) - 1) + 0.999999)]
    step = 1_000_000 // speed if speed else 0
    return min(round_up(max(slowest, step)), limits.LATENCY_US_MAX)


def round_up(value: int) -> int:
    """Round up to two significant digits: noise in the third would make every look a change."""
    step: int = 10 ** max(0, len(str(value)) - 2)
    return -(-value // step) * step


def round_down(value: int) -> int:
    """Round down to two significant digits, likewise."""
    step: int = 10 ** max(0, len(str(value)) - 2)
    return value // step * step


def _decode(sample: Sample, kind: Any) -> Any:
    try:
        return msgspec.json.decode(sample.text, type=kind)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `")
        raise AdapterError(sample.source, 0, place.rstrip("`") or "$", what) from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise AdapterError(sample.source, 0, "$", f"is no JSON: {error}") from None
