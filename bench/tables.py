"""`python -m bench tables FILE… [--write]`: saved figures as the Markdown of docs/benchmarks.md.

FILE is what `bench core --save` made; more of them are put together, the later over the earlier. A table
stands in the page between `<!-- NAME -->` and `<!-- /NAME -->`; --write replaces what is there, and
without it all tables are printed. What has not been measured is a dash.
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench.results import Result, flat, load, merge

PAGE: Final = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PEERS: Final = {
    "c_same": "the same search, price and slot-taking in C on the core's tables",
    "c_scan": "C scan, split by model",
    "numpy": "NumPy, split by model",
    "polars": "Polars, split by model",
    "duckdb": "DuckDB",
    "sqlite": "SQLite, covering index",
    "postgres": "PostgreSQL, best btree",
}
RATES: Final = {
    "auctions_per_s": "auctions/s, frames of 256, everything on",
    "p50_ns": "one auction inside a batch: p50, ns",
    "p99_ns": "p99, ns",
    "p999_ns": "p99.9, ns",
    "refresh_per_s": "`refresh`/s, by handle",
    "insert_cancel_per_s": "`offer` with its `offer_cancel`, pairs/s",
    "mixed_per_s": "auctions and refreshes one to one, operations/s",
    "bytes_per_offer": "bytes per offer, all told",
    "bytes_per_candidate": "bytes read of an offer that is judged",
}


def main(arguments: list[str]) -> int:
    """Print or write the tables; returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    options = parser.parse_args(arguments)
    whole: Result = {}
    for file in options.files:
        whole = merge(whole, load(file))
    made = {name: "\n".join(table(whole)) for name, table in TABLES.items()}
    if options.write:
        PAGE.write_text(written(PAGE.read_text(), made))
    else:
        print("\n\n".join(made.values()))
    return 0


def written(page: str, made: dict[str, str]) -> str:
    """Return a page with the text between each table's marks replaced."""
    for name, text in made.items():
        marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        assert len(marks.findall(page)) == 1, f"{PAGE.name}: no place for {name}"
        escaped = text.replace("\\", "\\\\")
        page = marks.sub(rf"\1\n{escaped}\n\n\2", page)
    return page


def number(value: Any) -> str:
    """Return a figure as the page writes it: three digits and more, thousands apart."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if abs(value) >= 100:
        return f"{round(value):,}"
    return f"{value:.3g}"


def _sizes(whole: Result) -> list[tuple[int, dict[str, Any]]]:
    return sorted((int(size), figures) for size, figures in whole.get("sizes", {}).items())


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    marks = ["---", *["---:"] * (len(heads) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (heads, marks, *rows)]


def where(whole: Result) -> list[str]:
    """Return machine, versions and day in a sentence."""
    if "machine" not in whole:
        return []
    at, versions = whole["machine"], whole["versions"]
    named = ", ".join(f"{name} {value}" for name, value in versions.items() if value)
    return [
        f"Machine: {at['processor']} ({', '.join(at['vectors'])}), {at['cores']} cores, {at['system']}.",
        f"Versions: {named}. Day: {whole['date']}.",
    ]


def core(whole: Result) -> list[str]:
    """Return the core's own figures, a column per size."""
    sizes = _sizes(whole)
    heads = ["", *[f"{size:,} offers" for size, _ in sizes]]
    rows = [
        [text, *[number(figures.get(name)) for _, figures in sizes]] for name, text in RATES.items()
    ]
    for name, text in (("p99_ns", "p99"), ("p999_ns", "p99.9")):
        over = []
        for _, figures in sizes:
            scan, own = figures.get("c_scan_latency", {}).get(name), figures.get(name)
            over.append(f"1/{scan / own:.3g}" if scan and own else "–")
        rows.append([f"{text} over that of the C scan split by model", *over])
    growth = flat(whole).get("growth")
    blank = [""] * (len(sizes) - 2)
    rows.append(["time per auction over that of the smaller book", "", *blank, number(growth)])
    lines = _table(heads, rows)
    if begun := whole.get("start"):
        lines.append("")
        lines.append(
            f"A new process is ready after {begun['warm_start_s']} s from the kernel cache, after"
            f" {begun['cold_compile_s']} s when everything is compiled ({begun['progress_steps']} steps of"
            f" progress, {begun['cache_bytes'] / 1e6:.1f} MB of cache)."
        )
    found = whole.get("real", {})
    if "auctions_per_s" in found:
        lines.append("")
        lines.append(
            f"`R`, {found['offers']:,} offers at {found['sites']} real places: {number(found['auctions_per_s'])}"
            f" auctions/s, one auction p50 {number(found['p50_ns'])}, p99 {number(found['p99_ns'])}, p99.9"
            f" {number(found['p999_ns'])} ns; digest `{found['digest'][:16]}`."
        )
    digests = [f"`{each.get('digest', '')[:16]}` ({size:,})" for size, each in sizes]
    return [*lines, "", f"Digests of all events and answers: {', '.join(digests)}."]


def peers(whole: Result) -> list[str]:
    """Return what each peer does and the core's rate over it, two columns per size."""
    sizes = _sizes(whole)
    heads = [""]
    for size, _ in sizes:
        heads += [f"{size:,}: auctions/s", "core over it"]
    rows = []
    for name, text in PEERS.items():
        row = [text]
        for _, figures in sizes:
            peer = figures.get("peers", {}).get(name, {})
            row += [
                peer.get("skipped") or number(peer.get("auctions_per_s")),
                number(figures.get("vs", {}).get(name)),
            ]
        rows.append(row)
    return _table(heads, rows)


def worst(whole: Result) -> list[str]:
    """Return the worst cases of the largest size."""
    if not whole.get("worst"):
        return []
    size, found = max(whole["worst"].items(), key=lambda each: int(each[0]))
    rows, also = [], []
    for case in found["cases"]:
        rows.append(
            [
                case["case"],
                *[number(case[name]) for name in ("p50_ns", "p99_ns", "times_p50", "times_p99")],
                f"`{case['digest']}`",
            ]
        )
        also += [f"{what} {_time(ns)}" for what, ns in case["also_ns"].items()]
    heads = ["", "p50, ns", "p99, ns", "p50 × median", "p99 × median", "digest"]
    return [
        f"At {int(size):,} offers, where the median auction of `W` takes {number(found['median_ns'])} ns:",
        "",
        *_table(heads, rows),
        "",
        f"Commands that are no bids, each with its call from Python: {'; '.join(also)}.",
    ]


def _time(ns: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.0f} ns"


TABLES: Final[dict[str, Callable[[Result], list[str]]]] = {
    "machine": where,
    "core": core,
    "peers": peers,
    "worst": worst,
}
