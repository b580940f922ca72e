"""The demo's operators: made-up companies, each with the footprint of a kind that exists.

Names are fictitious. What an operator may claim (control, certifications, where data rests, trust) is
spread so that every rule of a campaign excludes somebody for a reason one could meet.
"""

from typing import Final, Literal, NamedTuple

from schemas.commands import Capability, Certification, Tier

DataRests = Literal["country", "country_and_home", "unknown"]


class OperatorKind(NamedTuple):
    """One operator. `share`: of the world's sites, in parts per thousand; `control` () = unknown.

    `regions` and `countries` say where it has sites (either fits); `tiers` with weights; `style` whose
    hourly prices it pays; `ask_percent` its ask over cost; `trust` the levels its sites draw from.
    """

    name: str
    group: str
    share: int
    control: tuple[str, ...]
    regions: tuple[str, ...]
    countries: tuple[str, ...]
    tiers: tuple[tuple[Tier, int], ...]
    style: Literal["hyperscaler", "neocloud"]
    ask_percent: int
    data_rests: DataRests
    certifications: tuple[Certification, ...]
    capabilities: tuple[Capability, ...]
    trust: tuple[int, ...]


_USUAL: Final[tuple[Capability, ...]] = ("streaming", "tools", "json_schema")
_CAREFUL: Final[tuple[Capability, ...]] = (*_USUAL, "zero_retention")

OPERATORS: Final[tuple[OperatorKind, ...]] = (
    OperatorKind(
        "metrocable", "metrocable", 125, ("DE", "NL"), ("EU",), (),
        (("telco_mec", 3), ("metro_colo", 3), ("on_prem", 1)), "neocloud", 128,
        "country", ("iso27001", "c5"), _CAREFUL, (2, 2, 3),
    ),
    OperatorKind(
        "nordcolo", "nordcolo", 85, ("NO", "SE"), (),
        ("DE", "DK", "EE", "FI", "IS", "LT", "LV", "NL", "NO", "PL", "SE", "FR", "AT", "CZ", "BE"),
        (("metro_colo", 4), ("regional", 1)), "neocloud", 120,
        "country", ("iso27001", "soc2"), _USUAL, (2, 2, 1),
    ),
    OperatorKind(
        "voltigeur-telecom", "voltigeur-telecom", 70, ("FR",), (),
        ("FR", "ES", "IT", "PT", "BE", "DE", "GR", "RO", "PL", "CH", "GB", "HU", "AT", "BG", "HR"),
        (("telco_mec", 4), ("on_prem", 2), ("regional", 1)), "neocloud", 135,
        "country", ("iso27001", "hds"), _CAREFUL, (2, 3),
    ),
    OperatorKind(
        "bluequay-cdn", "quayscale", 150, ("US",), ("NA", "EU", "SA", "EA", "AS", "OC", "AF", "ME"), (),
        (("cdn_pop", 1),), "hyperscaler", 118,
        "country_and_home", ("soc2", "iso27001", "pci_dss"), _USUAL, (1, 1, 2),
    ),
    OperatorKind(
        "helioscale", "quayscale", 50, ("US",), ("NA", "EU", "SA", "EA", "AS", "OC"), (),
        (("regional", 3), ("central", 2)), "neocloud", 122,
        "country_and_home", ("soc2", "iso27001", "hipaa"), (*_USUAL, "logprobs"), (2,),
    ),
    OperatorKind(
        "prairiefiber", "prairiefiber", 105, ("US",), (), ("US", "CA", "MX"),
        (("telco_mec", 4), ("metro_colo", 2), ("on_prem", 1)), "neocloud", 126,
        "country", ("soc2", "hipaa"), _CAREFUL, (1, 2),
    ),
    OperatorKind(
        "tessellate-edge", "tessellate-edge", 85, ("CA", "US"), ("NA",), ("GB", "IE", "DE", "NL", "FR"),
        (("metro_colo", 3), ("on_prem", 1)), "neocloud", 115,
        "country", ("soc2",), _USUAL, (0, 1, 2),
    ),
    OperatorKind(
        "kitefin-networks", "kitefin-networks", 100, ("JP", "SG"), ("EA", "OC"),
        ("SG", "MY", "TH", "VN", "ID", "PH"),
        (("telco_mec", 2), ("metro_colo", 3), ("regional", 1)), "neocloud", 124,
        "country", ("iso27001",), _USUAL, (1, 2),
    ),
    OperatorKind(
        "monsoon-mec", "monsoon-mec", 75, ("IN",), ("AS",), (),
        (("telco_mec", 4), ("on_prem", 1), ("metro_colo", 1)), "neocloud", 118,
        "country", ("iso27001",), _USUAL, (1,),
    ),
    OperatorKind(
        "andes-rack", "andes-rack", 60, ("CL", "BR"), ("SA",), ("MX", "GT", "PA", "CR", "DO"),
        (("metro_colo", 3), ("telco_mec", 2)), "neocloud", 125,
        "country", ("iso27001",), _USUAL, (1, 2),
    ),
    OperatorKind(
        "baobab-exchange", "baobab-exchange", 65, ("ZA",), ("AF", "ME"), (),
        (("metro_colo", 3), ("telco_mec", 2)), "neocloud", 130,
        "country", (), _USUAL, (0, 1),
    ),
    OperatorKind(
        "greyport", "greyport", 30, (), ("EU", "NA", "EA", "AS", "ME"), (),
        (("metro_colo", 1), ("on_prem", 1)), "neocloud", 105,
        "unknown", (), _USUAL, (0,),
    ),
)  # fmt: skip


class Box(NamedTuple):
    """A machine a site may have: accelerators of one kind, and how often (weight)."""

    hardware: str
    weight: int


BOXES: Final[dict[str, tuple[Box, ...]]] = {
    "on_prem": (Box("l4", 3), Box("rtx_6000_ada", 3), Box("l40s", 3), Box("rtx_pro_6000", 1)),
    "telco_mec": (Box("l4", 2), Box("l40s", 4), Box("rtx_pro_6000", 4)),
    "metro_colo": (Box("l40s", 2), Box("rtx_pro_6000", 4), Box("h100", 4)),
    "cdn_pop": (Box("l4", 2), Box("l40s", 3), Box("rtx_pro_6000", 3), Box("h100", 2)),
    "regional": (Box("a100", 2), Box("h100", 4), Box("l40s", 1), Box("mi300x", 2)),
    "central": (Box("h200", 4), Box("b200", 2), Box("mi300x", 3)),
}
# Engines of a site: least and most.
ENGINES: Final = {
    "on_prem": (1, 2), "telco_mec": (1, 3), "metro_colo": (2, 3), "cdn_pop": (1, 3),
    "regional": (3, 4), "central": (4, 6),
}  # fmt: skip
POWER_KW: Final = {
    "on_prem": 6, "telco_mec": 12, "metro_colo": 40, "cdn_pop": 15, "regional": 600,
    "central": 4_000,
}  # fmt: skip


class Load(NamedTuple):
    """A model as an engine runs it on a box: how often, spread over how many accelerators, how."""

    model: str
    weight: int
    accelerators: int
    precision: str
    concurrency: int
    context: str


_SHORT: Final = "4096:100"
_MIXED: Final = "4096:60 16384:40"

LOADS: Final[dict[str, tuple[Load, ...]]] = {
    "l4": (
        Load("llama-3.2-1b", 3, 1, "fp8", 32, _SHORT),
        Load("llama-3.2-3b", 2, 1, "fp8", 24, _MIXED),
        Load("llama-3.1-8b", 2, 1, "fp8", 16, _MIXED),
    ),
    "rtx_6000_ada": (
        Load("llama-3.2-3b", 2, 1, "fp8", 24, _MIXED),
        Load("llama-3.1-8b", 3, 1, "fp8", 32, _MIXED),
        Load("qwen3-8b", 2, 1, "fp8", 32, _MIXED),
        Load("gpt-oss-20b", 2, 1, "fp4", 32, _MIXED),
    ),
    "l40s": (
        Load("llama-3.2-1b", 2, 1, "fp8", 32, _SHORT),
        Load("llama-3.2-3b", 2, 1, "fp8", 16, _SHORT),
        Load("llama-3.1-8b", 3, 1, "fp8", 32, _MIXED),
        Load("qwen3-8b", 2, 1, "fp8", 32, _MIXED),
        Load("mistral-small-24b", 3, 1, "fp8", 16, _MIXED),
        Load("gpt-oss-20b", 2, 1, "fp4", 32, _MIXED),
    ),
    "rtx_pro_6000": (
        Load("llama-3.2-1b", 3, 1, "fp8", 32, _SHORT),
        Load("llama-3.2-3b", 5, 1, "fp8", 16, _SHORT),
        Load("llama-3.1-8b", 4, 1, "fp8", 32, _MIXED),
        Load("qwen3-8b", 2, 1, "fp8", 32, _MIXED),
        Load("mistral-small-24b", 4, 1, "fp8", 32, _MIXED),
        Load("gpt-oss-20b", 2, 1, "fp4", 32, _MIXED),
        Load("gemma-3-27b", 1, 1, "fp8", 16, _MIXED),
    ),
    "a100": (
        Load("llama-3.1-8b", 2, 1, "fp16", 64, _MIXED),
        Load("qwen3-8b", 2, 1, "fp16", 64, _MIXED),
        Load("mistral-small-24b", 2, 1, "fp16", 16, _MIXED),
        Load("gpt-oss-20b", 2, 1, "fp4", 64, _MIXED),
    ),
    "h100": (
        Load("llama-3.2-3b", 3, 1, "fp8", 32, _SHORT),
        Load("llama-3.1-8b", 4, 1, "fp8", 64, _MIXED),
        Load("qwen3-8b", 2, 1, "fp8", 64, _MIXED),
        Load("mistral-small-24b", 4, 1, "fp8", 48, _MIXED),
        Load("gemma-3-27b", 2, 1, "fp8", 24, _MIXED),
        Load("gpt-oss-20b", 3, 1, "fp4", 64, _MIXED),
        Load("llama-3.3-70b", 3, 2, "fp8", 48, _MIXED),
    ),
    "h200": (
        Load("llama-3.1-8b", 2, 1, "fp8", 128, _MIXED),
        Load("mistral-small-24b", 2, 1, "fp8", 96, _MIXED),
        Load("gemma-3-27b", 2, 1, "fp8", 48, _MIXED),
        Load("gpt-oss-20b", 3, 1, "fp4", 128, _MIXED),
        Load("llama-3.3-70b", 4, 1, "fp8", 32, _MIXED),
    ),
    "b200": (
        Load("mistral-small-24b", 1, 1, "fp8", 96, _MIXED),
        Load("gpt-oss-20b", 3, 1, "fp4", 128, _MIXED),
        Load("llama-3.3-70b", 4, 1, "fp8", 48, _MIXED),
    ),
    "mi300x": (
        Load("llama-3.1-8b", 2, 1, "fp8", 128, _MIXED),
        Load("qwen3-8b", 2, 1, "fp8", 128, _MIXED),
        Load("gemma-3-27b", 2, 1, "fp8", 48, _MIXED),
        Load("llama-3.3-70b", 3, 1, "fp8", 48, _MIXED),
        Load("gpt-oss-20b", 2, 1, "fp4", 128, _MIXED),
    ),
}
