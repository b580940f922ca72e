"""Who may say what over the wire: role × command × field, as data (MARKET_FILE.md).

The exchange asks at admission, where a member is known by its key; the core takes every line. A
command that a role's table does not name is refused; a field that a rule names must be the
sender's own; every other field is the sender's to choose.
"""

from collections.abc import Collection
from typing import Final, Literal, NamedTuple, TypeAlias

from schemas import records
from schemas.commands import AnyCommand, name_of
from schemas.reasons import REFUSED

ROLES: Final = ("admin", "verifier", "operator", "buyer")
Role: TypeAlias = Literal["admin", "verifier", "operator", "buyer"]

# What a rule demands of the field it stands beside:
#   member   the sender's own name                      role   the sender's own role
#   agent    the sender's own agent number              site   a site that the agent is enrolled for
#   owned    a name that begins with the sender's name and a slash
#   by       an authority that this role speaks for (AUTHORITIES_OF_ROLE)
#   scope    what this role may halt (SCOPES_OF_ROLE)
#   of_operator  a name that begins with the name in the command's `operator` field and a slash
Rule: TypeAlias = Literal["member", "role", "agent", "site", "owned", "by", "scope", "of_operator"]

_BY_AND_SCOPE: Final[dict[str, Rule]] = {"by": "by", "scope": "scope"}
_SITE: Final[dict[str, Rule]] = {"site": "site"}
_OPERATOR: Final[dict[str, Rule]] = {"operator": "member"}
_BUYER: Final[dict[str, Rule]] = {"buyer": "member"}
_BUYER_AND_AGENT: Final[dict[str, Rule]] = {"buyer": "member", "agent": "agent"}
_ROLE_AND_MEMBER: Final[dict[str, Rule]] = {"role": "role", "member": "member"}
_ADAPTER: Final[dict[str, Rule]] = {"adapter": "owned"}

MAY_SEND: Final[dict[str, dict[str, dict[str, Rule]]]] = {
    "admin": {
        "operator": {}, "buyer": {}, "deposit": {}, "withdraw": {}, "rules": {}, "model": {},
        "price_card": {}, "metro": {}, "site": {"site": "of_operator"}, "resolve": {},
        "halt": _BY_AND_SCOPE, "resume": _BY_AND_SCOPE,
    },
    "verifier": {
        "site_trust": {}, "rtt": {}, "halt": _BY_AND_SCOPE, "resume": _BY_AND_SCOPE,
    },
    "operator": {
        "halt": _BY_AND_SCOPE, "resume": _BY_AND_SCOPE,
        "deal": {"operator": "member", "deal": "owned"}, "adapter": _ADAPTER,
        "offer": _SITE, "refresh": _SITE, "renew": _SITE, "offer_cancel": _SITE,
        "offers_cancel": _SITE, "start": _OPERATOR, "decline": _OPERATOR,
        "complete": _ROLE_AND_MEMBER,
    },
    "buyer": {
        "halt": _BY_AND_SCOPE, "resume": _BY_AND_SCOPE, "adapter": _ADAPTER,
        "campaign": _BUYER, "campaign_end": _BUYER, "bid": _BUYER_AND_AGENT,
        "bid_cancel": _BUYER_AND_AGENT, "bids_cancel": _BUYER_AND_AGENT, "release": _BUYER,
        "complete": _ROLE_AND_MEMBER,
    },
}  # fmt: skip

# Nobody but the admin's door speaks for risk: it has no member of its own.
AUTHORITIES_OF_ROLE: Final[dict[str, tuple[str, ...]]] = {
    "admin": ("admin", "risk"),
    "verifier": ("verifier",),
    "operator": ("operator",),
    "buyer": ("buyer",),
}

# Role → scope → what its `name` must be: any, the sender's own name, or a name that it owns.
SCOPES_OF_ROLE: Final[dict[str, dict[str, Literal["any", "member", "owned"]]]] = {
    "admin": {
        "exchange": "any", "operator": "any", "site": "any", "model": "any", "buyer": "any",
    },
    "verifier": {"site": "any"},
    "operator": {"operator": "member", "site": "owned"},
    "buyer": {"buyer": "member"},
}  # fmt: skip

# Session messages that not every role may send; the others are everybody's.
MESSAGE_ROLES: Final[dict[str, tuple[str, ...]]] = {
    "member_add": ("admin",),
    "member_revoke": ("admin",),
    "site_key": ("admin",),
    "register_adapters": ("operator",),
}

# Frame type → roles that may send it. All its records are of one sender, so one look is enough;
# which sites a frame's records may name is the agent's enrolment (rule `site`).
HOT_ROLES: Final[dict[int, tuple[str, ...]]] = {
    kind: tuple(role for role in ROLES if name in MAY_SEND[role])
    for kind, name in records.COMMAND_NAMES.items()
}
# Frame types whose records name a site that the agent must be enrolled for.
HOT_SITE_KINDS: Final = frozenset(
    kind
    for kind, name in records.COMMAND_NAMES.items()
    if "site" in MAY_SEND["operator"].get(name, {})
)
REASON_OF_RULE: Final[dict[Rule, str]] = {
    "member": "field", "role": "field", "agent": "field", "site": "site", "owned": "name",
    "by": "field", "scope": "field", "of_operator": "name",
}  # fmt: skip


class Refusal(NamedTuple):
    """Why a sender may not say this: a reason of `reasons.REFUSED` and the field at fault."""

    reason: str
    field: str

    @property
    def code(self) -> int:
        """The reason's number."""
        return REFUSED[self.reason]


def check(
    role: str, member: str, agent: int, sites: Collection[str], command: AnyCommand
) -> Refusal | None:
    """Judge a command by names: None when this sender may send it as it stands.

    `sites` are the sites that the sender's agent is enrolled for. A command that is not in the
    role's table is refused with reason `role`, field `type`.
    """
    rules = MAY_SEND.get(role, {}).get(name_of(command))
    if rules is None:
        return Refusal("role", "type")
    for field, rule in rules.items():
        value = getattr(command, field)
        if not _keeps(rule, value, role, member, agent, sites, command):
            return Refusal(REASON_OF_RULE[rule], field)
    return None


def _keeps(
    rule: Rule,
    value: object,
    role: str,
    member: str,
    agent: int,
    sites: Collection[str],
    command: AnyCommand,
) -> bool:
    match rule:
        case "member":
            return value == member
        case "role":
            return value == role
        case "agent":
            return value == agent
        case "site":
            return value in sites
        case "owned":
            return owned_by(str(value), member)
        case "of_operator":
            return owned_by(str(value), str(getattr(command, "operator", "")))
        case "by":
            return value in AUTHORITIES_OF_ROLE[role]
        case "scope":
            return _may_halt(role, member, str(value), str(getattr(command, "name", "")))


def _may_halt(role: str, member: str, scope: str, name: str) -> bool:
    what = SCOPES_OF_ROLE[role].get(scope)
    if what == "member":
        return name == member
    if what == "owned":
        return owned_by(name, member)
    return what == "any"


def owned_by(name: str, member: str) -> bool:
    """Tell whether a name is one that this member may take: its own name, a slash, and more."""
    return len(name) > len(member) + 1 and name.startswith(member + "/")


def member_name_ok(name: str) -> bool:
    """Tell whether a member may be called this: a slash would let it own another's names."""
    return bool(name) and "/" not in name
