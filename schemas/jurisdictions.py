"""Named sets of countries: what a buyer may write instead of a list.

The market itself knows countries only (MARKET_FILE.md: "sets like the EEA are written out by whoever
writes the command"), so a name is resolved here, once, before a campaign is registered. A campaign
registered yesterday keeps yesterday's list. Each set says since when it has this composition and
which page of which authority says so; whoever changes one changes its date.

A flow that is lawful by adequacy is a buyer's legal judgement, so no word of ours implies it: it is
had by naming `GDPR_ADEQUACY`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypedDict

Rule = Literal["residency", "data_residency", "sovereignty"]


class RuleCountries(TypedDict, total=False):
    """Campaign fields, as `Campaign(**require("GDPR"), …)` takes them; an absent rule is not set."""

    residency: tuple[str, ...]
    data_residency: tuple[str, ...]
    sovereignty: tuple[str, ...]


class UnknownJurisdictionError(ValueError):
    """Say that a word is neither a country code nor a set or requirement of these tables."""

    def __init__(self, word: str, known: Iterable[str]) -> None:
        super().__init__(
            f"unknown jurisdiction {word!r}: give a two-letter country code (ISO 3166-1, capitals) "
            f"or one of {', '.join(sorted(known))}"
        )
        self.word = word


@dataclass(frozen=True, slots=True)
class CountrySet:
    """One named set. `since` is the day its composition took effect, `source` an official page."""

    name: str
    countries: tuple[str, ...]
    since: str
    source: str
    what: str


@dataclass(frozen=True, slots=True)
class Requirement:
    """A buyer's word for several rules at once: the set each rule is given."""

    name: str
    rules: tuple[tuple[Rule, str], ...]
    what: str


_EU: Final = (
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT",
    "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
)  # fmt: skip

_ADEQUACY_PAGE: Final = (
    "https://commission.europa.eu/law/law-topic/data-protection/"
    "international-dimension-data-protection/adequacy-decisions_en"
)

COUNTRY_SETS: Final[tuple[CountrySet, ...]] = (
    CountrySet(
        "EU",
        _EU,
        "2020-02-01",
        "https://european-union.europa.eu/principles-countries-history/eu-countries_en",
        "the 27 member states of the European Union, since the United Kingdom left",
    ),
    CountrySet(
        "EEA",
        tuple(sorted((*_EU, "IS", "LI", "NO"))),
        "2020-02-01",
        "https://www.efta.int/eea-relations-eu",
        "the EU with Iceland, Liechtenstein and Norway: where the GDPR applies",
    ),
    CountrySet(
        "EFTA",
        ("CH", "IS", "LI", "NO"),
        "1995-01-01",
        "https://www.efta.int/about-efta",
        "the European Free Trade Association, since three members went over to the EU",
    ),
    CountrySet(
        "GDPR_ADEQUACY",
        ("AD", "AR", "BR", "CH", "FO", "GB", "GG", "IL", "IM", "JE", "JP", "KR", "NZ", "UY"),
        "2026-01-27",
        _ADEQUACY_PAGE,
        "third countries with an adequacy decision for the country (GDPR article 45); the last one "
        "added is Brazil, (EU) 2026/179",
    ),
    CountrySet(
        "GDPR_ADEQUACY_PARTIAL",
        ("CA", "US"),
        "2023-07-10",
        _ADEQUACY_PAGE,
        "third countries where adequacy holds for some recipients only: Canada for commercial "
        "organisations (2002/2/EC), the United States for those certified under the Data Privacy "
        "Framework ((EU) 2023/1795). A country code cannot tell them apart: check the operator",
    ),
    CountrySet(
        "FIVE_EYES",
        ("AU", "CA", "GB", "NZ", "US"),
        "1956-01-01",
        "https://www.nsa.gov/Helpful-Links/NSA-FOIA/Declassification-Transparency-Initiatives/"
        "Historical-Releases/UKUSA/",
        "parties of the UKUSA signals intelligence agreement; useful to know, seldom to require",
    ),
    CountrySet(
        "GCC",
        ("AE", "BH", "KW", "OM", "QA", "SA"),
        "1981-05-25",
        "https://www.gcc-sg.org/en/AboutUs/MemberStates/Pages/Home.aspx",
        "the Gulf Cooperation Council",
    ),
    CountrySet(
        "ASEAN",
        ("BN", "ID", "KH", "LA", "MM", "MY", "PH", "SG", "TH", "TL", "VN"),
        "2025-10-26",
        "https://asean.org/member-states/",
        "the Association of Southeast Asian Nations, since Timor-Leste joined",
    ),
)

REQUIREMENTS: Final[tuple[Requirement, ...]] = (
    Requirement(
        "GDPR",
        (("residency", "EEA"), ("data_residency", "EEA")),
        "processed and stored where the GDPR applies; adequacy is had only by naming it",
    ),
    Requirement(
        "EU_SOVEREIGN",
        (("residency", "EU"), ("data_residency", "EU"), ("sovereignty", "EU")),
        "processed, stored and sold under the law of member states of the EU alone",
    ),
)

SET_OF_NAME: Final[dict[str, CountrySet]] = {entry.name: entry for entry in COUNTRY_SETS}
REQUIREMENT_OF_NAME: Final[dict[str, Requirement]] = {entry.name: entry for entry in REQUIREMENTS}

_CODE_LENGTH: Final = 2  # of an ISO 3166-1 alpha-2 code


def _is_code(word: str) -> bool:
    return (
        len(word) == _CODE_LENGTH and word.isascii() and word.isalpha() and word.isupper()
    ) and word not in SET_OF_NAME


def expand(words: Iterable[str]) -> tuple[str, ...]:
    """Return the countries that names of sets and country codes stand for, sorted, each once.

    A two-letter word in capitals that names no set is taken for a country code as it stands; whether
    such a country exists is not judged, for the market does not either. No words give no countries,
    which in a campaign means "any". Raises `UnknownJurisdictionError` for anything else.
    """
    countries: list[str] = []
    for word in words:
        named = SET_OF_NAME.get(word)
        if named is not None:
            countries.extend(named.countries)
        elif _is_code(word):
            countries.append(word)
        else:
            raise UnknownJurisdictionError(word, SET_OF_NAME)
    return tuple(sorted(dict.fromkeys(countries)))


def require(word: str, *, adequacy: Iterable[str] = ()) -> RuleCountries:
    """Return the campaign fields that a buyer's word stands for: rule → allowed countries.

    `GDPR` gives residency and data residency in the EEA. `adequacy` names sets or countries that the
    buyer adds to residency and data residency, on its own judgement (`("GDPR_ADEQUACY",)`, or
    `("CH", "GB")`); sovereignty is never widened. Raises `UnknownJurisdictionError`.
    """
    requirement = REQUIREMENT_OF_NAME.get(word)
    if requirement is None:
        raise UnknownJurisdictionError(word, REQUIREMENT_OF_NAME)
    more = tuple(adequacy)
    fields = RuleCountries()
    for rule, name in requirement.rules:
        fields[rule] = expand((name, *more) if rule != "sovereignty" else (name,))
    return fields
