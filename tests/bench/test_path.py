"""The whole path at its small size: real processes, every bid answered once, every copy delivered."""

import json

import pytest

from bench import path

KEYS = {
    "bids_per_s_frames_1", "bids_per_s_frames_16", "bids_per_s_frames_256", "idle_p50_us",
    "idle_p99_us", "p99_at_60_percent_us", "sync_floor_us", "round_trip_floor_us",
}  # fmt: skip


@pytest.mark.alone
def test_every_bid_is_answered_once_and_every_fill_reaches_its_operator(capsys):
    """The benchmark itself fails on a wrong, lost or doubled answer; here it runs, and says all."""
    assert path.main(["--quick", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) >= KEYS
    assert all(told[key] > 0 for key in KEYS)
    assert told["fills"] == told["operators_copies"] >= told["fills_answered"] > 0
    assert told["bids"] >= told["fills_answered"]
