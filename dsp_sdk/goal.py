"""A goal in a buyer's words becomes a campaign.

    parse_goal("50 million requests a day, 100 ms, GDPR, $2.50 per million tokens")

Clauses stand between commas (or semicolons), in any order; each kind at most once but for
jurisdictions. What is not understood is an error: a constraint that was passed over would be broken
silently. The rate is what pacing will steer by; a campaign alone does not limit it.
"""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, cast

from msgspec import Struct

from schemas import limits
from schemas.commands import Campaign, CampaignModel
from schemas.jurisdictions import REQUIREMENT_OF_NAME, SET_OF_NAME, expand, require

_SECONDS: Final = {"second": 1, "s": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_MULTIPLES: Final = {"": 1, "thousand": 1_000, "k": 1_000, "million": 10**6, "m": 10**6,
                     "billion": 10**9}  # fmt: skip
_NUMBER: Final = r"(\d[\d_]*(?:\.\d+)?)"
_RATE: Final = re.compile(
    rf"{_NUMBER} ?(thousand|k|million|m|billion|) ?requests? ?(?:a|per|/) ?(second|s|minute|hour|day)"
)
_BUDGET: Final = re.compile(rf"(?:within |at most )?{_NUMBER} ?(ms|milliseconds?|s|seconds?)")
_PRICE: Final = re.compile(
    rf"(?:at most )?\$ ?{_NUMBER} ?(?:per|/|a) ?(?:million|m)(?: tokens?|tok)?"
)
_US: Final = {"m": 1_000, "s": 1_000_000}  # by the first letter of the unit
_WORD: Final = re.compile(r"[A-Z][A-Z_]*")
_RULES: Final = ("residency", "data_residency", "sovereignty")


class GoalError(ValueError):
    """Say which clause of a goal is not understood, or is missing."""


class Goal(Struct, frozen=True):
    """What a buyer wants: `text` as it was said, and what it means in the market's units.

    `requests_per_day` is 0 when no rate was given. `rules` maps residency, data_residency and
    sovereignty to allowed countries.
    """

    text: str
    latency_budget_us: int
    max_unit_price_pusd: int
    requests_per_day: int
    rules: dict[str, tuple[str, ...]]

    def campaign(
        self, buyer: str, campaign: str, models: Iterable[str | CampaignModel], **more: Any
    ) -> Campaign:
        """Return the campaign of this goal for these models; `more` are further fields of it."""
        entries = tuple(
            entry if isinstance(entry, CampaignModel) else CampaignModel(model=entry)
            for entry in models
        )
        fields: dict[str, Any] = {
            "latency_budget_us": self.latency_budget_us,
            "max_unit_price": self.max_unit_price_pusd,
            **self.rules,
            **more,
        }
        return Campaign(at=0, buyer=buyer, campaign=campaign, models=entries, **fields)


def parse_goal(text: str) -> Goal:
    """Read a goal. Raises `GoalError` naming the clause."""
    budget: int | None = None
    price: int | None = None
    rate: int | None = None
    words: list[str] = []
    for raw in re.split(r"[,;]", text):
        clause = " ".join(raw.split())
        if not clause:
            continue
        lower = clause.lower()
        if match := _RATE.fullmatch(lower):
            _once(rate, clause)
            rate = _whole(
                Decimal(match[1]) * _MULTIPLES[match[2]] * 86_400 / _SECONDS[match[3]], clause
            )
        elif match := _BUDGET.fullmatch(lower):
            _once(budget, clause)
            budget = _whole(Decimal(match[1]) * _US[match[2][0]], clause)
        elif match := _PRICE.fullmatch(lower):
            _once(price, clause)
            price = _whole(Decimal(match[1]) * 10**6, clause)
        elif _WORD.fullmatch(clause) and (
            clause in REQUIREMENT_OF_NAME or clause in SET_OF_NAME or len(clause) == 2
        ):
            words.append(clause)
        else:
            raise GoalError(
                f"{clause!r} is not understood: say a rate (50 million requests a day), a budget "
                f"(100 ms), a price ($2.50 per million tokens), or a jurisdiction "
                f"({', '.join((*REQUIREMENT_OF_NAME, *SET_OF_NAME))}, or a country code)"
            )
    if budget is None:
        raise GoalError("a goal needs a latency budget, such as 100 ms")
    if price is None:
        raise GoalError("a goal needs a price, such as $2.50 per million tokens")
    if budget > limits.LATENCY_US_MAX or price > limits.UNIT_PRICE_PUSD_MAX:
        raise GoalError(f"{text!r}: a budget or price beyond the limits of the market")
    return Goal(text, budget, price, rate or 0, rules_of(words))


def rules_of(words: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return campaign fields of jurisdiction words: a requirement (`GDPR`) by its own table, a set
    or a country as residency and data residency. Several words must all hold.

    Raises:
        GoalError: together they allow no country at all.
        UnknownJurisdictionError: a word is none.
    """
    rules: dict[str, tuple[str, ...]] = {}
    for word in words:
        named: dict[str, tuple[str, ...]] = {}
        if word in REQUIREMENT_OF_NAME:
            named = cast("dict[str, tuple[str, ...]]", dict(require(word)))
        else:
            named["residency"] = named["data_residency"] = expand((word,))
        for rule, allowed in named.items():
            rules[rule] = (
                tuple(country for country in rules[rule] if country in allowed)
                if rule in rules
                else allowed
            )
            if not rules[rule]:
                raise GoalError(f"{', '.join(words)}: together they allow no country")
    return rules


def _once(value: int | None, clause: str) -> None:
    if value is not None:
        raise GoalError(f"{clause!r}: said twice")


def _whole(value: Decimal, clause: str) -> int:
    if value != value.to_integral_value():
        raise GoalError(f"{clause!r}: finer than the market counts")
    return int(value)
