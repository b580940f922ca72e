"""The whole product at work: real processes, real sockets, a real engine, a real database.

Each test is one run of `curb demo` in a folder of its own. They take half a minute each and both
cores, hence `alone`.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exchange.demo.play import clear, only_one
from exchange.demo.stage import ActorFailed
from exchange.supervisor.postgres import PostgresServer
from tests.waiting import until

pytestmark = [pytest.mark.alone, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[2]
# The shortest run in which everything happens, drain included.
SECONDS = 16
START_S = 240  # a cold kernel cache compiles first
TRACE = ROOT.parent / "shared" / "data" / "traces" / "azure_llm_2023.csv.gz"


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "demo"
    yield folder
    PostgresServer(folder).remove()


class Run:
    """One `curb demo --json` under way."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.data = data
        self.errors = data.parent / "demo.err"
        with self.errors.open("wb") as errors:
            self.child = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "schemas.command",
                    "demo",
                    "--json",
                    "--data",
                    str(data),
                    *arguments,
                ],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
            )

    def said(self) -> str:
        return self.errors.read_text("utf-8")

    def await_market(self) -> None:
        def trading() -> bool:
            assert self.child.poll() is None, self.said()
            return bool(re.search(r"fills [1-9]", self.said()))

        until(trading, START_S)

    def finish(self) -> dict[str, Any]:
        out, _ = self.child.communicate(timeout=START_S)
        assert self.child.returncode == 0, f"{out}\n{self.said()}"
        last: dict[str, Any] = json.loads(out.splitlines()[-1])
        return last

    def kill(self, name: str) -> None:
        status = json.loads((self.data / "run" / "status.json").read_text())
        os.kill(status["processes"][name]["pid"], signal.SIGKILL)

    def stop(self) -> None:
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.communicate()


def check(result: dict[str, Any]) -> None:
    """What every run of the demo must end with."""
    assert result["problems"] == []
    assert result["ledger_ok"] is True
    assert result["journal_ok"] is True
    assert result["offers_live"] >= 2_000
    assert result["operators"] >= 8
    assert result["sites"] >= 600
    assert result["auctions"] >= result["fills"] > 0
    assert 0 < result["contested"] < result["fills"]
    assert 0 < result["settled"] <= result["fills"]
    assert sum(result["unfilled_by_reason"].values()) > 0
    assert result["real_completions"] >= 1
    assert result["real_tokens"] >= result["real_completions"]
    assert set(result["bid_to_fill_us"]) == {"p50", "p99", "max"}
    assert result["sync_floor_us"] > 0


def test_the_demo_trades_settles_answers_and_balances_its_books(data: Path) -> None:
    """Goal: from streamed offer to settled fill, and the books agree; with the real trace if it is here."""
    arguments = ["--seconds", str(SECONDS)]
    if TRACE.exists():
        arguments += ["--trace", str(TRACE)]
    run = Run(data, *arguments)
    try:
        result = run.finish()
    finally:
        run.stop()
    check(result)
    # All fills of a run without faults end settled: started, completed by both, drained.
    assert result["settled"] >= 0.95 * result["fills"]


def test_killing_exchange_follower_and_ledger_writer_stops_nobody(data: Path) -> None:
    """Goal: kill -9 of each in the middle; the demo goes on, and journal, replay and ledger agree."""
    run = Run(data, "--seconds", str(SECONDS + 14))
    try:
        run.await_market()
        for name in ("exchange", "ledger", "follower"):
            run.kill(name)
            until(lambda name=name: f"{name} ended" in run.said(), 30)
            settle = time.monotonic() + 3
            until(lambda settle=settle: time.monotonic() > settle, 10)
        result = run.finish()
    finally:
        run.stop()
    check(result)


def test_a_second_demo_in_the_same_folder_is_refused_and_touches_nothing(data: Path) -> None:
    """Goal: whoever starts a second one loses nothing of the first."""
    data.mkdir()
    (data / "kept").touch()
    with only_one(data), pytest.raises(ActorFailed, match="a demo is running here"), only_one(data):
        pass
    with pytest.raises(ActorFailed, match="not an earlier demo's"):
        clear(data)
    assert (data / "kept").exists()
    with only_one(data):
        pass  # free again


def test_the_readmes_three_lines_stream_text_from_the_real_site(data: Path) -> None:
    """Goal: what the README says to type, typed while the demo stays open."""
    block = next(
        part
        for part in re.findall(
            r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL
        )
        if "buyer.bundle.json" in part
    )
    run = Run(data, "--forever")
    try:
        run.await_market()
        typed = subprocess.run(
            [sys.executable, "-c", block],
            cwd=data / "demo",  # where the bundle is that the demo prints
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert typed.returncode == 0, typed.stderr
        assert typed.stdout.strip()
        # The demo's own buyer shares the one thread of the engine with us; none answered is a failure.
        until(lambda: re.search(r"real answers [1-9]", run.said()), 60)
        run.child.send_signal(signal.SIGTERM)
        result = run.finish()
    finally:
        run.stop()
    check(result)
