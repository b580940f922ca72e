"""`bench core` at its small size: everybody answers the same, and its digest says what was computed."""

import json

import pytest

from bench import core, real, results, tables, worst, worst_reasons
from schemas.reasons import ELIGIBILITY_RULES

FIGURES = {
    "auctions_per_s", "p50_ns", "p99_ns", "p999_ns", "refresh_per_s", "insert_cancel_per_s",
    "mixed_per_s", "bytes_per_offer", "vs", "digest", "machine", "versions", "worst", "real",
}  # fmt: skip
PEERS = {"c_same", "c_scan", "numpy", "polars", "duckdb", "sqlite", "postgres"}
SCALE = worst.Scale(
    offers=600, sites=120, models=5, bids=1, campaigns=1_100, resting=2_048
)  # one frame of bids, all campaigns of W and a few more, one unit a bid


def test_the_small_run_has_every_figure_and_everybody_answers_alike(capsys, tmp_path):
    """A peer whose answer differs raises; one may be missing only with the reason."""
    kept = tmp_path / "figures.json"
    assert core.main(["--quick", "--json", "--save", str(kept)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result.keys() >= FIGURES
    assert "growth" not in result
    assert set(result["peers"]) == PEERS
    for name, peer in result["peers"].items():
        assert peer.get("skipped") or (peer["answers_equal"] > 0 and result["vs"][name] > 0)
    assert all(result[name] > 0 for name in FIGURES if name.endswith(("_s", "_ns", "offer")))
    assert tables.main([str(kept)]) == 0
    assert "C scan" in capsys.readouterr().out


def test_two_runs_compute_the_same():
    """The digest is of all events and answers: whoever makes the core faster shows the same one."""
    wanted = core.Wanted(parts=("rates",), peers=())
    first, second = (core.measure(core.QUICK, wanted) for _ in range(2))
    for name in ("digest", "events_digest", "events"):
        assert first[name] == second[name]
    assert first["events"]["fill"] > 1000


def test_the_worst_cases_compute_the_same_twice_and_have_every_reason():
    first, second = (worst.report(SCALE) for _ in range(2))
    assert {case["case"]: case["digest"] for case in first["cases"]} == {
        case["case"]: case["digest"] for case in second["cases"]
    }
    names = {case["case"] for case in first["cases"]}
    assert names >= set(worst.CASES)
    assert names >= {f"unfilled: {reason}" for reason in ELIGIBILITY_RULES}
    assert len(names) == len(worst.CASES) + len(worst_reasons.REASONS)


def test_a_real_world_computes_the_same_twice():
    if not real.FOLDER.is_dir():
        pytest.skip("no ../shared/data beside the repository")
    first, second = (core.measure_real(quick=True) for _ in range(2))
    assert first["digest"] == second["digest"]
    assert first["events"]["fill"] > first["events"]["unfilled"] > 0


def test_parts_measured_apart_are_put_together():
    """Two sizes give `growth`; what is measured again replaces what was there."""
    whole: results.Result = {}
    for found in (
        {"sizes": {"1000": {"auctions_per_s": 800}}, "date": "a"},
        {"sizes": {"100": {"auctions_per_s": 900, "vs": {"numpy": 2}}}},
        {"sizes": {"100": {"auctions_per_s": 1600, "vs": {"polars": 3}}}, "date": "b"},
    ):
        whole = results.merge(whole, found)
    assert results.flat(whole) == {
        "auctions_per_s": 800,
        "growth": 2.0,
        "at_100": {"auctions_per_s": 1600, "vs": {"numpy": 2, "polars": 3}},
        "date": "b",
    }
