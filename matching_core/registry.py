"""Names and handles: what the compiled core numbers, the world calls by name.

A handle is the index of the entity's row in the core's tables and its number on the wire: 1, 2, … per
kind in order of registration, never used again. 0 is nobody.
"""

from typing import Final

import msgspec

from schemas.commands import AnyCommand, PriceCard

KINDS: Final = (
    "operator", "buyer", "model", "adapter", "metro", "site", "deal", "campaign", "adapter_set",
)  # fmt: skip
Name = str | tuple[str, ...]  # a set of adapters is called by the tuple of their names


class Names:
    """The table of names per kind, with the last accepted command of each entity."""

    def __init__(self) -> None:
        self._handles: dict[str, dict[tuple[int, Name], int]] = {kind: {} for kind in KINDS}
        self._names: dict[str, list[Name]] = {kind: [""] for kind in KINDS}
        self._names["adapter_set"][0] = ()
        self._details: dict[str, list[AnyCommand | None]] = {kind: [None] for kind in KINDS}
        self._groups: dict[str, int] = {}
        self.price_cards: dict[tuple[str, int], PriceCard] = {}

    def group(self, name: str) -> int:
        """Return the number of a group of owners, 1, 2, …; operators and buyers share them."""
        return self._groups.setdefault(name, len(self._groups) + 1)

    def handle(self, kind: str, name: Name, owner: int = 0) -> int:
        """Return the handle of a name, 0 when it is not known. `owner`: of a campaign, its buyer."""
        return self._handles[kind].get((owner, name), 0)

    def name(self, kind: str, handle: int) -> str:
        """Return what a handle stands for; an ended campaign keeps its name. IndexError: unknown."""
        return self._names[kind][handle]  # type: ignore[return-value]

    def adapter_set(self, handle: int) -> tuple[str, ...]:
        """Return the names of the adapters in a set."""
        return self._names["adapter_set"][handle]  # type: ignore[return-value]

    def count(self, kind: str) -> int:
        """Return the highest handle given."""
        return len(self._names[kind]) - 1

    def add(self, kind: str, name: Name, detail: AnyCommand | None, owner: int = 0) -> int:
        """Give a name the next handle."""
        handle = len(self._names[kind])
        self._handles[kind][owner, name] = handle
        self._names[kind].append(name)
        self._details[kind].append(detail)
        return handle

    def detail(self, kind: str, handle: int) -> AnyCommand | None:
        """Return the last accepted command of an entity; None for nobody and for what ended."""
        details = self._details[kind]
        return details[handle] if 0 <= handle < len(details) else None

    def replace(self, kind: str, handle: int, detail: AnyCommand) -> None:
        """Keep a newer command of an entity."""
        self._details[kind][handle] = detail

    def end(self, kind: str, handle: int, owner: int) -> None:
        """Free a name; its handle stays used."""
        del self._handles[kind][owner, self._names[kind][handle]]
        self._details[kind][handle] = None

    def sorted_handles(self, kind: str) -> list[int]:
        """Return the handles of the names in use, by (owner's handle, name)."""
        return [handle for _, handle in sorted(self._handles[kind].items())]

    def snapshot(self) -> bytes:
        """Return all of it as bytes."""
        kept = _Kept(
            groups=list(self._groups), price_cards=list(self.price_cards.values()), kinds=[]
        )
        for kind in KINDS:
            owners = [-1] * len(self._names[kind])
            for (owner, _), handle in self._handles[kind].items():
                owners[handle] = owner
            kept.kinds.append((kind, self._names[kind], owners, self._details[kind]))
        return msgspec.msgpack.encode(kept)

    @classmethod
    def restore(cls, snapshot: bytes) -> "Names":
        """Make the names again that `snapshot` was taken of."""
        kept = msgspec.msgpack.decode(snapshot, type=_Kept)
        names = cls()
        names._groups = {name: number for number, name in enumerate(kept.groups, start=1)}
        names.price_cards = {(card.model, card.band): card for card in kept.price_cards}
        for kind, called, owners, details in kept.kinds:
            names._names[kind] = called
            names._details[kind] = details
            names._handles[kind] = {
                (owner, called[handle]): handle for handle, owner in enumerate(owners) if owner >= 0
            }
        return names


class _Kept(msgspec.Struct):
    groups: list[str]
    price_cards: list[PriceCard]
    # kind, names, owner of each name in use or -1, details
    kinds: list[tuple[str, list[Name], list[int], list[AnyCommand | None]]]
