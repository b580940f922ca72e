"""Draw `docs/demo.svg`: play the demo and keep its board as it stood when bids stopped.

./run python docs/demo_svg.py [SECONDS]
"""

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from exchange.demo.play import DRAIN_S, Play, Settings, clear
from exchange.demo.screen import LineScreen, Rates, board

# The reader's own monospaced font: a picture should fetch nothing.
WITHOUT_FONTS = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


class Picture(LineScreen):
    """Says what the demo says, and remembers the board."""

    def __init__(self) -> None:
        super().__init__()
        self._rates_shown = Rates()
        self.drawn: Any = None

    def show(self, summary: dict[str, Any], buyers: dict[str, Any], left_s: float | None) -> None:
        """Keep the board while bids are made."""
        super().show(summary, buyers, left_s)
        rate = self._rates_shown.take(summary)
        if left_s is not None and left_s >= DRAIN_S:
            self.drawn = board(summary, buyers, rate, left_s)


def main() -> None:
    """Play, and write the picture beside this file."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    screen = Picture()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        Play(Settings(data, seconds, False, None, 1, 640, 60.0), screen, lambda: False).run()
        clear(data)  # as root its PostgreSQL lies elsewhere
    with Path("/dev/null").open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=118, file=nowhere, force_terminal=True)
        console.print(screen.drawn)
    drawing = console.export_svg(title="./run demo", code_format=WITHOUT_FONTS)
    Path(__file__).with_name("demo.svg").write_text(drawing, "utf-8")


if __name__ == "__main__":
    main()
