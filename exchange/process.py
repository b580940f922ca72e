"""Entry of the processes that `curb serve` starts: `python -m exchange.process NAME --data DIR`.

A process tells its supervisor what it does in JSON lines on standard output: progress while it
starts, then that it is ready. SIGTERM and SIGINT ask it to stop; whatever it was doing, `kill -9` is
as good, since start and recovery are one path.
"""

import argparse
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Final

from exchange import config as configuration
from exchange import logs
from exchange.config import Config
from exchange.memory import keep_freed
from exchange.report import Report
from schemas.startup import refuse_optimised

NAMES: Final = ("exchange", "follower", "ledger")
NICE: Final = 10  # of all but the exchange: where cores are short, bids go before their copies


def run(name: str, config: Config, stop: threading.Event, report: Report) -> None:
    """Run one process until `stop` is set; raises what ended it."""
    if name == "exchange":
        from exchange.main import run as run_exchange

        run_exchange(config, stop, report)
    elif name == "follower":
        from exchange.follower.main import run as run_follower

        run_follower(config, stop, report)
    else:
        from exchange.ledger.main import run as run_ledger

        run_ledger(config, stop, report)


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, run, and return the exit code: 0 stopped, 1 failed."""
    refuse_optimised()
    parser = argparse.ArgumentParser(prog="python -m exchange.process")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    given = parser.parse_args(arguments)
    config = configuration.load(given.config, configuration.environment(), given.data)
    # A connection is a descriptor, and the usual soft limit of 1,024 is below a few hundred members.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if given.name != "exchange":
        os.nice(NICE)
    keep_freed()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    logs.configure(given.name, config.logs_folder)
    logger = logs.logger(given.name)
    report = Report(given.name, _write_line)
    try:
        run(given.name, config, stop, report)
    except Exception as error:
        logger.exception("failed")
        sys.stderr.write(f"{given.name}: {type(error).__name__}: {error}\n")
        return 1
    logger.info("stopped")
    return 0


def _write_line(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
