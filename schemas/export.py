"""JSON Schema of everything that has names: commands, events, session messages.

    python -m schemas.export commands > docs/schema/commands.json

The documents in docs/schema/ are these, byte for byte; a test compares them.
"""

import sys
from typing import Any, Final

import msgspec

from schemas.commands import COMMANDS
from schemas.events import EVENTS
from schemas.session.messages import ClientMessage, ServerMessage

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

# Document → its title, and the Structs of which a value is exactly one, told apart by their tag.
KINDS: Final[dict[str, tuple[str, tuple[type[msgspec.Struct], ...]]]] = {
    "commands": ("A line of a market file", COMMANDS),
    "events": ("A line of an events file", EVENTS),
    "messages": (
        "A message of the session protocol (msgpack, in a frame of type 64)",
        tuple(dict.fromkeys((*ClientMessage.__args__, *ServerMessage.__args__))),
    ),
}


def document(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of one kind: any of its Structs, each under `$defs`.

    Raises:
        KeyError: no such kind; they are the keys of `KINDS`.
    """
    title, structs = KINDS[kind]
    references, definitions = msgspec.json.schema_components(structs, ref_template="#/$defs/{name}")
    return {
        "$schema": DIALECT,
        "$id": f"urn:curb:schema:{kind}",
        "title": title,
        "oneOf": list(references),
        "$defs": dict(sorted(definitions.items())),
    }


def text(kind: str) -> str:
    """Return the document of one kind as it stands in docs/schema/, with its last newline."""
    return msgspec.json.format(msgspec.json.encode(document(kind)), indent=2).decode() + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in KINDS:
        sys.exit(f"usage: python -m schemas.export {' | '.join(KINDS)}")
    sys.stdout.write(text(sys.argv[1]))
