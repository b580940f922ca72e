"""Requests over time: a recorded trace, or a generator with that trace's stated statistics.

The trace is one hour of two production services of Azure (2023-11-16), 28,185 requests with arrival
time and token counts: AzurePublicDataset, CC-BY-4.0, described in Patel et al., "Splitwise: Efficient
Generative LLM Inference Using Phase Splitting", ISCA 2024. Both services in one file, columns
`t_s,service,input_tokens,output_tokens`, sorted by time. `SERVICES` below was computed from it once;
a test compares generator and trace where the file is present.
"""

import csv
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np

US_PER_S: Final = 1_000_000
WINDOW_S: Final = 10
_COLUMNS: Final = ["t_s", "service", "input_tokens", "output_tokens"]
_TOKENS_MAX: Final = 2**23


class Request(NamedTuple):
    """One request of the recorded services; `t_us` since the first, in the trace's own time."""

    t_us: int
    service: str
    input_tokens: int
    output_tokens: int


class Service(NamedTuple):
    """What the trace says of one service.

    `window_mean`, `window_variance`: of the number of arrivals in windows of `WINDOW_S`; the code
    service is bursty beyond any Poisson process. Token counts at `QUANTILES`; in and out are close to
    independent (correlation of logarithms 0.09 and 0.00), and so they are drawn.
    """

    name: str
    window_mean: float
    window_variance: float
    input_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]


QUANTILES: Final = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
SERVICES: Final = (
    Service(
        "conv", 55.17, 220.9,
        (2, 181, 207, 396, 1020, 1189, 2735, 4083, 4142, 14050),
        (7, 41, 54, 85, 129, 395, 424, 451, 601, 1000),
    ),
    Service(
        "code", 25.05, 1768.4,
        (3, 75, 147, 578, 1469, 2745, 5188, 7303, 7436, 7437),
        (6, 6, 7, 9, 13, 24, 55, 90, 251, 1899),
    ),
)  # fmt: skip
RATE_PER_S: Final = 28_185 / 3_513.25  # of both together: 8.02


class TraceError(ValueError):
    """Say which line of a trace cannot be read: `NAME:LINE: column: why`."""


def read_trace(lines: Iterable[str], name: str = "trace") -> list[Request]:
    """Read a trace as published (see the top of this file). Raises `TraceError`.

    Takes lines of text; the caller opens the file (and unpacks it). Times may not decrease.
    """
    rows = csv.reader(lines)
    if next(rows, None) != _COLUMNS:
        raise TraceError(f"{name}:1: header: must be {','.join(_COLUMNS)}")
    result: list[Request] = []
    last_us = 0
    for row in rows:
        place = f"{name}:{rows.line_num}"
        if len(row) != len(_COLUMNS):
            raise TraceError(f"{place}: row: {len(row)} cells under {len(_COLUMNS)} columns")
        try:
            t_us, tokens_in, tokens_out = round(float(row[0]) * US_PER_S), int(row[2]), int(row[3])
        except (ValueError, OverflowError):
            raise TraceError(f"{place}: a cell is not a number: {','.join(row)[:80]}") from None
        if t_us < last_us:
            raise TraceError(f"{place}: t_s: {row[0]} is before the line above")
        if (
            not (0 <= tokens_in <= _TOKENS_MAX and 0 <= tokens_out <= _TOKENS_MAX)
            or not tokens_in + tokens_out
        ):
            raise TraceError(f"{place}: tokens: {tokens_in} in and {tokens_out} out")
        last_us = t_us
        result.append(Request(t_us, row[1], tokens_in, tokens_out))
    if not result:
        raise TraceError(f"{name}: no requests")
    return result


def replay(trace: list[Request]) -> Iterator[Request]:
    """Yield a trace for ever, one copy after the other."""
    length_us = trace[-1].t_us + round(US_PER_S / RATE_PER_S)
    start_us = 0
    while True:
        for request in trace:
            yield request._replace(t_us=start_us + request.t_us)
        start_us += length_us


def _tokens(draws: np.random.Generator, quantiles: tuple[int, ...], count: int) -> list[int]:
    """Draw by the inverse of the distribution, its logarithm straight between the quantiles."""
    logs = np.interp(draws.random(count), QUANTILES, np.log(quantiles))
    tokens: list[int] = np.rint(np.exp(logs)).astype(np.int64).tolist()
    return tokens


def generate(seed: int) -> Iterator[Request]:
    """Yield requests for ever with the trace's statistics, in order of time.

    Arrivals in a window are Poisson with a rate drawn anew per window and service from a gamma
    distribution of the trace's mean and excess variance (a negative binomial count). How rates of
    neighbouring windows depend on one another is not modelled.
    """
    draws = np.random.Generator(np.random.PCG64([seed, 3]))
    window = 0
    while True:
        batch: list[Request] = []
        for service in SERVICES:
            excess = service.window_variance - service.window_mean
            rate = draws.gamma(service.window_mean**2 / excess, excess / service.window_mean)
            count = int(draws.poisson(rate))
            times = (
                draws.integers(0, WINDOW_S * US_PER_S, size=count) + window * WINDOW_S * US_PER_S
            )
            tokens_in = _tokens(draws, service.input_tokens, count)
            tokens_out = _tokens(draws, service.output_tokens, count)
            batch += [
                Request(t_us, service.name, given, wanted)
                for t_us, given, wanted in zip(times.tolist(), tokens_in, tokens_out, strict=True)
            ]
        batch.sort()
        yield from batch
        window += 1
