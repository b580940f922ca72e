"""Logs: one JSON object a line, one file a process, nothing secret in any."""

import logging
import sys
from pathlib import Path
from typing import Any, TextIO

import structlog


def configure(process: str, folder: Path | None) -> Path | None:
    """Send this process's log to FOLDER/PROCESS.log, or to standard error; return the file."""
    path = None if folder is None else folder / f"{process}.log"
    stream: TextIO = sys.stderr if path is None else path.open("a", buffering=1, encoding="utf-8")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Without the frames' variables, which are keys as often as not.
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    return path


def logger(process: str) -> Any:
    """Return the logger of a process, its name in every line."""
    return structlog.get_logger().bind(process=process)
