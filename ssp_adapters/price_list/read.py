"""Read a price list: a CSV of engines with what their hardware costs by the hour → `FleetState`.

One row is one engine: a model on so many accelerators at a site. Columns (any order; `?` may be empty
or absent):

    site                 the site's name on the exchange, MEMBER/…
    offer                first of the 16 offer numbers that belong to this engine (contract.py)
    model                as the exchange names it; must be in `models.csv`
    hardware             from the market's closed list; must be in `hardware.csv`
    accelerators         how many of them the model is spread over
    precision            fp16, bf16, fp8, int8, fp4, int4
    contract?            on_demand (default), reserved, spot
    usd_per_hour         what one hour of ALL these accelerators costs, in dollars, at most 9 decimals
    concurrency          requests the engine is configured to run at once (vLLM: max_num_seqs)
    context?             classes of context: `4096:60 16384:40` = limit:percent of the slots;
                         default one class of 8192
    capabilities?        from the market's closed list, separated by spaces
    cold_start_ms?       0 (default): the model is resident
    utc_offset_minutes?  of the site's clock, for asks by the hour; default 0

Speeds and costs per token come from `throughput.py`. A price list knows nothing of load: `elsewhere`
is 0, so list only capacity that serves nobody else. Whatever is wrong is `SOURCE:LINE: field: why`.
"""

import csv
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from schemas import limits
from ssp_adapters.contract import (
    CONTEXT_CLASSES_MAX,
    OFFERS_PER_ENGINE,
    AdapterError,
    ContextClass,
    EngineState,
    FleetState,
    Sample,
    Samples,
)
from ssp_adapters.price_list.facts import model_facts
from ssp_adapters.price_list.throughput import CannotEstimateError, estimate, token_cost_pusd

REQUIRED: Final = (
    "site", "offer", "model", "hardware", "accelerators", "precision", "usd_per_hour", "concurrency",
)  # fmt: skip
OPTIONAL: Final = ("contract", "context", "capabilities", "cold_start_ms", "utc_offset_minutes")
ACCELERATORS_MAX: Final = 1_024
USD_PER_HOUR_MAX: Final = 100_000
_DIGITS_MAX: Final = 18  # longer numbers are no numbers here, and int() of thousands is slow
_DEFAULT_CONTEXT: Final = "8192:100"
_NANO: Final = 10**9


class _Row:
    """One row with its place; every getter raises `AdapterError` naming the field."""

    def __init__(self, source: str, line: int, fields: dict[str, str]) -> None:
        self.source = source
        self.line = line
        self.fields = fields

    def error(self, field: str, why: str) -> AdapterError:
        return AdapterError(self.source, self.line, field, why)

    def text(self, field: str, default: str | None = None) -> str:
        value = self.fields.get(field, "")
        if value:
            return value
        if default is None:
            raise self.error(field, "is empty")
        return default

    def integer(self, field: str, low: int, high: int, default: str | None = None) -> int:
        value = self.text(field, default)
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > _DIGITS_MAX:
            raise self.error(field, f"{value[:40]!r} is not a whole number")
        number = int(value)
        if not low <= number <= high:
            raise self.error(field, f"{number} is not within {low} … {high}")
        return number

    def nusd(self, field: str) -> int:
        value = self.text(field)
        try:
            amount = Decimal(value)
        except InvalidOperation:
            raise self.error(field, f"{value[:40]!r} is not an amount of dollars") from None
        if not amount.is_finite() or not 0 <= amount <= USD_PER_HOUR_MAX:
            raise self.error(field, f"{value[:40]} is not within 0 … {USD_PER_HOUR_MAX} dollars")
        if amount != amount.quantize(Decimal("1e-9")):
            raise self.error(field, f"{value[:40]} has more than 9 decimals")
        return int(amount * _NANO)

    def context_classes(self, context_limit_max: int) -> tuple[ContextClass, ...]:
        field = "context"
        classes: list[ContextClass] = []
        for part in self.text(field, _DEFAULT_CONTEXT).split():
            limit, colon, percent = part.partition(":")
            if not (colon and limit.isascii() and percent.isascii()) or not (
                limit.isdigit() and percent.isdigit() and len(part) <= _DIGITS_MAX
            ):
                raise self.error(field, f"{part[:40]!r} is not limit:percent")
            if not 1 <= int(limit) <= context_limit_max:
                raise self.error(
                    field, f"{limit} tokens is not within 1 … {context_limit_max} of this model"
                )
            if not 1 <= int(percent) <= 100:
                raise self.error(field, f"{percent} is not within 1 … 100 percent")
            classes.append(
                ContextClass(context_limit=int(limit), share_ppm=int(percent) * limits.PPM // 100)
            )
        if len(classes) > CONTEXT_CLASSES_MAX:
            raise self.error(field, f"{len(classes)} classes, at most {CONTEXT_CLASSES_MAX}")
        if sum(entry.share_ppm for entry in classes) > limits.PPM:
            raise self.error(field, "the classes take more than 100 percent together")
        return tuple(classes)


def _rows(sample: Sample) -> Iterator[_Row]:
    """Split a CSV into rows, header judged. Lines are counted as an editor counts them."""
    reader = csv.reader(sample.text.splitlines(keepends=True), strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            line = reader.line_num
            if header is None:
                header = [cell.strip() for cell in cells]
                _check_header(sample.source, line, header)
                continue
            if len(cells) != len(header):
                raise AdapterError(
                    sample.source, line, "row", f"{len(cells)} cells under {len(header)} columns"
                )
            fields = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            yield _Row(sample.source, line, fields)
    except csv.Error as error:
        raise AdapterError(sample.source, reader.line_num, "row", str(error)) from None
    if header is None:
        raise AdapterError(sample.source, 0, "header", "the file is empty")


def _check_header(source: str, line: int, header: list[str]) -> None:
    for name in REQUIRED:
        if name not in header:
            raise AdapterError(source, line, name, "this column is missing")
    for name in header:
        if name not in (*REQUIRED, *OPTIONAL):
            raise AdapterError(source, line, name or "header", "no such column")
        if header.count(name) > 1:
            raise AdapterError(source, line, name, "this column stands twice")


def _engine(row: _Row) -> EngineState:
    model, hardware = row.text("model"), row.text("hardware")
    precision = row.text("precision")
    concurrency = row.integer("concurrency", 1, limits.SLOTS_MAX)
    accelerators = row.integer("accelerators", 1, ACCELERATORS_MAX)
    nusd_per_hour = row.nusd("usd_per_hour")
    try:
        speed = estimate(model, hardware, accelerators, precision, concurrency)
    except CannotEstimateError as error:
        raise row.error(error.field, str(error).partition(": ")[2]) from None
    first = row.integer("offer", 1, limits.OFFER_MAX - OFFERS_PER_ENGINE + 1)
    fields: dict[str, Any] = {
        "site": row.text("site"),
        "engine": f"{model}@{hardware}#{first}",
        "first_offer": first,
        "model": model,
        "hardware": hardware,
        "precision": precision,
        "contract": row.text("contract", "on_demand"),
        "cost_in": token_cost_pusd(nusd_per_hour, speed.in_ps),
        "cost_out": token_cost_pusd(nusd_per_hour, speed.out_ps),
        "concurrency": concurrency,
        "kv_tokens": speed.kv_tokens,
        "context_classes": row.context_classes(model_facts()[model].context_limit),
        "ttft_us": speed.ttft_us,
        "prefill_ns_per_token": speed.prefill_ns_per_token,
        "tokens_per_second": speed.tokens_per_second,
        "cold_start_us": 1000 * row.integer("cold_start_ms", 0, limits.LATENCY_US_MAX // 1000, "0"),
        "capabilities": row.text("capabilities", " ").split(),
        "utc_offset_minutes": row.integer("utc_offset_minutes", -840, 840, "0"),
    }
    # The Struct's own types judge what is left: names, closed lists, ranges of derived figures.
    for name, kind in _FIELD_TYPES.items():
        try:
            fields[name] = msgspec.convert(fields[name], kind)
        except msgspec.ValidationError as error:
            raise row.error(_COLUMN_OF_FIELD.get(name, name), str(error)) from None
    capabilities = fields["capabilities"]
    if len(set(capabilities)) != len(capabilities):
        raise row.error("capabilities", "an entry stands twice")
    return EngineState(**fields)


# Costs follow from the price, speeds from the hardware: the column to mend is another than the field.
_COLUMN_OF_FIELD: Final = {
    "cost_in": "usd_per_hour", "cost_out": "usd_per_hour", "ttft_us": "concurrency",
    "prefill_ns_per_token": "hardware", "tokens_per_second": "hardware",
}  # fmt: skip
_FIELD_TYPES: Final[dict[str, Any]] = {
    entry.name: entry.type
    for entry in msgspec.structs.fields(EngineState)
    if entry.name
    in {
        "site", "hardware", "precision", "contract", "cost_in", "cost_out", "ttft_us",
        "prefill_ns_per_token", "tokens_per_second", "capabilities",
    }
}  # fmt: skip


def read(samples: Samples) -> FleetState:
    """Turn price lists into a fleet. Raises `AdapterError` for the first row that is wrong.

    Rows keep their order over all documents; two engines of a site may not share an offer number.
    """
    engines: list[EngineState] = []
    taken: dict[tuple[str, int], tuple[str, int]] = {}
    for sample in samples.documents:
        for row in _rows(sample):
            engine = _engine(row)
            for number in engine.offer_numbers:
                other = taken.setdefault((engine.site, number), (row.source, row.line))
                if other != (row.source, row.line):
                    raise row.error(
                        "offer",
                        f"numbers {engine.first_offer} … {engine.offer_numbers[-1]} of this site "
                        f"overlap those of {other[0]}:{other[1]}; leave {OFFERS_PER_ENGINE} apart",
                    )
            engines.append(engine)
    return FleetState(engines=tuple(engines), fills=samples.fills)
