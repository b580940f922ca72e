"""A small market for tests to write on: commands as market-file lines, with defaults to lean on.

A one-second lease makes an ask per second the cost in n$: `ask=2` costs 2. Tokens cost nothing unless
a test prices them.
"""

import json
from typing import Any

from matching_core.engines import Engine, new_market
from matching_core.market_file import format_event, parse_command
from schemas import events as e
from schemas.commands import AnyCommand

SECOND_US = 1_000_000
SECOND_NS = 1_000_000_000
START_NS = 1_000 * SECOND_NS

DEFAULTS: dict[str, dict[str, Any]] = {
    "model": {"family": "llama", "params_m": 8000, "context_limit": 8192, "card_in": 0, "card_out": 0},
    "metro": {"lat": 48.9, "lon": 2.4, "country": "FR", "population": 1},
    "site": {"tier": "metro_colo", "lat": 48.9, "lon": 2.4},
    "offer": {
        "model": "m", "hardware": "h100", "ask_in": 0, "ask_out": 0, "slots": 1, "ttft_us": 0,
        "context_limit": 8192, "ttl_us": 60 * SECOND_US,
    },
    "refresh": {
        "slots": 1, "fills_seen": 0, "ttft_us": 0, "prefill_ns_per_token": 0,
        "tokens_per_second": 0, "ttl_us": 60 * SECOND_US,
    },
    "campaign": {"models": [{"model": "m"}], "latency_budget_us": 1000, "max_unit_price": 0},
    "bid": {"origin": "metro", "tokens_in": 0, "tokens_out": 1, "lease_us": SECOND_US},
    "complete": {"ttft_us": 0},
}  # fmt: skip


class Book:
    """A market, the lines it was given and the events it gave."""

    def __init__(self, engine: str = "reference") -> None:
        self.market: Engine = new_market(engine)
        self.at = START_NS
        self.lines: list[bytes] = []
        self.commands: list[AnyCommand] = []
        self.events: list[e.AnyEvent] = []
        self._numbers: dict[tuple[str, str], int] = {}

    # ------------------------------------------------------------------------- commands
    def send(self, kind: str, /, **fields: Any) -> list[e.AnyEvent]:
        """Send one command as a line of a market file; audit, and return its events."""
        line = json.dumps({"type": kind, "at": self.at} | DEFAULTS.get(kind, {}) | fields).encode()
        self.lines.append(line + b"\n")
        self.commands.append(parse_command(line))
        events = self.market.apply_command(self.commands[-1])
        assert all((event.seq, event.at) == (len(self.lines), self.at) for event in events)
        self.events += events
        audit = getattr(self.market, "audit", None)
        if audit is not None:
            audit()
        return events

    def ok(self, kind: str, /, **fields: Any) -> list[e.AnyEvent]:
        """Send a command that must be accepted."""
        events = self.send(kind, **fields)
        assert not [event for event in events if isinstance(event, e.Rejected)], events
        return events

    def rejected(self, kind: str, /, **fields: Any) -> str:
        """Send a command that must be rejected and change nothing else; return the reason."""
        (event,) = self.send(kind, **fields)
        assert isinstance(event, e.Rejected)
        assert event.command == kind
        return event.reason

    def wait(self, us: int) -> list[e.AnyEvent]:
        """Let time pass, tell the clock, and return what that brought."""
        self.at += 1000 * us
        return self.ok("clock")

    # ------------------------------------------------------------------------- a small world
    def world(self, *, card: int = 20, operators: str = "AB", buyers: str = "XY") -> "Book":
        """Open a market: one model `m`, one metro, a site `s-A` per operator, rich buyers."""
        self.ok("model", model="m", card_second=card)
        self.ok("metro", metro="metro")
        for operator in operators:
            self.ok("operator", operator=operator)
            self.ok("site", site=f"s-{operator}", operator=operator)
            self.ok("rtt", site=f"s-{operator}", metro="metro", p99_us=10)
        for buyer in buyers:
            self.ok("buyer", buyer=buyer)
            self.ok("deposit", role="buyer", member=buyer, transfer=1, amount=10**12)
            self.ok("campaign", buyer=buyer, campaign="c")
        return self

    def offer(self, operator: str, ask: int, **fields: Any) -> list[e.AnyEvent]:
        """Offer at `ask` n$ per second; the offer's number counts up from 1 unless given."""
        site = fields.pop("site", f"s-{operator}")
        number = fields.pop("offer", None) or self._next("offer", site)
        return self.ok("offer", site=site, offer=number, ask_second=ask, **fields)

    def bid(self, buyer: str, ceiling: int | None = None, **fields: Any) -> list[e.AnyEvent]:
        """Bid with `ceiling` as max_price; the bid's number counts up from 1 unless given."""
        if ceiling is not None:
            fields["max_price"] = ceiling
        number = fields.pop("bid", None) or self._next("bid", buyer)
        campaign = fields.pop("campaign", "c")
        return self.ok("bid", buyer=buyer, bid=number, campaign=campaign, **fields)

    def rest(self, buyer: str, ceiling: int, **fields: Any) -> list[e.AnyEvent]:
        """Bid and rest for a minute."""
        return self.bid(buyer, ceiling, rest_us=60 * SECOND_US, **fields)

    def _next(self, kind: str, of: str) -> int:
        self._numbers[kind, of] = self._numbers.get((kind, of), 0) + 1
        return self._numbers[kind, of]

    # ------------------------------------------------------------------------- what came of it
    @property
    def output(self) -> bytes:
        """The events file so far."""
        return b"".join(format_event(event) for event in self.events)


def fills(events: list[e.AnyEvent]) -> list[e.Fill]:
    """Return the fills among events."""
    return [event for event in events if isinstance(event, e.Fill)]


def one_fill(events: list[e.AnyEvent]) -> e.Fill:
    """Return the only event, which must be a fill."""
    (event,) = events
    assert isinstance(event, e.Fill)
    return event


def sold(events: list[e.AnyEvent]) -> list[tuple[str, str, int]]:
    """Return (operator, buyer, price) of the fills among events."""
    return [(fill.operator, fill.buyer, fill.price) for fill in fills(events)]


def reason(events: list[e.AnyEvent]) -> str:
    """Return the reason of the only event, which must be `unfilled`."""
    (event,) = events
    assert isinstance(event, e.Unfilled)
    return event.reason
