"""The commands of the market: one Struct each, the same on the wire, in files and in the journal.

Field names, order, defaults and ranges are those of MARKET_FILE.md. A Struct that exists is
well-formed: `msgspec` checks type and range when it decodes, `__post_init__` what a type cannot
say. Whether it is acceptable in the current state is for the core to decide.
"""

from collections.abc import Hashable, Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from schemas import limits

# ------------------ field types; `\Z` and not `$`, which would let one newline through at the end
_NO_CONTROL = r"\A[^\x00-\x1f\x7f-\x9f]*\Z"
Name = Annotated[
    str, Meta(min_length=1, max_length=limits.NAME_CHARACTERS_MAX, pattern=_NO_CONTROL)
]
NameOrNone = Annotated[str, Meta(max_length=limits.NAME_CHARACTERS_MAX, pattern=_NO_CONTROL)]
Text = Annotated[str, Meta(max_length=limits.TEXT_CHARACTERS_MAX, pattern=_NO_CONTROL)]
Country = Annotated[str, Meta(pattern=r"\A[A-Z]{2}\Z")]
Tier = Literal["on_prem", "telco_mec", "metro_colo", "cdn_pop", "regional", "central"]
Contract = Literal["on_demand", "reserved", "spot"]
Hardware = Literal[
    "h100", "h200", "h20", "b200", "b300", "gb200", "gb300", "a100", "l40s", "l40", "l4", "a10",
    "t4", "a6000", "rtx_4090", "rtx_5090", "rtx_pro_6000", "rtx_6000_ada", "mi300x", "mi325x",
    "mi355x", "gaudi3", "tpu_v6e", "inferentia2", "groq_lpu", "cerebras_wse3", "jetson_orin",
    "cpu", "other",
]  # fmt: skip
Precision = Literal["fp32", "bf16", "fp16", "fp8", "int8", "fp4", "int4", "other"]
Capability = Literal[
    "zero_retention", "confidential", "streaming", "tools", "json_schema", "vision", "logprobs",
    "prefix_cache",
]  # fmt: skip
Certification = Literal[
    "soc2", "iso27001", "iso27701", "hipaa", "pci_dss", "fedramp_moderate", "fedramp_high", "c5",
    "hds", "irap", "tisax",
]  # fmt: skip
Authority = Literal["admin", "verifier", "operator", "buyer", "risk"]
DeclineReason = Literal["refused", "draining", "reclaimed", "overloaded", "failed"]
Scope = Literal["exchange", "operator", "site", "model", "buyer"]
MemberRole = Literal["buyer", "operator"]
Band = Literal[5, 10, 30, 50, 100, 250, 0]

AtNs = Annotated[int, Meta(ge=0, le=limits.AT_NS_MAX)]
UnitPrice = Annotated[int, Meta(ge=0, le=limits.UNIT_PRICE_PUSD_MAX)]
Price = Annotated[int, Meta(ge=0, le=limits.PRICE_NUSD_MAX)]
SecondPrice = Annotated[int, Meta(ge=0, le=limits.SECOND_PRICE_NUSD_MAX)]
Amount = Annotated[int, Meta(ge=1, le=limits.AMOUNT_NUSD_MAX)]
ResolveAmount = Annotated[int, Meta(ge=0, le=limits.AMOUNT_NUSD_MAX)]
Tokens = Annotated[int, Meta(ge=0, le=limits.TOKENS_MAX)]
ContextLimit = Annotated[int, Meta(ge=1, le=limits.CONTEXT_LIMIT_MAX)]
LatencyUs = Annotated[int, Meta(ge=0, le=limits.LATENCY_US_MAX)]
PrefillNs = Annotated[int, Meta(ge=0, le=limits.PREFILL_NS_PER_TOKEN_MAX)]
TokensPerSecond = Annotated[int, Meta(ge=0, le=limits.TOKENS_PER_SECOND_MAX)]
TtlUs = Annotated[int, Meta(ge=1, le=limits.TTL_US_MAX)]
RestUs = Annotated[int, Meta(ge=0, le=limits.REST_US_MAX)]
DeadlineUs = Annotated[int, Meta(ge=0, le=limits.DEADLINE_US_MAX)]
Ppm = Annotated[int, Meta(ge=0, le=limits.PPM)]
Slots = Annotated[int, Meta(ge=0, le=limits.SLOTS_MAX)]
FillsSeen = Annotated[int, Meta(ge=0, le=limits.FILLS_SEEN_MAX)]
Quantity = Annotated[int, Meta(ge=1, le=limits.QUANTITY_MAX)]
OfferNumber = Annotated[int, Meta(ge=1, le=limits.OFFER_MAX)]
AgentNumber = Annotated[int, Meta(ge=0, le=limits.AGENT_MAX)]
Number = Annotated[int, Meta(ge=1, le=limits.NUMBER_MAX)]
Trust = Annotated[int, Meta(ge=0, le=limits.TRUST_MAX)]
Asn = Annotated[int, Meta(ge=1, le=limits.ASN_MAX)]
AsnOrNone = Annotated[int, Meta(ge=0, le=limits.ASN_MAX)]
Count = Annotated[int, Meta(ge=0, le=limits.COUNT_MAX)]
TimeValue = Annotated[int, Meta(ge=0, le=limits.TIME_VALUE_NUSD_PER_MS_MAX)]
Latitude = Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]
_LIST = Meta(max_length=limits.LIST_MAX)
Countries = Annotated[tuple[Country, ...], _LIST]
Names = Annotated[tuple[Name, ...], _LIST]
Asns = Annotated[tuple[Asn, ...], _LIST]
Certifications = Annotated[tuple[Certification, ...], _LIST]
Capabilities = Annotated[tuple[Capability, ...], _LIST]
Tiers = Annotated[tuple[Tier, ...], _LIST]
HardwareList = Annotated[tuple[Hardware, ...], _LIST]
Precisions = Annotated[tuple[Precision, ...], _LIST]
Contracts = Annotated[tuple[Contract, ...], _LIST]
AdapterNames = Annotated[tuple[Name, ...], Meta(max_length=limits.ADAPTERS_PER_OFFER_MAX)]


class FieldError(ValueError):
    """Say which field of a command is wrong and why. Attribute `field` is the field's name."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field


def _once(field: str, entries: Sequence[Hashable]) -> None:
    if len(set(entries)) != len(entries):
        raise FieldError(field, "an entry stands twice")


class Command(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """What every command has: `at`, nanoseconds since the Unix epoch, given by the sequencer."""

    at: AtNs


# ----------------------------------------------------------------------------- admin
class Operator(Command, frozen=True, kw_only=True, tag="operator"):
    """Make a seller known; again: replaces. `group` "" stands for its own name."""

    operator: Name
    group: Name | msgspec.UnsetType = msgspec.UNSET
    control: Countries = ()

    def __post_init__(self) -> None:
        _once("control", self.control)

    @property
    def owner_group(self) -> str:
        """The group that counts: the one given, else the operator's own name."""
        return self.operator if self.group is msgspec.UNSET else self.group


class Buyer(Command, frozen=True, kw_only=True, tag="buyer"):
    """Make a buyer known; again: replaces."""

    buyer: Name
    group: Name | msgspec.UnsetType = msgspec.UNSET

    @property
    def owner_group(self) -> str:
        """The group that counts: the one given, else the buyer's own name."""
        return self.buyer if self.group is msgspec.UNSET else self.group


class Deposit(Command, frozen=True, kw_only=True, tag="deposit"):
    """Add n$ to a member's account; `transfer` increases over both directions."""

    role: MemberRole
    member: Name
    transfer: Number
    amount: Amount


class Withdraw(Command, frozen=True, kw_only=True, tag="withdraw"):
    """Take n$ out of what a member has available."""

    role: MemberRole
    member: Name
    transfer: Number
    amount: Amount


class Rules(Command, frozen=True, kw_only=True, tag="rules"):
    """Change take rate, rent, tolerance and deadlines; what is omitted stays."""

    take_rate_ppm: Ppm | msgspec.UnsetType = msgspec.UNSET
    rent_ppm_per_s: Ppm | msgspec.UnsetType = msgspec.UNSET
    tolerance_ppm: Ppm | msgspec.UnsetType = msgspec.UNSET
    settle_us: DeadlineUs | msgspec.UnsetType = msgspec.UNSET
    deliver_us: DeadlineUs | msgspec.UnsetType = msgspec.UNSET
    dispute_us: DeadlineUs | msgspec.UnsetType = msgspec.UNSET


class Model(Command, frozen=True, kw_only=True, tag="model"):
    """Make a model and its card known; again: replaces, its price cards stay."""

    model: Name
    family: Text
    params_m: Count
    context_limit: ContextLimit
    card_in: UnitPrice
    card_out: UnitPrice
    card_second: SecondPrice = 0
    weights_sha256: Text = ""


class PriceCard(Command, frozen=True, kw_only=True, tag="price_card"):
    """Set the card of a model in one latency band (ms; 0 = best effort)."""

    model: Name
    band: Band
    card_in: UnitPrice
    card_out: UnitPrice
    card_second: SecondPrice = 0


class Metro(Command, frozen=True, kw_only=True, tag="metro"):
    """Make a population centre known; again: replaces."""

    metro: Name
    lat: Latitude
    lon: Longitude
    country: Country
    population: Count


class Site(Command, frozen=True, kw_only=True, tag="site"):
    """Make a site known; again: replaces, trust and margin stay."""

    site: Name
    operator: Name
    tier: Tier
    lat: Latitude
    lon: Longitude
    country: Country | None = None
    data_countries: Countries = ()
    certifications: Certifications = ()
    asns: Asns = ()
    power_kw: Count = 0
    endpoint: Text = ""
    endpoint_sha256: Text = ""

    def __post_init__(self) -> None:
        _once("data_countries", self.data_countries)
        _once("certifications", self.certifications)
        _once("asns", self.asns)


class Resolve(Command, frozen=True, kw_only=True, tag="resolve"):
    """Settle a disputed fill at n$, by "exchange"."""

    fill: Number
    amount: ResolveAmount


# ----------------------------------------------------------------------------- verifier
class SiteTrust(Command, frozen=True, kw_only=True, tag="site_trust"):
    """Set what only the verifier may say of a site; what is omitted stays."""

    site: Name
    trust: Trust | msgspec.UnsetType = msgspec.UNSET
    latency_margin_us: LatencyUs | msgspec.UnsetType = msgspec.UNSET


class Rtt(Command, frozen=True, kw_only=True, tag="rtt"):
    """Set the p99 round trip of (site, metro) in µs; null: unreachable."""

    site: Name
    metro: Name
    p99_us: LatencyUs | None
    estimate: bool = False


# ----------------------------------------------------------------------------- halts
def _check_scope(scope: str, name: str) -> None:
    if scope == "exchange" and name:
        raise FieldError("name", 'must be "" for the exchange')
    if scope != "exchange" and not name:
        raise FieldError("name", f"the {scope} must be named")


class Halt(Command, frozen=True, kw_only=True, tag="halt"):
    """Stop the exchange, an operator, a site, a model or a buyer, by one authority."""

    scope: Scope
    name: NameOrNone = ""
    by: Authority

    def __post_init__(self) -> None:
        _check_scope(self.scope, self.name)


class Resume(Command, frozen=True, kw_only=True, tag="resume"):
    """Lift this authority's own halt; another's stays."""

    scope: Scope
    name: NameOrNone = ""
    by: Authority

    def __post_init__(self) -> None:
        _check_scope(self.scope, self.name)


# ----------------------------------------------------------------------------- operator
class Deal(Command, frozen=True, kw_only=True, tag="deal"):
    """Make an operator's private terms known; again: replaces the buyers."""

    deal: Name
    operator: Name
    buyers: Names

    def __post_init__(self) -> None:
        _once("buyers", self.buyers)


class Adapter(Command, frozen=True, kw_only=True, tag="adapter"):
    """Make a LoRA adapter and its base model known."""

    adapter: Name
    model: Name
    weights_sha256: Text = ""


class Offer(Command, frozen=True, kw_only=True, tag="offer"):
    """Place or replace standing capacity, named (site, offer) (MARKET.md §3)."""

    site: Name
    offer: OfferNumber
    model: Name
    hardware: Hardware
    precision: Precision = "other"
    contract: Contract = "on_demand"
    ask_in: UnitPrice
    ask_out: UnitPrice
    ask_second: SecondPrice = 0
    slots: Slots
    fills_seen: FillsSeen = 0
    ttft_us: LatencyUs
    prefill_ns_per_token: PrefillNs = 0
    tokens_per_second: TokensPerSecond = 0
    context_limit: ContextLimit
    cold_start_us: LatencyUs = 0
    adapters: AdapterNames = ()
    adapter_load_us: LatencyUs = 0
    capabilities: Capabilities = ()
    deal: NameOrNone = ""
    ttl_us: TtlUs

    def __post_init__(self) -> None:
        _once("adapters", self.adapters)
        _once("capabilities", self.capabilities)


class Refresh(Command, frozen=True, kw_only=True, tag="refresh"):
    """Replace what changes by the second; keeps the priority."""

    site: Name
    offer: OfferNumber
    slots: Slots
    fills_seen: FillsSeen
    ttft_us: LatencyUs
    prefill_ns_per_token: PrefillNs
    tokens_per_second: TokensPerSecond
    ttl_us: TtlUs


class Renew(Command, frozen=True, kw_only=True, tag="renew"):
    """Keep every offer of a site alive and change nothing else."""

    site: Name
    ttl_us: TtlUs


class OfferCancel(Command, frozen=True, kw_only=True, tag="offer_cancel"):
    """Take one offer away; its fills live on."""

    site: Name
    offer: OfferNumber


class OffersCancel(Command, frozen=True, kw_only=True, tag="offers_cancel"):
    """Take all offers of a site away."""

    site: Name


class Start(Command, frozen=True, kw_only=True, tag="start"):
    """Say that the site admitted the request of a fill."""

    operator: Name
    fill: Number


class Decline(Command, frozen=True, kw_only=True, tag="decline"):
    """Say that the operator does not serve a fill; the whole hold returns."""

    operator: Name
    fill: Number
    reason: DeclineReason


# ----------------------------------------------------------------------------- buyer
class CampaignModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One acceptable model, and what it is worth less to the buyer, in n$."""

    model: Name
    markdown: Price = 0


class Campaign(Command, frozen=True, kw_only=True, tag="campaign"):
    """Register a standing mandate (MARKET.md §4). Empty list = any."""

    campaign: Name
    buyer: Name
    models: Annotated[
        tuple[CampaignModel, ...], Meta(min_length=1, max_length=limits.MODELS_PER_CAMPAIGN_MAX)
    ]
    latency_budget_us: LatencyUs
    max_unit_price: UnitPrice
    residency: Countries = ()
    data_residency: Countries = ()
    sovereignty: Countries = ()
    certifications: Certifications = ()
    capabilities: Capabilities = ()
    tiers: Tiers = ()
    hardware: HardwareList = ()
    precisions: Precisions = ()
    contracts: Contracts = ()
    allow_operators: Names = ()
    deny_operators: Names = ()
    peering: bool = False
    min_trust: Trust = 0
    min_tokens_per_second: TokensPerSecond = 0
    accept_cold: bool = False
    time_value: TimeValue = 0

    def __post_init__(self) -> None:
        _once("models", [entry.model for entry in self.models])
        for field in (
            "residency", "data_residency", "sovereignty", "certifications", "capabilities",
            "tiers", "hardware", "precisions", "contracts", "allow_operators", "deny_operators",
        ):  # fmt: skip
            _once(field, getattr(self, field))


class CampaignEnd(Command, frozen=True, kw_only=True, tag="campaign_end"):
    """End a campaign; its bids at rest end `cancelled`, the name is free again."""

    buyer: Name
    campaign: Name


class Bid(Command, frozen=True, kw_only=True, tag="bid"):
    """Ask for `quantity` slots, each its own auction (MARKET.md §4)."""

    buyer: Name
    agent: AgentNumber = 0
    bid: Number
    campaign: Name
    origin: Name
    origin_asn: AsnOrNone = 0
    tokens_in: Tokens
    tokens_out: Tokens
    adapter: NameOrNone = ""
    quantity: Quantity = 1
    rest_us: RestUs = 0
    lease_us: TtlUs = 5_000_000
    latency_budget_us: LatencyUs | None = None
    max_price: Price | None = None
    explain: bool = False

    def __post_init__(self) -> None:
        if self.tokens_in + self.tokens_out < 1:
            raise FieldError("tokens_out", "tokens_in and tokens_out together must be at least 1")


class BidCancel(Command, frozen=True, kw_only=True, tag="bid_cancel"):
    """Take a bid at rest away."""

    buyer: Name
    agent: AgentNumber = 0
    bid: Number


class BidsCancel(Command, frozen=True, kw_only=True, tag="bids_cancel"):
    """Take all bids at rest of one agent away."""

    buyer: Name
    agent: AgentNumber = 0


class Release(Command, frozen=True, kw_only=True, tag="release"):
    """Give a leased slot back early; a start on its way still wins."""

    buyer: Name
    fill: Number


# ----------------------------------------------------------------------------- both, sequencer
class Complete(Command, frozen=True, kw_only=True, tag="complete"):
    """Report what was metered, as buyer or as operator."""

    role: MemberRole
    member: Name
    fill: Number
    tokens_in: Tokens
    tokens_out: Tokens
    ttft_us: LatencyUs


class Clock(Command, frozen=True, kw_only=True, tag="clock"):
    """Let time pass: nothing but expiries."""


AnyCommand = (
    Operator | Buyer | Deposit | Withdraw | Rules | Model | PriceCard | Metro | Site | Resolve
    | SiteTrust | Rtt | Halt | Resume | Deal | Adapter | Offer | Refresh | Renew | OfferCancel
    | OffersCancel | Start | Decline | Campaign | CampaignEnd | Bid | BidCancel | BidsCancel
    | Release | Complete | Clock
)  # fmt: skip
COMMANDS: Final[tuple[type[Command], ...]] = AnyCommand.__args__
COMMAND_OF_NAME: Final[dict[str, type[Command]]] = {
    str(kind.__struct_config__.tag): kind for kind in COMMANDS
}


def name_of(command: Command) -> str:
    """Return the command's `type` as the market file writes it."""
    return str(command.__struct_config__.tag)
