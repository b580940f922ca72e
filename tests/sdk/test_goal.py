"""A goal in words says exactly what it says, or is an error."""

import pytest

from dsp_sdk.goal import GoalError, parse_goal, rules_of
from schemas.jurisdictions import SET_OF_NAME, UnknownJurisdictionError


def test_the_goal_of_the_readme():
    goal = parse_goal("50 million requests a day, 100 ms, GDPR, $2.50 per million tokens")
    assert goal.requests_per_day == 50_000_000
    assert goal.latency_budget_us == 100_000
    assert goal.max_unit_price_pusd == 2_500_000
    eea = SET_OF_NAME["EEA"].countries
    campaign = goal.campaign("acme", "chat", ("m",), min_trust=1)
    assert (campaign.residency, campaign.data_residency) == (eea, eea)
    assert (campaign.sovereignty, campaign.min_trust) == ((), 1)
    assert "GB" not in eea  # adequacy only by name


@pytest.mark.parametrize(
    "text, expected",
    [
        ("30 ms, $1 per million tokens", (30_000, 1_000_000, 0)),
        ("within 1.5 s; at most $0.05/Mtok", (1_500_000, 50_000, 0)),
        ("2 requests per second, 10 ms, $3 per million", (10_000, 3_000_000, 172_800)),
        ("10k requests an hour", None),
        ("600 requests per hour, 0.5 ms, $0.000001 a million tokens", (500, 1, 14_400)),
    ],
)
def test_units_and_multiples(text, expected):
    if expected is None:
        with pytest.raises(GoalError, match="10k requests an hour"):
            parse_goal(text)
        return
    goal = parse_goal(text)
    assert (
        goal.latency_budget_us, goal.max_unit_price_pusd, goal.requests_per_day,
    ) == expected  # fmt: skip


@pytest.mark.parametrize(
    "text, named",
    [
        ("100 ms", "price"),
        ("$2 per million tokens", "budget"),
        ("100 ms, 50 ms, $2 per million tokens", "50 ms"),
        ("100 ms, $2 per million tokens, as cheap as can be", "as cheap as can be"),
        ("100 ms, $2 per million tokens, gdpr", "gdpr"),
        ("100 ms, $0.0000001 per million tokens", "finer"),
        ("100 ms, $99999999 per million tokens", "limits"),
        ("100 ms, $1 per million tokens, US, FR", "no country"),
    ],
)
def test_what_is_not_understood_is_never_passed_over(text, named):
    with pytest.raises(GoalError, match=named.replace("$", r"\$")):
        parse_goal(text)


def test_words_must_all_hold():
    assert rules_of(["GDPR", "FR"])["residency"] == ("FR",)
    assert set(rules_of(["EU_SOVEREIGN"])) == {"residency", "data_residency", "sovereignty"}
    with pytest.raises(UnknownJurisdictionError):
        rules_of(["ATLANTIS"])
