"""The closed lists of the market, numbered (MARKET_FILE.md).

A name's number is its place in the tuple. Numbers travel on the wire and stand in journals, so the
tuples only ever grow at the end; a golden test keeps every number where it is.
"""

from typing import Final

TIERS: Final = ("on_prem", "telco_mec", "metro_colo", "cdn_pop", "regional", "central")
CONTRACTS: Final = ("on_demand", "reserved", "spot")
HARDWARE: Final = (
    "h100", "h200", "h20", "b200", "b300", "gb200", "gb300", "a100", "l40s", "l40", "l4", "a10",
    "t4", "a6000", "rtx_4090", "rtx_5090", "rtx_pro_6000", "rtx_6000_ada", "mi300x", "mi325x",
    "mi355x", "gaudi3", "tpu_v6e", "inferentia2", "groq_lpu", "cerebras_wse3", "jetson_orin",
    "cpu", "other",
)  # fmt: skip
PRECISIONS: Final = ("fp32", "bf16", "fp16", "fp8", "int8", "fp4", "int4", "other")
CAPABILITIES: Final = (
    "zero_retention", "confidential", "streaming", "tools", "json_schema", "vision", "logprobs",
    "prefix_cache",
)  # fmt: skip
CERTIFICATIONS: Final = (
    "soc2", "iso27001", "iso27701", "hipaa", "pci_dss", "fedramp_moderate", "fedramp_high", "c5",
    "hds", "irap", "tisax",
)  # fmt: skip
AUTHORITIES: Final = ("admin", "verifier", "operator", "buyer", "risk")
DECLINE_REASONS: Final = ("refused", "draining", "reclaimed", "overloaded", "failed")
SCOPES: Final = ("exchange", "operator", "site", "model", "buyer")
MEMBER_ROLES: Final = ("buyer", "operator")
SETTLED_BY: Final = ("both", "buyer", "operator", "nobody", "exchange", "default")

# Upper bounds in ms; a budget belongs to the smallest band whose bound is at least as large. Above
# the last one is best effort, written 0 and numbered last.
BANDS_MS: Final = (5, 10, 30, 50, 100, 250, 0)
BAND_BEST_EFFORT: Final = len(BANDS_MS) - 1


def band_of_budget(budget_us: int) -> int:
    """Return the number of the latency band (index in `BANDS_MS`) that a budget in µs belongs to."""
    for number, bound_ms in enumerate(BANDS_MS[:-1]):
        if budget_us <= 1000 * bound_ms:
            return number
    return BAND_BEST_EFFORT
