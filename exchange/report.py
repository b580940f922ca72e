"""What a process tells its supervisor: JSON lines, how far its start is, then that it serves."""

from collections.abc import Callable

import msgspec


class Report:
    """Tells the supervisor how far a process is."""

    def __init__(self, process: str, write: Callable[[str], object]) -> None:
        self._process = process
        self._write = write

    def progress(self, text: str, done: int, total: int) -> None:
        """Say what is being done and how much of it is left."""
        self._line({"process": self._process, "progress": text, "done": done, "total": total})

    def ready(self) -> None:
        """Say that the process serves."""
        self._line({"process": self._process, "ready": True})

    def _line(self, fields: dict[str, object]) -> None:
        try:
            self._write(msgspec.json.encode(fields).decode() + "\n")
        except BrokenPipeError:
            # The supervisor is gone; that is for its own supervisor to notice.
            return
