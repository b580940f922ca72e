"""A small invented market history for the ledger, and the ledger it must make, in plain Python.

`tell` draws the history: what a journal would bring. `fold` is the definition of the ledger by
MARKET.md §8 and WIRE.md ("The follower"), over commands and events by name, one at a time, in
dictionaries. It shares nothing with the code it judges. `stored` reads a database back in the same
terms.
"""

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psycopg

from exchange.follower.event_files import MONEY_ROW, Batch, NameRow
from matching_core.event_rows import EVENT_ROW, country_number
from schemas import commands, events
from schemas.lists import (
    BANDS_MS,
    CONTRACTS,
    DECLINE_REASONS,
    HARDWARE,
    PRECISIONS,
    SETTLED_BY,
    TIERS,
)
from schemas.records import EVENT_TYPES

MEMBERS = 3
MARKET = 4_000_000_007
SECOND = 10**9


# ----------------------------------------------------------------------------- the definition
@dataclass
class Books:
    accounts: dict[Any, Any] = field(default_factory=lambda: {
        ("outside", ""): 0, ("fees", ""): 0, ("withheld", ""): 0})  # fmt: skip
    postings: dict[Any, Any] = field(default_factory=dict)
    fills: dict[Any, Any] = field(default_factory=dict)
    settlements: dict[Any, Any] = field(default_factory=dict)
    disputes: dict[Any, Any] = field(default_factory=dict)
    transfers: dict[Any, Any] = field(default_factory=dict)
    participants: dict[Any, Any] = field(default_factory=dict)

    def move(self, seq, giver, taker, amount):
        if amount == 0:
            return
        self.accounts[giver] -= amount
        self.accounts[taker] += amount
        for key, gain in (((taker, giver), amount), ((giver, taker), -amount)):
            place = (seq // 65_536, *key)
            self.postings[place] = self.postings.get(place, 0) + gain


def fold(entries):
    """Fold (seq, accepted command or event) pairs into the books that the ledger must hold."""
    books = Books()
    for seq, entry in entries:
        match entry:
            case commands.Buyer():
                books.participants["buyer", entry.buyer] = entry.owner_group
                books.accounts.setdefault(("available", entry.buyer), 0)
                books.accounts.setdefault(("held", entry.buyer), 0)
            case commands.Operator():
                books.participants["operator", entry.operator] = entry.owner_group
                books.accounts.setdefault(("balance", entry.operator), 0)
            case commands.Deposit() | commands.Withdraw():
                own = ("available" if entry.role == "buyer" else "balance", entry.member)
                sign = 1 if isinstance(entry, commands.Deposit) else -1
                books.transfers[seq] = (
                    entry.role,
                    entry.member,
                    entry.transfer,
                    sign * entry.amount,
                )
                if sign > 0:
                    books.move(seq, ("outside", ""), own, entry.amount)
                else:
                    books.move(seq, own, ("outside", ""), entry.amount)
            case events.Fill():
                books.fills[entry.fill] = entry
                books.move(seq, ("available", entry.buyer), ("held", entry.buyer), entry.price)
            case events.Settled():
                fill = books.fills[entry.fill]
                held = ("held", fill.buyer)
                books.move(seq, held, ("balance", fill.operator), entry.earned)
                books.move(seq, held, ("fees", ""), entry.fee)
                books.move(seq, held, ("withheld", ""), entry.withheld)
                books.move(seq, held, ("available", fill.buyer), fill.price - entry.paid)
                books.settlements[entry.fill] = (
                    "settled", entry.by, seq, entry.at, fill.price, entry.paid, entry.fee,
                    entry.earned, entry.withheld, entry.refund,
                )  # fmt: skip
            case events.Released():
                fill = books.fills[entry.fill]
                books.move(seq, ("held", fill.buyer), ("withheld", ""), entry.paid)
                books.move(seq, ("held", fill.buyer), ("available", fill.buyer), entry.refund)
                books.settlements[entry.fill] = (
                    "released", "", seq, entry.at, fill.price, entry.paid, 0, 0, entry.paid,
                    entry.refund,
                )  # fmt: skip
            case events.Declined():
                fill = books.fills[entry.fill]
                books.move(seq, ("held", fill.buyer), ("available", fill.buyer), fill.price)
                books.settlements[entry.fill] = (
                    "declined", entry.reason, seq, entry.at, fill.price, 0, 0, 0, 0, fill.price
                )  # fmt: skip
            case events.Disputed():
                books.disputes[entry.fill] = (seq, entry.buyer_figure, entry.operator_figure)
    return books


# ----------------------------------------------------------------------------- what is stored
def stored(dsn, market=MARKET):
    """Read the ledger of a database back, by names."""
    books = Books()
    with psycopg.connect(dsn) as connection:
        name = {
            (role, handle): name
            for role, handle, name in connection.execute(
                "SELECT role, handle, name FROM curb.participants WHERE market = %s", (market,)
            )
        }
        words = {
            (which, number): word
            for which, number, word in connection.execute("SELECT * FROM curb.words")
        }
        named = {
            (kind, handle): name
            for kind, handle, name in connection.execute(
                "SELECT kind, handle, name FROM curb.names WHERE market = %s", (market,)
            )
        }
        role_of = {"available": "buyer", "held": "buyer", "balance": "operator"}
        account = {}
        books.accounts = {}
        for number, kind, handle, balance in connection.execute(
            "SELECT account, kind, handle, balance FROM curb.accounts WHERE market = %s", (market,)
        ):
            account[number] = (kind, name[role_of[kind], handle] if handle else "")
            books.accounts[account[number]] = int(balance)
        for span, own, counter, amount in connection.execute(
            "SELECT span, account, counter, amount FROM curb.postings WHERE market = %s", (market,)
        ):
            books.postings[span, account[own], account[counter]] = int(amount)
        for role, member, group in connection.execute(
            "SELECT role, name, owner_group FROM curb.participants WHERE market = %s", (market,)
        ):
            books.participants[role, member] = group
        for seq, role, member, transfer, amount in connection.execute(
            "SELECT seq, role, member, transfer, amount FROM curb.transfers WHERE market = %s",
            (market,),
        ):
            books.transfers[seq] = (role, name[role, member], transfer, amount)
        cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
        for row in cursor.execute("SELECT * FROM curb.fills WHERE market = %s", (market,)):
            books.fills[row["fill"]] = events.Fill(
                seq=row["seq"], at=row["at_ns"], fill=row["fill"], buyer=name["buyer", row["buyer"]],
                agent=row["agent"], bid=row["bid"], unit=row["unit"],
                operator=name["operator", row["operator"]], site=named["site", row["site"]],
                offer=row["offer"], ordinal=row["ordinal"], model=named["model", row["model"]],
                hardware=words["hardware", row["hardware"]],
                precision=words["precision", row["precision"]],
                contract=words["contract", row["contract"]], tier=words["tier", row["tier"]],
                country=None if row["country"] == "--" else row["country"], cold=row["cold"],
                tokens_in=row["tokens_in"], tokens_out=row["tokens_out"], price=row["price"],
                cost=row["cost"], score=row["score"],
                rival_score=row["rival_score"] if row["has_rival"] else None,
                contested=row["contested"], latency_us=row["latency_us"],
                lease_until=row["lease_until"], resting=row["resting"],
            )  # fmt: skip
        for row in cursor.execute("SELECT * FROM curb.settlements WHERE market = %s", (market,)):
            outcome = words["event", row["outcome"]]
            listed = {"settled": "settled_by", "declined": "decline"}.get(outcome)
            by = words[listed, row["reason"]] if listed else ""
            books.settlements[row["fill"]] = (
                outcome, by, row["seq"], row["at_ns"], row["price"], row["paid"], row["fee"],
                row["earned"], row["withheld"], row["refund"],
            )  # fmt: skip
            fill = books.fills[row["fill"]]
            assert name["buyer", row["buyer"]] == fill.buyer
            assert name["operator", row["operator"]] == fill.operator
        for row in cursor.execute("SELECT * FROM curb.disputes WHERE market = %s", (market,)):
            books.disputes[row["fill"]] = (
                row["seq"], row["buyer_figure"], row["operator_figure"]
            )  # fmt: skip
    return books


def empty(dsn):
    """Take the ledger away, as if the database were new."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute("DROP SCHEMA IF EXISTS curb CASCADE")


def dump(dsn):
    """Return every row of the ledger's tables, sorted: two databases hold the same or they do not."""
    tables = ("progress", "participants", "names", "words", "accounts", "postings", "transfers",
              "fills", "settlements", "disputes")  # fmt: skip
    with psycopg.connect(dsn) as connection:
        return {
            table: sorted(map(repr, connection.execute(f"SELECT * FROM curb.{table}")))
            for table in tables
        }


# ----------------------------------------------------------------------------- the history
@dataclass
class Step:
    """One command: what it registered or moved, and what it made happen."""

    seq: int
    at: int
    command: object = None
    events: list[Any] = field(default_factory=list)


def tell(seed, steps=150):
    """Draw a history that crosses spans and days; amounts from 0 so that nothing happens often."""
    rng = random.Random(seed)
    history = []
    seq = 0
    free = dict.fromkeys(range(1, MEMBERS + 1), 0)
    owed = dict.fromkeys(range(1, MEMBERS + 1), 0)
    running = {}

    def step(command=None, happened=()):
        nonlocal seq
        seq += 1
        made = Step(seq, seq * SECOND + rng.randrange(SECOND), command, [])
        made.events = [make(made.seq, made.at) for make in happened]
        history.append(made)

    for n in range(1, MEMBERS + 1):
        step(commands.Buyer(at=0, buyer=f"buyer {n}"))
        step(commands.Operator(at=0, operator=f"operator {n}", group=f"group {n % 2}"))
    step(commands.Model(at=0, model="model 1", family="f", params_m=1, context_limit=9, card_in=1,
                        card_out=1))  # fmt: skip
    step(commands.Site(at=0, site="site 1", operator="operator 1", tier="cdn_pop", lat=0, lon=0,
                       country="DE"))  # fmt: skip
    transfers = fills = 0
    for _ in range(steps):
        if rng.random() < 0.2:
            seq += rng.randrange(30_000)  # commands that moved nothing
        what = rng.choice(["deposit", "withdraw", "fill", "fill", "end", "end", "dispute", "again"])
        n = rng.randint(1, MEMBERS)
        transfers += 1
        if what == "deposit":
            amount = rng.choice([1, 5, 2**60])
            if sum(free.values()) + sum(owed.values()) + amount > 2**61:
                continue
            free[n] += amount
            step(commands.Deposit(at=0, role="buyer", member=f"buyer {n}", transfer=transfers,
                                  amount=amount))  # fmt: skip
        elif what == "withdraw" and owed[n]:
            amount = rng.randint(1, owed[n])
            owed[n] -= amount
            step(commands.Withdraw(at=0, role="operator", member=f"operator {n}",
                                   transfer=transfers, amount=amount))  # fmt: skip
        elif what == "fill":
            fills += 1
            price = rng.choice([0, 0, min(free[n], rng.randint(0, 9)), min(free[n], 2**48)])
            free[n] -= price
            o = rng.randint(1, MEMBERS)
            running[fills] = (n, o, price)
            rival = rng.random() < 0.5
            step(None, [lambda s, at, f=fills, b=n, o=o, p=price, r=rival: events.Fill(
                seq=s, at=at, fill=f, buyer=f"buyer {b}", agent=b % 2, bid=f, unit=0,
                operator=f"operator {o}", site="site 1", offer=1, ordinal=f, model="model 1",
                hardware=rng.choice(HARDWARE), precision=rng.choice(PRECISIONS),
                contract=rng.choice(CONTRACTS), tier=rng.choice(TIERS),
                country=rng.choice(["DE", "ZZ", "AA", None]), cold=rng.random() < 0.5,
                tokens_in=1, tokens_out=2**23, price=p, cost=p // 2, score=-p,
                rival_score=-7 if r else None, contested=r, latency_us=5,
                lease_until=at + 7, resting=rng.random() < 0.5)])  # fmt: skip
        elif what == "end" and running:
            some = rng.sample(sorted(running), min(len(running), rng.randint(1, 3)))
            step(None, [end(rng, fill, *running.pop(fill), free, owed) for fill in some])
        elif what == "dispute" and running:
            fill = rng.choice(sorted(running))
            step(None, [lambda s, at, f=fill: events.Disputed(
                seq=s, at=at, fill=f, buyer_figure=3, operator_figure=4)])  # fmt: skip
            del running[fill]  # once: the fill stays disputed for ever
        elif what == "again":
            step(commands.Operator(at=0, operator=f"operator {n}", group=rng.choice(["x", "y"])))
    return history


def end(rng, fill, buyer, operator, price, free, owed):
    kind = rng.choice(["settled", "released", "declined"])
    paid = rng.randint(0, price)
    if kind == "declined":
        free[buyer] += price
        return lambda s, at: events.Declined(
            seq=s, at=at, fill=fill, reason=rng.choice(DECLINE_REASONS)
        )
    free[buyer] += price - paid
    if kind == "released":
        return lambda s, at: events.Released(
            seq=s, at=at, fill=fill, paid=paid, refund=price - paid
        )
    part = rng.randint(0, paid)
    fee = part // 10
    owed[operator] += part - fee
    return lambda s, at: events.Settled(
        seq=s, at=at, fill=fill, buyer=f"buyer {buyer}", operator=f"operator {operator}", paid=paid,
        fee=fee, earned=part - fee, withheld=paid - part, refund=price - paid,
        by=rng.choice(SETTLED_BY),
    )  # fmt: skip


def entries(history):
    """Return the history as `fold` takes it."""
    for step in history:
        if step.command is not None:
            yield step.seq, step.command
        for event in step.events:
            yield step.seq, event


# ----------------------------------------------------------------------------- as event files
def handle(name):
    return int(name.rpartition(" ")[2])


def row_of(event, index, fills):
    """Write an event as the core's row, by event_rows.py."""
    row = np.zeros(1, EVENT_ROW)
    kind = str(event.__struct_config__.tag)
    row["seq"], row["index"], row["at"] = event.seq, index, event.at
    row["type"] = EVENT_TYPES.index(kind)
    row["fill"] = event.fill
    fill = fills.setdefault(event.fill, event)
    row["buyer"], row["operator"] = handle(fill.buyer), handle(fill.operator)
    row["price"] = fill.price
    match event:
        case events.Fill():
            row["agent"], row["bid"], row["unit"] = event.agent, event.bid, event.unit
            row["site"], row["offer"], row["ordinal"] = 1, event.offer, event.ordinal
            row["model"] = 1
            row["tokens_in"], row["tokens_out"] = event.tokens_in, event.tokens_out
            row["cost"], row["score"] = event.cost, event.score
            row["rival_score"] = event.rival_score or 0
            row["latency_us"], row["lease_until"] = event.latency_us, event.lease_until
            row["attributes"] = (
                HARDWARE.index(event.hardware)
                | PRECISIONS.index(event.precision) << 8
                | CONTRACTS.index(event.contract) << 16
                | TIERS.index(event.tier) << 24
                | country_number(event.country) << 32
                | (event.fill % len(BANDS_MS)) << 48
                | event.contested << 52
                | event.cold << 53
                | event.resting << 54
                | (event.rival_score is not None) << 55
            )
        case events.Settled():
            row["paid"], row["refund"], row["earned"] = event.paid, event.refund, event.earned
            row["cost"], row["score"] = event.fee, event.withheld
            row["reason"] = SETTLED_BY.index(event.by)
        case events.Released():
            row["paid"], row["refund"] = event.paid, event.refund
        case events.Declined():
            row["reason"] = DECLINE_REASONS.index(event.reason)
        case events.Disputed():
            row["cost"], row["score"] = event.buyer_figure, event.operator_figure
    return row


def batches(history, cuts):
    """Return the history as batches of `cuts` steps each (the last number for all that is left)."""
    made = []
    fills: dict[int, events.Fill] = {}
    begin, first = 0, 1
    rest = list(history)
    cuts = list(cuts)
    while rest:
        count = cuts.pop(0) if len(cuts) > 1 else cuts[0]
        steps, rest = rest[:count], rest[count:]
        names, money, rows = [], [np.zeros(0, MONEY_ROW)], [np.zeros(0, EVENT_ROW)]
        for step in steps:
            names += name_rows(step)
            money += money_rows(step)
            rows += [row_of(event, index, fills) for index, event in enumerate(step.events)]
        last = steps[-1].seq + 1
        # Positions as a journal would give them: a function of the commands, not of the cuts.
        batch = Batch(begin, 80 * last, first, last, names, np.concatenate(money),
                      np.concatenate(rows))  # fmt: skip
        made.append(batch)
        begin, first = batch.end, last
    return made


def name_rows(step):
    match step.command:
        case commands.Buyer(buyer=name):
            return [NameRow(step.seq, "buyer", handle(name), name, 0, step.command.owner_group)]
        case commands.Operator(operator=name):
            return [NameRow(step.seq, "operator", handle(name), name, 0, step.command.owner_group)]
        case commands.Model(model=name):
            return [NameRow(step.seq, "model", 1, name)]
        case commands.Site(site=name):
            return [NameRow(step.seq, "site", 1, name, 1, "", "DE", "cdn_pop")]
    return []


def money_rows(step):
    if not isinstance(step.command, commands.Deposit | commands.Withdraw):
        return []
    row = np.zeros(1, MONEY_ROW)
    sign = 1 if isinstance(step.command, commands.Deposit) else -1
    role = 1 if step.command.role == "buyer" else 2
    row[0] = (step.seq, step.at, role, handle(step.command.member), step.command.transfer,
              sign * step.command.amount)  # fmt: skip
    return [row]
