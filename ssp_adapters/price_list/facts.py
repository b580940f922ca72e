"""Published facts about accelerators and open-weight models: the two tables beside this file.

Each row names the page that says it and when that page was published. They are the only inputs of
`throughput.py`; what is not in them cannot be estimated.
"""

import csv
from functools import cache
from importlib import resources
from typing import NamedTuple


class HardwareFact(NamedTuple):
    """One accelerator: decimal GB, GB/s, dense tera-operations per second (0: not supported)."""

    hardware: str
    memory_gb: int
    bandwidth_gb_per_s: int
    tflops_16bit: int
    tflops_8bit: int
    tflops_4bit: int


class ModelFact(NamedTuple):
    """One model: parameters in millions (all, and those a token passes), shape of its KV cache."""

    model: str
    family: str
    params_m: int
    active_params_m: int
    layers: int
    kv_heads: int
    head_dim: int
    context_limit: int


def _rows(name: str) -> list[dict[str, str]]:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def hardware_facts() -> dict[str, HardwareFact]:
    """Return accelerators by their name in the closed list of hardware."""
    return {
        row["hardware"]: HardwareFact(
            row["hardware"], *(int(row[key] or 0) for key in HardwareFact._fields[1:])
        )
        for row in _rows("hardware.csv")
    }


@cache
def model_facts() -> dict[str, ModelFact]:
    """Return models by name."""
    return {
        row["model"]: ModelFact(
            row["model"], row["family"], *(int(row[key]) for key in ModelFact._fields[2:])
        )
        for row in _rows("models.csv")
    }
