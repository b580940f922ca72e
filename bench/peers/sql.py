"""One question in SQL, for SQLite, DuckDB and PostgreSQL: the same text but for how a parameter is written.

Two tables: `offers`, one row per live offer; `reach`, one row per (metro, site) with the path and what
a site's rules need, so that one join says which sites are admitted and near. Columns that are sets
(countries of data, of control) are places in a list; the campaign's rule is the list of places that
pass. Each campaign has a text of its own, as a prepared statement would; the request is parameters.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from bench.peers.book import FAR, Book, Candidate, Question, Rules, inside

OFFERS: Final = (
    "model", "site", "owner", "available", "ask_in", "ask_out", "ask_second", "deal", "ttft_us",
    "prefill_ns_per_token", "tokens_per_second", "context_limit", "cold_start_us", "capabilities",
    "hardware", "precision", "contract", "priority",
)  # fmt: skip
SITES: Final = (
    "owner",
    "operator",
    "tier",
    "certifications",
    "country",
    "data_set",
    "control_set",
    "trust",
)
TABLES: Final = (
    f"CREATE TABLE offers (id BIGINT, {', '.join(f'{name} BIGINT' for name in OFFERS)})",
    f"CREATE TABLE reach (metro BIGINT, site BIGINT, path_us BIGINT, {', '.join(f'{name} BIGINT' for name in SITES)})",
)


def offer_rows(book: Book) -> Iterator[tuple[int, ...]]:
    """Yield the rows of `offers`; `id` is the row of the book."""
    columns = [book.offers[name].tolist() for name in OFFERS]
    for row, values in enumerate(zip(*columns, strict=True)):
        yield (row, *values)


def reach_rows(book: Book) -> Iterator[tuple[int, ...]]:
    """Yield the rows of `reach`: what can be reached."""
    sites = [book.sites[name].tolist() for name in SITES]
    for metro in range(1, len(book.path_us)):
        for site, path in enumerate(book.path_us[metro].tolist()):
            if site and path < FAR:
                yield (metro, site, path, *(column[site] for column in sites))


def _among(column: str, values: list[int] | tuple[int, ...]) -> str:
    return f"{column} IN ({', '.join(str(value) for value in values)})" if values else "1 = 0"


def text(
    book: Book, rules: Rules, deals: tuple[int, ...], parameter: Callable[[str], str], divide: str
) -> str:
    """Return the query of a campaign: the best offer and the best of another owner, best first.

    Columns: score, latency, priority, owner, cost, id. `deals`: (0,) for open offers, else those of
    the buyer. `divide`: how the engine divides whole numbers.
    """
    p = parameter
    where = [
        "o.site = r.site", f"r.metro = {p('origin')}", f"r.path_us <= {p('budget_us')}", f"o.model = {p('model')}",
        f"r.owner <> {rules.buyer_owner}", "o.available >= 1", _among("o.deal", deals),
        f"o.context_limit >= {p('tokens_in')} + {p('tokens_out')}",
    ]  # fmt: skip
    if rules.residency:
        allowed = [at for at, name in enumerate(book.countries) if name in rules.residency]
        where.append(_among("r.country", allowed))
    if rules.data_residency:
        where.append(_among("r.data_set", inside(book.data_sets, rules.data_residency)))
    if rules.sovereignty:
        where.append(_among("r.control_set", inside(book.control_sets, rules.sovereignty)))
    if rules.allow:
        where.append(_among("r.operator", rules.allow))
    if rules.deny:
        where.append(f"NOT {_among('r.operator', rules.deny)}")
    if rules.certifications:
        where.append(f"(r.certifications & {rules.certifications}) = {rules.certifications}")
    if rules.trust:
        where.append(f"r.trust >= {rules.trust}")
    if rules.capabilities:
        where.append(f"(o.capabilities & {rules.capabilities}) = {rules.capabilities}")
    for column, mask in (
        ("r.tier", rules.tiers), ("o.hardware", rules.hardware),
        ("o.precision", rules.precisions), ("o.contract", rules.contracts),
    ):  # fmt: skip
        if mask != -1:
            where.append(_among(column, [bit for bit in range(63) if mask >> bit & 1]))
    if rules.speed:
        where.append(f"o.tokens_per_second >= {rules.speed}")
    if not rules.cold:
        where.append("o.cold_start_us = 0")
    tokens = f"{p('tokens_in')} * o.ask_in + {p('tokens_out')} * o.ask_out"
    order = "score DESC, latency, priority"
    return f"""
    WITH priced AS (
      SELECT o.id, o.owner, o.priority,
        r.path_us + o.ttft_us + o.cold_start_us
          + {p("tokens_in")} * o.prefill_ns_per_token {divide} 1000 AS latency,
        ({tokens} + 999) {divide} 1000
          + (o.ask_second * {p("lease_us")} + 999999) {divide} 1000000 AS cost
      FROM reach r CROSS JOIN offers o
      WHERE {" AND ".join(where)}
    ), eligible AS MATERIALIZED (
      SELECT * FROM (
        SELECT {p("worth")} - ({rules.time_value} * latency + 999) {divide} 1000 - cost AS score, priced.*
        FROM priced WHERE latency <= {p("budget_us")}
      ) scored WHERE score >= 0
    ), winner AS MATERIALIZED (SELECT * FROM eligible ORDER BY {order} LIMIT 1
    ), rival AS (
      SELECT * FROM eligible WHERE owner <> (SELECT owner FROM winner) ORDER BY {order} LIMIT 1
    )
    SELECT score, latency, priority, owner, cost, id FROM (
      SELECT * FROM winner UNION ALL SELECT * FROM rival
    ) two ORDER BY {order}"""  # noqa: S608  # numbers of our own making


def parameters(question: Question, place: int) -> dict[str, int]:
    """Return what the text's parameters stand for, for one model of the bid."""
    model, markdown = question.rules.models[place]
    return {
        "origin": question.origin, "budget_us": question.budget_us, "model": model,
        "tokens_in": question.tokens_in, "tokens_out": question.tokens_out,
        "lease_us": question.lease_us, "worth": question.max_price - markdown,
    }  # fmt: skip


def candidates(rows: list[Any], model: int) -> list[Candidate]:
    """Return rows of the query as candidates."""
    return [
        Candidate(int(score), int(latency), int(priority), int(owner), int(cost), int(row), model)
        for score, latency, priority, owner, cost, row in rows
    ]
