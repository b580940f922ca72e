"""What may pass to the sequencer: the role table, ranges, handles, sites and the rate.

Judged on whole frames by column. A record that is refused costs nothing but its place in the
answer: it is neither numbered nor journaled, and the records around it go on.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from exchange.admission.fields import FieldTable
from exchange.gateway.desks import Desk
from exchange.registry import Registry
from matching_core.market import Market
from schemas import commands, records, roles
from schemas.frames import CommandError, Frame, decode_command
from schemas.limits import REGISTRATIONS_PER_KIND_MAX
from schemas.lists import MEMBER_ROLES
from schemas.reasons import REFUSED
from schemas.session.messages import Lookup, Message, Order

# Taking back and reporting always passes: a member over its rate must still be able to stop.
FREE_KINDS: Final = frozenset(
    {
        records.OFFER_CANCEL, records.OFFERS_CANCEL, records.BID_CANCEL, records.BIDS_CANCEL,
        records.START, records.COMPLETE, records.RELEASE, records.DECLINE,
    }
)  # fmt: skip
# As rare commands: what stops something must pass as well.
FREE_COMMANDS: Final = (commands.CampaignEnd, commands.Halt, commands.Resume)
HOT_NAMES: Final = frozenset(records.COMMAND_NAMES.values())
# What a request costs of the rate: a lookup copies up to a thousand entries out, a query walks what
# is open. A command is one unit.
LOOKUP_UNITS: Final = 1_024
QUERY_UNITS: Final = 16
HANDLE_KINDS: Final = ("site", "model", "deal", "adapter_set", "campaign", "metro", "adapter")
REGISTRATIONS: Final = (commands.Campaign, commands.Deal, commands.Adapter)


def read_units(message: Message) -> int:
    """Return what a request that changes nothing costs of the rate."""
    if isinstance(message, Lookup):
        asked = len(message.names) + len(message.handles)
        return asked + 1 if asked else LOOKUP_UNITS
    return QUERY_UNITS


class Refusal(Exception):
    """Why an order is refused: `code` of reasons.REFUSED and a sentence naming the field."""

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.code = REFUSED[reason]
        self.why = why


class Gate:
    """Judges frames and orders against the state before the round's own commands."""

    def __init__(self, market: Market, registry: Registry) -> None:
        self._market = market
        self._registry = registry
        self._fields = FieldTable()
        self.refresh_handles()

    def refresh_handles(self) -> None:
        """Take over what was registered; to be called after every rare command."""
        self._fields.set_handles({kind: self._market.handle_count(kind) for kind in HANDLE_KINDS})

    def table(self, kind: int) -> NDArray[np.int64]:
        """Return the ranges of a kind's fields, as kernels read them."""
        return self._fields.table(kind)

    def frame(self, desk: Desk, frame: Frame, now_ns: int) -> NDArray[np.int64]:
        """Return the refusal code of each record, `int64[n]`; 0: it may be numbered."""
        kind, batch = frame.type, frame.records
        if desk.agent.role not in roles.HOT_ROLES[kind]:
            reason = "role" if self.in_rate(desk, frame.units, now_ns) else "rate"
            return np.full(len(batch), REFUSED[reason], np.int64)
        codes = self._fields.check(kind, batch)
        if kind in roles.HOT_SITE_KINDS and desk.agent.role == "operator":
            # A handle out of range has its code already; 0 is nobody's site.
            sites = np.where(codes == 0, batch["site"], 0)
            mine = desk.may_speak_for(sites, self._market)
            codes[(codes == 0) & ~mine] = REFUSED["site"]
        elif kind == records.BID:
            self._bids(desk, batch, codes)
        if kind not in FREE_KINDS and not self.in_rate(desk, frame.units, now_ns):
            codes[codes == 0] = REFUSED["rate"]
        return codes

    def order(self, desk: Desk, order: Order, now_ns: int) -> commands.AnyCommand:
        """Return the command of an order that this sender may give; raises Refusal.

        What is refused costs a round like anything else, so it is charged.
        """
        try:
            command = decode_command(order)
        except CommandError as error:
            self.charge(desk, 1, now_ns)
            raise Refusal("field", str(error)) from None
        agent = desk.agent
        refused = roles.check(agent.role, agent.member, agent.number, agent.sites, command)
        if refused is not None or not isinstance(command, FREE_COMMANDS):
            self.charge(desk, 1, now_ns)
        if refused is not None:
            raise Refusal(refused.reason, f"{commands.name_of(command)}: {refused.field}")
        name = commands.name_of(command)
        if name in HOT_NAMES:
            # As an order it would pass by ranges, sites and units, and its fills would find no answer.
            raise Refusal("field", f"type: {name} travels as a frame of records")
        if isinstance(command, commands.Operator | commands.Buyer):
            self.member(name, getattr(command, name))
        if isinstance(command, REGISTRATIONS):
            self.registration(agent.member, name)
        return command

    def member(self, role: str, member: str) -> None:
        """Raise Refusal unless a member of this role may be called so.

        Names hold no slash, for what begins with NAME/ is that member's; and they are unique over
        all roles (WIRE.md, "Members, agents, two connections").
        """
        if not roles.member_name_ok(member):
            raise Refusal("name", "member: a member's name holds no slash")
        known_as = self._registry.roles.get(member, role)
        for other in MEMBER_ROLES:
            if other != role and self._market.names.handle(other, member):
                known_as = other
        if known_as != role:
            raise Refusal("name", f"member: {member} is known as {known_as}")

    def registration(self, member: str, kind: str) -> None:
        """Raise Refusal when a member has made all the registrations of a kind that it may."""
        if self._registry.registrations.get((member, kind), 0) >= REGISTRATIONS_PER_KIND_MAX:
            raise Refusal("registrations", f"more than {REGISTRATIONS_PER_KIND_MAX} of {kind}")

    def charge(self, desk: Desk, units: int, now_ns: int) -> None:
        """Raise Refusal when the agent is over its rate."""
        if not self.in_rate(desk, units, now_ns):
            raise Refusal("rate", f"more than {desk.rate.units_per_second} units per second")

    @staticmethod
    def in_rate(desk: Desk, units: int, now_ns: int) -> bool:
        """Take units of the agent's rate; False when it is exceeded."""
        # The exchange's own admin and verifier load whole worlds; members have limits.
        return desk.agent.role not in MEMBER_ROLES or desk.rate.take(units, now_ns)

    def _bids(self, desk: Desk, batch: np.ndarray, codes: NDArray[np.int64]) -> None:
        member = desk.member_in(self._market)
        campaigns = np.where(codes == 0, batch["campaign"], 0)
        # Another's campaign and an ended one look alike from outside: the handle is not yours.
        foreign = self._market.campaign_buyers[campaigns] != member
        codes[(codes == 0) & foreign] = REFUSED["handle"]
        empty = (batch["tokens_in"] == 0) & (batch["tokens_out"] == 0)
        codes[(codes == 0) & empty] = REFUSED["field"]
