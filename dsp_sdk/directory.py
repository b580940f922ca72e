"""Names and handles, asked for once: handles are never given again in a market (WIRE.md)."""

from collections.abc import Iterable
from typing import Final

import msgspec

from schemas.channel import Channel
from schemas.commands import AnyCommand
from schemas.session.messages import Entry

_decoder: Final = msgspec.msgpack.Decoder(AnyCommand)


class UnknownNameError(LookupError):
    """Say that the exchange does not know a name of a kind."""

    def __init__(self, kind: str, name: str | int, known: Iterable[str] = ()) -> None:
        some = ", ".join(sorted(known)[:12])
        super().__init__(f"no {kind} {name!r}{'; there are ' + some if some else ''}")


class Directory:
    """A cache of `Lookup` over a channel. Kinds: model, metro, site, operator, adapter, campaign."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._market: int | None = None
        self._handles: dict[str, dict[str, int]] = {}
        self._names: dict[str, dict[int, str]] = {}
        self._details: dict[tuple[str, int], AnyCommand] = {}

    def note_market(self, market: int) -> None:
        """Forget everything when this is another market than before."""
        if self._market not in {None, market}:
            self._handles.clear()
            self._names.clear()
            self._details.clear()
        self._market = market

    def remember(self, kind: str, name: str, handle: int) -> None:
        """Note what the answer to a registration said."""
        self._handles.setdefault(kind, {})[name] = handle
        self._names.setdefault(kind, {})[handle] = name

    def forget(self, kind: str, name: str) -> None:
        """Forget one name: a campaign that ended."""
        handle = self._handles.get(kind, {}).pop(name, None)
        if handle is not None:
            self._details.pop((kind, handle), None)

    async def handle(self, kind: str, name: str) -> int:
        """Return the handle of a name.

        Raises:
            UnknownNameError: the exchange does not know it.
        """
        known = self._handles.get(kind, {}).get(name)
        if known is not None:
            return known
        self._take(kind, await self._channel.lookup(kind, (name,)))
        known = self._handles.get(kind, {}).get(name)
        if known is None:
            raise UnknownNameError(kind, name, self._handles.get(kind, {}))
        return known

    async def names(self, kind: str, handles: Iterable[int]) -> dict[int, str]:
        """Return the names of handles; what the exchange does not know is left out."""
        known = self._names.setdefault(kind, {})
        wanted = dict.fromkeys(handle for handle in handles if handle)
        missing = [handle for handle in wanted if handle not in known]
        if missing:
            self._take(kind, await self._channel.lookup(kind, handles=missing))
        return {handle: known[handle] for handle in wanted if handle in known}

    async def detail(self, kind: str, handle: int, *, again: bool = False) -> AnyCommand:
        """Return the command that made what a handle stands for; `again`: ask even if cached.

        Raises:
            UnknownNameError: the exchange does not know it, or does not tell.
        """
        if again or (kind, handle) not in self._details:
            self._take(kind, await self._channel.lookup(kind, handles=(handle,)))
        found = self._details.get((kind, handle))
        if found is None:
            raise UnknownNameError(kind, handle)
        return found

    async def everything(self, kind: str) -> dict[str, AnyCommand | None]:
        """Return all that the exchange knows of a kind: name → the command that made it."""
        entries = await self._channel.lookup(kind)
        self._take(kind, entries)
        return {entry.name: self._details.get((kind, entry.handle)) for entry in entries}

    def _take(self, kind: str, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.remember(kind, entry.name, entry.handle)
            detail = bytes(entry.detail)
            if detail and detail != b"\xc0":
                self._details[kind, entry.handle] = _decoder.decode(detail)
