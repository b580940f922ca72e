"""The demo's buyers: what each wants, as campaigns, and which requests of the trace are its own.

Every buyer excludes somebody for a reason of its own, so that most bids fill and some do not: where
no near site has a fast machine (voice), where nobody under European law is (sovereign), where the
price is too low for what is left (batch).
"""

from typing import Final, NamedTuple

from schemas.commands import Campaign, CampaignModel
from schemas.jurisdictions import SET_OF_NAME, require

_USD_PER_MTOK: Final = 1_000_000  # max_unit_price is in pico-dollars per token
DEPOSIT_NUSD: Final = 10**15  # a million dollars: the demo is about prices, not about running dry
LEASE_US: Final = 5_000_000


class Pattern(NamedTuple):
    """Which requests a campaign takes, out of those its service and size leave to it.

    `share` weighs campaigns that could take the same request. `origins`: names of jurisdictions whose
    metros its users live in, () = anywhere. `budgets`: from so many tokens of input on, the request's own
    budget in µs replaces the campaign's, for nobody reads a book in a quarter of a second.
    """

    campaign: str
    buyer: str
    service: str
    tokens_in_min: int
    tokens_in_max: int
    share: int
    origins: tuple[str, ...] = ()
    budgets: tuple[tuple[int, int], ...] = ()

    def budget_us(self, tokens_in: int) -> int | None:
        """Return the request's own budget, None where the campaign's stands."""
        found = None
        for from_tokens, budget_us in self.budgets:
            if tokens_in >= from_tokens:
                found = budget_us
        return found


class BuyerPlan(NamedTuple):
    """One buyer: its goal in a sentence, its campaigns, what it deposits."""

    buyer: str
    goal: str
    campaigns: tuple[Campaign, ...]
    deposit_nusd: int


REAL_BUYER: Final = "pocketlab"
REAL_CAMPAIGN: Final = "notes"
REAL_TOKENS_IN: Final = 64
REAL_TOKENS_OUT: Final = 32
REAL_EVERY_US: Final = 2_000_000
SHORT_TOKENS_IN_MAX: Final = 400


def _models(**markdown_nusd: int) -> tuple[CampaignModel, ...]:
    return tuple(
        CampaignModel(model=name.replace("__", ".").replace("_", "-"), markdown=markdown)
        for name, markdown in markdown_nusd.items()
    )


BUYERS: Final[tuple[BuyerPlan, ...]] = (
    BuyerPlan(
        "lindenchat",
        "a chat for people in Europe under the GDPR, first token within a quarter of a second",
        (
            Campaign(
                at=0, campaign="chat", buyer="lindenchat",
                models=_models(
                    mistral_small_24b=0, gemma_3_27b=0, llama_3__1_8b=60_000, qwen3_8b=60_000
                ),
                latency_budget_us=250_000, max_unit_price=_USD_PER_MTOK, time_value=200,
                **require("GDPR"),
            ),
        ),
        DEPOSIT_NUSD,
    ),
    BuyerPlan(
        "quickvoice",
        "a voice that answers within 30 ms, from the way and the engine together",
        (
            Campaign(
                at=0, campaign="voice", buyer="quickvoice",
                models=_models(llama_3__2_3b=0, llama_3__2_1b=30_000),
                latency_budget_us=30_000, max_unit_price=3 * _USD_PER_MTOK, time_value=1_000,
                capabilities=("streaming",),
            ),
        ),
        DEPOSIT_NUSD,
    ),
    BuyerPlan(
        "nightmill",
        "a cheap batch: any place, any hour, ten seconds, as little money as possible",
        (
            Campaign(
                at=0, campaign="batch", buyer="nightmill",
                models=_models(gpt_oss_20b=0, qwen3_8b=0, llama_3__1_8b=0),
                latency_budget_us=10_000_000, max_unit_price=_USD_PER_MTOK * 4 // 100,
                accept_cold=True,
            ),
        ),
        DEPOSIT_NUSD,
    ),
    BuyerPlan(
        "amtswerk",
        "a public office: processed, stored and sold under European law, location verified",
        (
            Campaign(
                at=0, campaign="files", buyer="amtswerk",
                models=_models(mistral_small_24b=0, llama_3__3_70b=0, llama_3__1_8b=100_000),
                latency_budget_us=500_000, max_unit_price=_USD_PER_MTOK,
                certifications=("iso27001",), min_trust=2, **require("EU_SOVEREIGN"),
            ),
            Campaign(
                at=0, campaign="sealed", buyer="amtswerk",
                models=_models(mistral_small_24b=0, llama_3__1_8b=0, qwen3_8b=0),
                latency_budget_us=100_000, max_unit_price=4 * _USD_PER_MTOK,
                certifications=("c5",), capabilities=("zero_retention",), min_trust=3,
                **require("EU_SOVEREIGN"),
            ),
        ),
        DEPOSIT_NUSD,
    ),
    BuyerPlan(
        "alpenbank",
        "a bank that may buy in Switzerland only, of sellers under Swiss law: so far there is none",
        (
            Campaign(
                at=0, campaign="ledger", buyer="alpenbank", models=_models(llama_3__1_8b=0),
                latency_budget_us=1_000_000, max_unit_price=5 * _USD_PER_MTOK,
                residency=("CH",), data_residency=("CH",), sovereignty=("CH",),
            ),
        ),
        DEPOSIT_NUSD,
    ),
    BuyerPlan(
        "harborline",
        "an assistant for travellers anywhere, near where they are, speed worth money",
        (
            Campaign(
                at=0, campaign="assistant", buyer="harborline",
                models=_models(llama_3__1_8b=0, qwen3_8b=0, gpt_oss_20b=0),
                latency_budget_us=100_000, max_unit_price=_USD_PER_MTOK, time_value=500,
                deny_operators=("greyport",),
            ),
            Campaign(
                at=0, campaign="lookup", buyer="harborline",
                models=_models(llama_3__1_8b=0, qwen3_8b=0, llama_3__2_3b=20_000),
                latency_budget_us=50_000, max_unit_price=2 * _USD_PER_MTOK, time_value=500,
            ),
        ),
        DEPOSIT_NUSD,
    ),
    BuyerPlan(
        REAL_BUYER,
        "short notes on the one site that is really served here, by a model nobody else has",
        (
            Campaign(
                at=0, campaign=REAL_CAMPAIGN, buyer=REAL_BUYER,
                models=_models(smollm2_135m=0),
                latency_budget_us=5_000_000, max_unit_price=5 * _USD_PER_MTOK,
            ),
        ),
        DEPOSIT_NUSD,
    ),
)  # fmt: skip

PATTERNS: Final[tuple[Pattern, ...]] = (
    Pattern(
        "voice", "quickvoice", "conv", 0, SHORT_TOKENS_IN_MAX, 3,
        ("EEA", "US", "CA", "GB", "CH", "JP", "KR", "SG", "AU", "BR", "IN"),
    ),
    Pattern(
        "lookup", "harborline", "conv", 0, SHORT_TOKENS_IN_MAX, 2,
        ("US", "CA", "MX", "GB", "JP", "KR", "AU", "SG", "BR", "AE", "ZA"),
    ),
    Pattern(
        "chat", "lindenchat", "conv", SHORT_TOKENS_IN_MAX + 1, 2**23, 4, ("EEA",),
        ((1_500, 1_000_000),),
    ),
    Pattern(
        "assistant", "harborline", "conv", SHORT_TOKENS_IN_MAX + 1, 2**23, 4, (),
        ((800, 250_000), (2_500, 1_000_000)),
    ),
    Pattern(
        "files", "amtswerk", "conv", SHORT_TOKENS_IN_MAX + 1, 2**23, 2, ("EU",),
        ((3_000, 2_000_000),),
    ),
    Pattern(
        "sealed", "amtswerk", "conv", SHORT_TOKENS_IN_MAX + 1, 2**23, 1, ("EU",),
        ((600, 250_000), (1_500, 1_000_000)),
    ),
    Pattern("batch", "nightmill", "code", 0, 2**23, 12),
    Pattern("ledger", "alpenbank", "code", 0, 2**23, 1, ("CH",)),
    Pattern("files", "amtswerk", "code", 0, 2**23, 3, ("EU",), ((3_000, 2_000_000),)),
)  # fmt: skip

assert all(
    set(pattern.origins)
    <= SET_OF_NAME.keys() | {word for word in pattern.origins if len(word) == 2}
    for pattern in PATTERNS
)
