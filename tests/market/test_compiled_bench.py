"""The core's benchmark at its small size: it runs, and computes the same each time."""

import json

from bench import core


def test_the_small_benchmark_runs_and_its_digest_does_not_change(capsys):
    one = core.measure(300, 60, 4, 8)
    other = core.measure(300, 60, 4, 8)
    assert one["digest"] == other["digest"]
    assert one["events"] == other["events"]
    assert sum(one["events"].values()) >= one["auctions"]
    assert core.main(["--quick", "--frames", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["offers"] == 1_000
