"""Prometheus' text format, as far as an adapter needs it: samples by name, each with its line.

An adapter must be able to say which line of which document holds an impossible value, so the lines
are kept. (Exposition formats, "Text-based format", version 0.0.4.)
"""

import math
import re
from typing import Final, NamedTuple

from ssp_adapters.contract import AdapterError, Sample

_SAMPLE: Final = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    r"(?:\{(?P<labels>.*)\})?[ \t]+(?P<value>\S+)(?:[ \t]+-?\d+)?[ \t]*"
)
_LABEL: Final = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\["\\n])*)"\s*(?:,|$)')
_SPECIAL: Final = {"+inf": math.inf, "inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_ESCAPES: Final = {'\\"': '"', "\\\\": "\\", "\\n": "\n"}


class Value(NamedTuple):
    """One sample: its line (from 1), its labels, its value."""

    line: int
    labels: dict[str, str]
    value: float


class Metrics:
    """The samples of one document, by metric name.

    Raises:
        AdapterError: a line is neither a comment nor a sample.
    """

    def __init__(self, sample: Sample) -> None:
        self.source = sample.source
        self._values: dict[str, list[Value]] = {}
        for line, text in enumerate(sample.text.split("\n"), start=1):
            stripped = text.strip()
            if not stripped or stripped.startswith("#"):
                continue
            match = _SAMPLE.fullmatch(stripped)
            if match is None:
                raise AdapterError(sample.source, line, "line", f"{stripped[:60]!r} is no sample")
            name = match["name"]
            value = self._number(line, name, match["value"])
            labels = self._labels(line, name, match["labels"] or "")
            self._values.setdefault(name, []).append(Value(line, labels, value))

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def values(self, name: str) -> list[Value]:
        """Return all samples of a metric.

        Raises:
            AdapterError: there is none.
        """
        found = self._values.get(name)
        if not found:
            raise AdapterError(self.source, 0, name, "this metric is missing")
        return found

    def number(self, name: str, low: float, high: float) -> float:
        """Return the sum of a metric over its labels, each within low … high.

        Raises:
            AdapterError: it is missing, not a number, or out of its unit's range (never clamped).
        """
        total = 0.0
        for line, _, value in self.values(name):
            if not low <= value <= high:
                why = f"{value:g} is not within {low:g} … {high:g}"
                raise AdapterError(self.source, line, name, why)
            total += value
        return total

    def count(self, name: str, high: int) -> int:
        """Return a whole number of 0 … high, summed over labels. Raises as `number`."""
        for line, _, value in self.values(name):
            if not math.isfinite(value) or value != math.floor(value):
                raise AdapterError(self.source, line, name, f"{value:g} is not a whole number")
        return int(self.number(name, 0, high))

    def _number(self, line: int, name: str, text: str) -> float:
        special = _SPECIAL.get(text.lower())
        if special is not None:
            return special
        try:
            return float(text)
        except ValueError:
            raise AdapterError(self.source, line, name, f"{text[:40]!r} is no number") from None

    def _labels(self, line: int, name: str, text: str) -> dict[str, str]:
        labels: dict[str, str] = {}
        place = 0
        while place < len(text):
            match = _LABEL.match(text, place)
            if match is None:
                raise AdapterError(self.source, line, name, f"labels {text[:60]!r} are malformed")
            raw = match[2]
            labels[match[1]] = re.sub(r'\\["\\n]', lambda escape: _ESCAPES[escape[0]], raw)
            place = match.end()
        return labels
