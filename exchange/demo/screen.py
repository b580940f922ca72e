"""What the demo shows: a live table on a terminal, one line a second on standard error without one."""

import sys
from typing import Any, Final, Self

import msgspec
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

_NUSD_PER_USD: Final = 10**9
_PUSD_PER_USD_PER_MTOK: Final = 10**6  # pico-dollars per token of a dollar per million tokens
_TOP: Final = 8
_SETS: Final = ("EEA", "GDPR_ADEQUACY", "FIVE_EYES", "ASEAN", "GCC")


class Rates:
    """Auctions per second, from one summary to the next."""

    def __init__(self) -> None:
        self._auctions = 0
        self._at_ns = 0
        self.per_second = 0.0

    def take(self, summary: dict[str, Any]) -> float:
        """Return the rate since the summary before (the market's own time)."""
        auctions, at_ns = summary.get("auctions", 0), summary.get("at_ns", 0)
        elapsed = (at_ns - self._at_ns) / 1e9
        if self._at_ns and elapsed > 0:
            self.per_second = (auctions - self._auctions) / elapsed
        self._auctions, self._at_ns = auctions, at_ns
        return self.per_second


def share(part: int, whole: int) -> str:
    """Return a percentage, or a dash of nothing."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def usd_per_mtok(price: int) -> str:
    """Return a unit price (pico-dollars per token) in dollars per million tokens."""
    return f"${price / _PUSD_PER_USD_PER_MTOK:.3f}"


def line(summary: dict[str, Any], buyers: dict[str, Any], rate: float, left_s: float | None) -> str:
    """Return how the market stands in one line."""
    fills = summary.get("fills", 0)
    left = "" if left_s is None else f"{left_s:5.0f} s left  "
    return (
        f"{left}{rate:6.0f} auctions/s  "
        f"fills {fills} ({share(fills, fills + summary.get('unfilled', 0))})  "
        f"contested {share(summary.get('contested', 0), fills)}  "
        f"settled {summary.get('settled', 0)}  offers {summary.get('offers_live', 0)}  "
        f"real answers {buyers.get('real_completions', 0)}"
    )


def board(
    summary: dict[str, Any], buyers: dict[str, Any], rate: float, left_s: float | None
) -> RenderableType:
    """Return the whole board: what the market does, prices, misses, revenues, the real site."""
    return Group(
        _head(summary, buyers, rate, left_s),
        Columns([_prices(summary), _misses(summary), _revenues(summary)], expand=True),
        _real(buyers),
    )


def _head(
    summary: dict[str, Any], buyers: dict[str, Any], rate: float, left_s: float | None
) -> RenderableType:
    fills = summary.get("fills", 0)
    latency = buyers.get("bid_to_fill_us", {"p50": 0, "p99": 0})
    table = Table.grid(expand=True, padding=(0, 2))
    cells = {
        "auctions/s": f"{rate:,.0f}",
        "auctions": f"{summary.get('auctions', 0):,}",
        "fill rate": share(fills, fills + summary.get("unfilled", 0)),
        "contested": share(summary.get("contested", 0), fills),
        "settled": f"{summary.get('settled', 0):,}",
        "live offers": f"{summary.get('offers_live', 0):,}",
        "bid → fill p50 / p99": f"{latency['p50'] / 1e3:.1f} / {latency['p99'] / 1e3:.1f} ms",
    }
    for _ in cells:
        table.add_column(justify="center")
    table.add_row(*(Text(value, "bold cyan") for value in cells.values()))
    table.add_row(*(Text(name, "dim") for name in cells))
    left = "" if left_s is None else f" · {left_s:.0f} s left"
    return Panel(table, title=f"[bold]Curb[/] · {summary.get('sites', 0)} sites{left}")


def _prices(summary: dict[str, Any]) -> RenderableType:
    table = Table("promise", "median $/Mtok", title="Prices", expand=True, title_justify="left")
    table.columns[1].justify = "right"
    for band, price in summary.get("median_price_by_band", {}).items():
        name = "best effort" if band == "0" else f"≤ {band} ms"
        table.add_row(name, usd_per_mtok(price))
    table.add_section()
    places = summary.get("median_price_by_jurisdiction", {})
    for name in _SETS:
        if name in places:
            table.add_row(name.replace("_", " "), usd_per_mtok(places[name]))
    countries = sorted(summary.get("median_price_by_country", {}).items())
    for name in ("US", "DE", "JP", "BR", "IN"):
        price = dict(countries).get(name)
        if price is not None:
            table.add_row(name, usd_per_mtok(price))
    return table


def _misses(summary: dict[str, Any]) -> RenderableType:
    table = Table(
        "reason", "bids", title="Why bids did not fill", expand=True, title_justify="left"
    )
    table.columns[1].justify = "right"
    for reason, count in list(summary.get("unfilled_by_reason", {}).items())[:_TOP]:
        table.add_row(reason, f"{count:,}")
    return table


def _revenues(summary: dict[str, Any]) -> RenderableType:
    table = Table(
        "operator", "earned", title="Operators' revenue", expand=True, title_justify="left"
    )
    table.columns[1].justify = "right"
    earned = sorted(summary.get("revenue_nusd", {}).items(), key=lambda each: -each[1])
    for operator, nusd in earned[: 2 * _TOP]:
        table.add_row(operator, f"${nusd / _NUSD_PER_USD:.4f}")
    return table


def _real(buyers: dict[str, Any]) -> RenderableType:
    answer = str(buyers.get("last_answer", "")).replace("\n", " ")
    text = Text(answer or "waiting for its first request", "green" if answer else "dim")
    text.truncate(400)
    title = (
        f"the real site · llama.cpp · {buyers.get('real_completions', 0)} answers, "
        f"{buyers.get('real_tokens', 0)} tokens"
    )
    return Panel(text, title=title, title_align="left")


def invitation(fields: dict[str, str]) -> str:
    """Return what to type in a second terminal to buy from the real site."""
    return (
        f"The exchange is at {fields['address']}; a buyer's bundle is at {fields['bundle']}.\n"
        "In a second terminal (./run python -m asyncio):\n\n"
        "    import dsp_sdk\n"
        f'    async with dsp_sdk.connect("{fields["bundle"]}") as market:\n'
        f'        async for text in market.chat("{fields["model"]}", "Say hello", '
        'max_latency_ms=5000): print(text, end="")'
    )


class LiveScreen:
    """The board on a terminal, steps above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._rates = Rates()
        self._step = ""

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing and leave the terminal as it was."""
        self._live.stop()

    def step(self, text: str) -> None:
        """Say what is being done."""
        self._console.print(f"[dim]·[/] {text}", highlight=False)

    def progress(self, fields: dict[str, Any]) -> None:
        """Show a process's progress, or that it died."""
        if "died" in fields:
            self.step(f"[red]{fields['process']} ended ({fields['died']}), started again[/]")
        elif fields.get("total", 0) > 1 and fields.get("progress") != self._step:
            self._step = str(fields["progress"])
            self._live.update(
                Text(
                    f"  {fields['process']}: {fields['progress']} "
                    f"{fields['done']}/{fields['total']}",
                    "dim",
                )
            )

    def announce(self, fields: dict[str, str]) -> None:
        """Print the address, the bundle and the lines that use them."""
        self._console.print(Panel(invitation(fields), title="take part", title_align="left"))

    def show(self, summary: dict[str, Any], buyers: dict[str, Any], left_s: float | None) -> None:
        """Draw the board."""
        self._live.update(board(summary, buyers, self._rates.take(summary), left_s))


class LineScreen:
    """One line a second on standard error: for logs, and for `--json`."""

    def __init__(self) -> None:
        self._rates = Rates()

    def __enter__(self) -> Self:
        """Nothing to do."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to do."""

    def step(self, text: str) -> None:
        """Say what is being done."""
        self._write(text)

    def progress(self, fields: dict[str, Any]) -> None:
        """Say how a process comes along, or that it died."""
        if "died" in fields:
            self._write(f"{fields['process']} ended ({fields['died']}), started again")
        elif fields.get("total", 0) > 1:
            name, what = fields["process"], fields["progress"]
            self._write(f"{name}: {what} {fields['done']}/{fields['total']}")

    def announce(self, fields: dict[str, str]) -> None:
        """Print the address and the bundle as a line of JSON on standard output."""
        sys.stdout.write(msgspec.json.encode({"forever": True} | fields).decode() + "\n")
        sys.stdout.flush()

    def show(self, summary: dict[str, Any], buyers: dict[str, Any], left_s: float | None) -> None:
        """Write the line."""
        self._write(line(summary, buyers, self._rates.take(summary), left_s))

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(f"demo: {text}\n")
        sys.stderr.flush()
