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
LOG_TOLD_MAX = 1_000  # characters of each log that a failure shows
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

    def told(self) -> str:
        """All that the demo said, whether it runs, and the ends of its processes' logs."""
        code = self.child.poll()
        logs = [
            f"--- {log.name}\n{log.read_text('utf-8', 'replace')[-LOG_TOLD_MAX:]}"
            for log in sorted((self.data / "logs").glob("*.log"))
        ]
        state = "it still runs" if code is None else f"it ended with {code}"
        return "\n".join([state, self.said(), *logs])

    def await_said(self, pattern: str, within_s: float) -> None:
        """Wait until it said so; fails, with all it said, once it has ended or the time is over."""
        deadline = time.monotonic() + within_s

        def said_or_over() -> bool:
            # Whether it runs is asked first: what it said last is looked at all the same.
            over = self.child.poll() is not None or time.monotonic() > deadline
            return bool(re.search(pattern, self.said())) or over

        until(said_or_over, within_s + 5)
        if not re.search(pattern, self.said()):
            pytest.fail(f"said nothing of {pattern!r} ({within_s} s): {self.told()}", pytrace=False)

    def await_market(self) -> None:
        self.await_said(r"fills [1-9]", START_S)

    def go_on(self, for_s: float) -> None:
        """Let it run for a while; fails at once when it ends meanwhile."""
        settled = time.monotonic() + for_s
        until(lambda: self.child.poll() is not None or time.monotonic() > settled, for_s + 5)
        assert self.child.poll() is None, self.told()

    def finish(self) -> dict[str, Any]:
        try:
            out, _ = self.child.communicate(timeout=START_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"not at its end within {START_S} s: {self.told()}", pytrace=False)
        assert self.child.returncode == 0, f"{out}\n{self.told()}"
        last: dict[str, Any] = json.loads(out.splitlines()[-1])
        return last

    def kill(self, name: str) -> None:
        assert self.child.poll() is None, self.told()
        status = json.loads((self.data / "run" / "status.json").read_text())
        pid = status["processes"][name]["pid"]
        assert pid is not None, f"{name} does not run: {self.told()}"
        os.kill(pid, signal.SIGKILL)

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
            run.await_said(f"{name} ended", 30)
            run.go_on(3)
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
        run.await_said(r"real answers [1-9]", 60)
        run.child.send_signal(signal.SIGTERM)
        result = run.finish()
    finally:
        run.stop()
    check(result)
