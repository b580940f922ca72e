"""`bench core` at its small size: everybody answers the same, and its digest says what was computed."""

import json

from bench import core

FIGURES = {
    "auctions_per_s", "p50_ns", "p99_ns", "p999_ns", "refresh_per_s", "insert_cancel_per_s",
    "mixed_per_s", "bytes_per_offer", "vs", "digest", "machine", "versions",
}  # fmt: skip
PEERS = {"c_same", "c_scan", "numpy", "polars", "duckdb", "sqlite", "postgres"}


def test_the_small_run_has_every_figure_and_everybody_answers_alike(capsys):
    """A peer whose answer differs raises; one may be missing only with the reason."""
    assert core.main(["--quick", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result.keys() >= FIGURES
    assert "growth" not in result
    assert set(result["peers"]) == PEERS
    for name, peer in result["peers"].items():
        assert peer.get("skipped") or (peer["answers_equal"] > 0 and result["vs"][name] > 0)
    assert all(result[name] > 0 for name in FIGURES if name.endswith(("_s", "_ns", "offer")))


def test_two_runs_compute_the_same():
    """The digest is of all events and answers: whoever makes the core faster shows the same one."""
    first, second = (core.measure(core.QUICK, ()) for _ in range(2))
    for name in ("digest", "events_digest", "answers_digest", "events"):
        assert first[name] == second[name]
    assert first["events"]["fill"] > 1000
