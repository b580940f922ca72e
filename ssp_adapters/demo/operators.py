"""All simulated operators of the demo: one process and one agent each, forked from this one.

    python -m ssp_adapters.demo.operators --world FOLDER --bundles FOLDER [--speed N]

Forked after the imports, for twelve interpreters starting at once would be all that two cores do.
Standard output has every operator's JSON lines; standard error is shared too. Ends when it is told
to, or with 1 when one of them ends by itself.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Final

import ssp_adapters.demo.engine
import ssp_adapters.price_list
from schemas.startup import refuse_optimised
from ssp_adapters import process
from ssp_adapters.demo.prepare import FLEETS, POLICY, PRICES

_FAILED: Final = 1
# Imported for the children: what is loaded before the fork is loaded once.
_LOADED: Final = (ssp_adapters.demo.engine, ssp_adapters.price_list)


def main() -> int:
    """Fork the operators and wait for them; returns the worst of their exit codes."""
    refuse_optimised()
    parser = argparse.ArgumentParser(prog="python -m ssp_adapters.demo.operators")
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--bundles", type=Path, required=True)
    parser.add_argument("--speed", type=int, default=1)
    given = parser.parse_args()
    children: dict[int, str] = {}
    for fleet in sorted((given.world / FLEETS).iterdir()):
        pid = os.fork()
        if pid == 0:
            arguments = [
                "--bundle", str(given.bundles / f"{fleet.name}.bundle.json"),
                "--adapter", "price_list", "--document", str(fleet / PRICES),
                "--policy", str(fleet / POLICY), "--simulate", "--speed", str(given.speed),
                "--stats", "1",
            ]  # fmt: skip
            os._exit(_child(arguments))
        children[pid] = fleet.name

    def stop(number: int, _frame: FrameType | None) -> None:
        for pid in children:
            os.kill(pid, number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    worst = 0
    while children:
        pid, status = os.wait()
        name = children.pop(pid, "")
        code = os.waitstatus_to_exitcode(status)
        if code != 0:
            worst = worst or _FAILED
            sys.stderr.write(f"operators: {name} ended with {code}\n")
            stop(signal.SIGTERM, None)
    return worst


def _child(arguments: list[str]) -> int:
    """Run one operator; an exception must not climb into the parent's stack of this process."""
    try:
        return process.main(arguments)
    except BaseException as error:  # noqa: BLE001 -- told, and the child ends with it
        sys.stderr.write(f"operators: {error!r}\n")
        return _FAILED
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
