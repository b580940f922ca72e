"""The exchange's end of one agent's session: epochs, message numbers, first answers, silence.

Fed frames and the time; it sends nothing and knows no command. Its user does what the verdict says:
applies the frame, sends the reply, makes the cancels of an ended session, journals what was granted.
"""

from collections.abc import Collection
from enum import Enum, auto
from typing import Final, NamedTuple

from schemas import limits
from schemas.frames import Frame, ProtocolError, encode_message
from schemas.reasons import ACCEPTED, NAME_OF_REFUSED, REFUSED
from schemas.session.machine import (
    SERVER_TABLE,
    ServerAct,
    ServerInput,
    ServerState,
    versions_agreed,
)
from schemas.session.messages import (
    VERSION_MAX,
    VERSION_MIN,
    Establish,
    Established,
    Heartbeat,
    Refused,
    SiteState,
    Terminate,
    Terminated,
)
from schemas.session.window import AnswerWindow

NO_PEER: Final = b""
_HEARTBEAT_NS: Final = limits.HEARTBEAT_US * limits.NS_PER_US
_HEARTBEAT_BYTES: Final = encode_message(Heartbeat())


class Act(Enum):
    """What the user of a ServerSession must do."""

    NOTHING = auto()
    APPLY = auto()  # the frame is new: admit it, then call `answered`
    REPLY = auto()  # send `reply` to the peer that the frame came from (heartbeat: to `peer`)
    OPENED = auto()  # journal the epoch, then answer with `established(…)`
    RESUMED = auto()  # nothing to journal; answer with `established(…)`
    ENDED = auto()  # journal the end and make the cancels of `ended`; send its notice


class Ended(NamedTuple):
    """A session that is over: its agent's bids at rest and the offers of `streams` are cancelled."""

    epoch: int
    peer: bytes  # where the notice goes; NO_PEER: nobody is there to be told
    streams: tuple[str, ...]
    code: int  # 0: the client asked for it; else of reasons.REFUSED
    notice: bytes


class Verdict(NamedTuple):
    """What to do about one frame. `ended` may stand beside OPENED: it comes first."""

    act: Act
    epoch: int = 0  # to be given back to `answered`
    reply: bytes = b""
    ended: Ended | None = None


_NOTHING: Final = Verdict(Act.NOTHING)


class ServerSession:
    """One agent's session at the exchange, over all its connections and epochs.

    `sites` are the sites that the agent is enrolled for; a session may stream no others.
    """

    def __init__(
        self,
        sites: Collection[str] = (),
        versions: tuple[int, int] = (VERSION_MIN, VERSION_MAX),
        window: AnswerWindow | None = None,
    ) -> None:
        self.sites = sites
        self.state = ServerState.CLOSED
        self.epoch = 0  # of the session that stands, or stood last
        self.version = versions[1]
        self.peer = NO_PEER
        self.last_message = 0
        self.streams: tuple[str, ...] = ()
        self.cancel_after_us = limits.CANCEL_AFTER_US_DEFAULT
        self._versions = versions
        self._window = AnswerWindow() if window is None else window
        self._answered = 0  # the number up to which answers were made
        self._heard_ns = 0
        self._sent_ns = 0
        self._request = 0
        self._resumed = False
        self._in_place_of: int | None = 0  # the epoch that was asked for when this one was given

    # ------------------------------------------------------------------------- start
    def restore(
        self,
        *,
        epoch: int,
        last_message: int,
        streams: tuple[str, ...],
        cancel_after_us: int,
        stands: bool,
        now_ns: int,
    ) -> None:
        """Take over what the journal says, at readiness: the silence counts from `now_ns`.

        `stands`: the session had not ended. Answers are gone: repeats are `duplicate` from here.
        """
        self.epoch = epoch
        self.last_message = self._answered = last_message
        self.streams = streams
        self.cancel_after_us = cancel_after_us
        self.state = ServerState.WAITING if stands else ServerState.CLOSED
        self.peer = NO_PEER
        self._window.clear()
        self._heard_ns = now_ns
        self._in_place_of = None  # the journal does not say

    # ------------------------------------------------------------------------- frames
    def receive(self, peer: bytes, frame: Frame, now_ns: int) -> Verdict:
        """Judge one decoded frame that came from the connection `peer` (its routing id)."""
        message = frame.message
        if isinstance(message, Establish):
            return self._establish(peer, message, now_ns)
        here = peer == self.peer and self.state is ServerState.OPEN
        if here:
            self._heard_ns = now_ns
            if frame.version != self.version:
                why = f"records of version {frame.version}, agreed was {self.version}"
                return self.malformed(peer, ProtocolError("version", why), now_ns)
        if isinstance(message, Terminate):
            what = ServerInput.TERMINATE_HERE if here else ServerInput.TERMINATE_ELSEWHERE
        else:
            what = ServerInput.MESSAGE_HERE if here else ServerInput.MESSAGE_ELSEWHERE
        act = self._step(what)
        if act is ServerAct.TAKE:
            return self._take(frame)
        if act is ServerAct.END:
            return Verdict(Act.ENDED, ended=self._end(ACCEPTED, ""))
        return self._refuse("not_established", "establish first", frame.first)

    def expects(self, peer: bytes, version: int, first: int) -> bool:
        """Tell whether `receive` would take a hot frame with this first number: APPLY, as new."""
        return (
            first == self.last_message + 1
            and self.state is ServerState.OPEN
            and peer == self.peer
            and version == self.version
        )

    def take_expected(self, end: int, now_ns: int) -> None:
        """Take the frame that `expects` spoke of, up to number `end`; `answered` follows."""
        self.last_message = end
        self._heard_ns = now_ns

    def malformed(self, peer: bytes, error: ProtocolError, now_ns: int) -> Verdict:
        """Judge bytes that were no frame: they end the session that this connection speaks for."""
        here = peer == self.peer and self.state is ServerState.OPEN
        act = self._step(ServerInput.MALFORMED_HERE if here else ServerInput.MALFORMED_ELSEWHERE)
        if act is ServerAct.END:
            return Verdict(Act.ENDED, ended=self._end(error.code, error.why))
        return self._refuse(NAME_OF_REFUSED[error.code], error.why, 0, fatal=True)

    def answered(self, epoch: int, first: int, numbers: int, answer: bytes, now_ns: int) -> None:
        """Keep the answer to an applied frame and note that it was sent.

        `epoch` is the verdict's: an answer of an epoch that ended meanwhile is not kept.
        """
        self._sent_ns = now_ns
        if epoch != self.epoch or first == 0:
            return
        self._answered = max(self._answered, first + numbers - 1)
        self._window.keep(first, numbers, answer)

    # ------------------------------------------------------------------------- time
    @property
    def due_ns(self) -> int | None:
        """When `poll` next has something to do, or None while no session stands."""
        if self.state is ServerState.CLOSED:
            return None
        silent = self._heard_ns + self.cancel_after_us * limits.NS_PER_US
        if self.state is ServerState.WAITING:
            return silent
        return min(silent, self._sent_ns + _HEARTBEAT_NS)

    def poll(self, now_ns: int, listened_ns: int | None = None) -> Verdict:
        """Let time pass: a heartbeat to be sent to `peer`, or the end after too long a silence.

        `listened_ns`: all that had arrived by then was given to `receive` (None: by now). Silence
        is judged up to there: what waits unread may be this agent's word.
        """
        if self.state is ServerState.CLOSED:
            return _NOTHING
        heard_all_ns = now_ns if listened_ns is None else listened_ns
        if heard_all_ns >= self._heard_ns + self.cancel_after_us * limits.NS_PER_US:
            self._step(ServerInput.SILENCE)
            # Not for good: an agent that comes back after this may open a new session at once.
            why = "the session ended: silent for too long"
            notice = encode_message(
                Refused(code=REFUSED["not_established"], why=why), version=self.version
            )
            ended = self._end(REFUSED["session"], why)
            return Verdict(Act.ENDED, ended=ended._replace(notice=notice))
        if self.state is ServerState.OPEN and now_ns >= self._sent_ns + _HEARTBEAT_NS:
            self._sent_ns = now_ns
            return Verdict(Act.REPLY, reply=_HEARTBEAT_BYTES)
        return _NOTHING

    def revoke(self) -> Verdict:
        """Cut the agent: its key was revoked."""
        if self._step(ServerInput.REVOKED) is ServerAct.END:
            return Verdict(Act.ENDED, ended=self._end(REFUSED["session"], "the key was revoked"))
        return _NOTHING

    # ------------------------------------------------------------------------- answers
    def established(
        self,
        *,
        market: int,
        member: str,
        member_handle: int,
        role: str,
        agent: int,
        last_bid: int,
        sites: tuple[SiteState, ...],
        units_per_second: int,
        events_address: str,
        tape_address: str,
        now_ns: int,
    ) -> bytes:
        """Return the answer to the Establish that opened or resumed this session.

        `now_ns` is what the client is told, the exchange's time; the session's own may be another
        clock.
        """
        answer = Established(
            request=self._request, version=self.version, epoch=self.epoch, resumed=self._resumed,
            market=market, member=member, member_handle=member_handle, role=role, agent=agent,
            last_message=self.last_message, last_bid=last_bid,
            cancel_after_us=self.cancel_after_us, sites=sites, units_per_second=units_per_second,
            events_address=events_address, tape_address=tape_address, now_ns=now_ns,
        )  # fmt: skip
        return encode_message(answer, version=self.version)

    # ------------------------------------------------------------------------- inside
    def _step(self, what: ServerInput) -> ServerAct:
        self.state, act = SERVER_TABLE[self.state, what]
        return act

    def _establish(self, peer: bytes, message: Establish, now_ns: int) -> Verdict:
        version = versions_agreed(self._versions, (message.version_min, message.version_max))
        foreign = [site for site in message.streams if site not in self.sites]
        if version == 0 or foreign:
            what = ServerInput.ESTABLISH_IMPOSSIBLE
        elif message.epoch == 0:
            what = ServerInput.ESTABLISH_NEW
        elif message.epoch == self.epoch:
            what = ServerInput.ESTABLISH_SAME
        elif self._answer_was_lost(message.epoch):
            what = ServerInput.ESTABLISH_AGAIN
        else:
            what = ServerInput.ESTABLISH_OTHER
        match self._step(what):
            case ServerAct.REFUSE_IMPOSSIBLE if foreign:
                return self._refuse("site", f"not this agent's: {foreign[0]}", 0, fatal=True)
            case ServerAct.REFUSE_IMPOSSIBLE:
                why = f"served are versions {self._versions[0]} to {self._versions[1]}"
                return self._refuse("version", why, 0, fatal=True)
            case ServerAct.REFUSE_TAKEN:
                why = "a newer session of this agent stands"
                return self._refuse("session", why, 0, fatal=True)
            case ServerAct.RESUME:
                self._bind(peer, message, version, now_ns, resumed=True)
                return Verdict(Act.RESUMED, self.epoch)
            case ServerAct.END_AND_GRANT:
                ended = self._end(REFUSED["session"], "taken over by a newer session")
                if ended.peer == peer:  # it knows: it asked for the new one itself
                    ended = ended._replace(peer=NO_PEER)
                return self._grant(peer, message, version, now_ns, ended)
            case _:
                return self._grant(peer, message, version, now_ns, None)

    def _answer_was_lost(self, epoch: int) -> bool:
        """Tell whether who asks for this epoch is who was given the present one and never knew.

        Only the process that held an epoch asks for it; had it heard of the new one it would ask
        for that. After a restart: a session in which nobody spoke is nobody's loss.
        """
        if self._in_place_of is None:
            return self.last_message == 0
        return epoch == self._in_place_of

    def _grant(
        self, peer: bytes, message: Establish, version: int, now_ns: int, ended: Ended | None
    ) -> Verdict:
        self._in_place_of = message.epoch
        self.epoch += 1
        self.last_message = self._answered = 0
        self.streams = message.streams
        self.cancel_after_us = message.cancel_after_us
        self._window.clear()
        self._bind(peer, message, version, now_ns, resumed=False)
        return Verdict(Act.OPENED, self.epoch, ended=ended)

    def _bind(
        self, peer: bytes, message: Establish, version: int, now_ns: int, *, resumed: bool
    ) -> None:
        self.peer = peer
        self.version = version
        self._request = message.request
        self._resumed = resumed
        self._heard_ns = self._sent_ns = now_ns

    def _end(self, code: int, why: str) -> Ended:
        notice = encode_message(Terminated(code=code, why=why), version=self.version)
        ended = Ended(self.epoch, self.peer, self.streams, code, notice)
        self.peer = NO_PEER
        self._window.clear()
        return ended

    def _take(self, frame: Frame) -> Verdict:
        if frame.numbers == 0:
            if isinstance(frame.message, Heartbeat):
                return _NOTHING
            return Verdict(Act.APPLY, self.epoch)
        first, end = frame.first, frame.first + frame.numbers - 1
        if first == self.last_message + 1:
            # At once, not when the answer is made: the next frame may come in the same round.
            self.last_message = end
            return Verdict(Act.APPLY, self.epoch)
        if first > self.last_message:
            expected = self.last_message + 1
            return self._refuse("gap", f"expected number {expected}", first, expected=expected)
        if end > self.last_message:
            # After a restart: of a frame whose last records were refused, the journal has the rest
            # alone. To apply a part of it might do twice what was done once.
            self.last_message = self._answered = end
        elif first > self._answered:
            return _NOTHING  # it is being applied; its answer goes to this connection
        answer = self._window.find(first, frame.numbers)
        if answer is not None:
            return Verdict(Act.REPLY, reply=answer)
        return self._refuse("duplicate", "applied before; query its outcome", first)

    def _refuse(
        self, reason: str, why: str, first: int, *, expected: int = 0, fatal: bool = False
    ) -> Verdict:
        refused = Refused(code=REFUSED[reason], why=why, expected=expected, fatal=fatal)
        return Verdict(Act.REPLY, reply=encode_message(refused, first, self.version))
