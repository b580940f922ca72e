"""The door for members' private events: who asks, from which number on, and how fast it reads.

Who asks is known by the key of its connection. A subscriber reads its member's file; what it does
not take stays there, so a slow reader costs this process a place in a file and nobody else anything.
A buyer's agent may also ask, subscribed or not, how a bid of its own that it flagged is explained.
"""

from typing import Final

from exchange.explaining import Explanations
from exchange.follower.member_files import FIRST_NUMBER, MemberFiles, Owner
from exchange.follower.redaction import BUYER, ROLES
from exchange.registry import Agent, Registry
from matching_core.market import Market
from schemas import frames, records
from schemas.frames import ProtocolError
from schemas.link import ServerLink
from schemas.reasons import REFUSED
from schemas.session.feed import FeedServerSession
from schemas.session.messages import Explain, Explained, Refused

FRAMES_PER_TURN: Final = 8  # of one subscriber, before the next has its turn
# Everybody is looked at this often: to ask each of hundreds in every turn of the loop would take more
# time than the events do. A revoked key is cut within it, and a beat is late by no more.
LOOK_NS: Final = 50_000_000
_NOBODY: Final[dict[str, None]] = {}


class EventDoor:
    """Serves the subscriptions of one market's members over one link."""

    def __init__(
        self,
        link: ServerLink,
        market: Market,
        registry: Registry,
        members: MemberFiles,
        market_number: int,
        explanations: Explanations,
    ) -> None:
        self._link = link
        self._market = market
        self._registry = registry
        self._members = members
        self._number = market_number
        self._explanations = explanations
        self._sessions: dict[str, FeedServerSession] = {}  # by the agent's public key
        self._agents_of: dict[Owner, dict[str, None]] = {}  # as of the last look: keys of sessions
        self._awake: dict[str, None] = {}  # keys of sessions that have a turn
        self._look_ns = 0

    @property
    def subscribers(self) -> int:
        """How many agents are subscribed."""
        return sum(session.next > 0 for session in self._sessions.values())

    def receive(self, now_ns: int) -> None:
        """Take what subscribers sent."""
        for peer, frame in self._link.drain():
            answer = self._take(peer, self._link.key_of(frame), frame.buffer, now_ns)
            if answer is not None:
                # An answer that is lost is asked for again.
                self._link.send(peer, answer)

    def push(self, now_ns: int) -> bool:
        """Send what there is, subscribers in turn; True when more could go at once.

        Between two looks at everybody only those have a turn who have news, spoke, or were not done.
        """
        if now_ns >= self._look_ns:
            self._look_ns = now_ns + LOOK_NS
            self._look(now_ns)
        elif self._members.news:
            for owner in self._members.news:
                self._awake.update(self._agents_of.get(owner, _NOBODY))
        self._members.news.clear()
        awake, self._awake = self._awake, {}
        for key in awake:
            session, agent = self._sessions.get(key), self._registry.by_key.get(key)
            if session is not None and agent is not None and self._push(agent, session, now_ns):
                self._awake[key] = None
        return bool(self._awake)

    def _look(self, now_ns: int) -> None:
        """Let time pass for everybody, and wake them: who was passed over for whatever reason."""
        self._agents_of.clear()
        for key in list(self._sessions):
            session = self._sessions[key]
            agent = self._registry.by_key.get(key)
            if agent is None:
                self._cut(key, session)
                continue
            if (beat := session.poll(now_ns)) is not None:
                self._link.send(session.peer, beat)
            if session.next == 0:
                del self._sessions[key]
                continue
            self._agents_of.setdefault(self._owner(agent), {})[key] = None
            self._awake[key] = None

    def _take(self, peer: bytes, key: str, buffer: memoryview, now_ns: int) -> bytes | None:
        agent = self._registry.by_key.get(key)
        if agent is None or agent.role not in ROLES:
            code = REFUSED["session" if agent is None else "role"]
            why = "the key was revoked" if agent is None else f"a {agent.role} has no events"
            return frames.encode_message(Refused(code=code, why=why, fatal=True))
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = FeedServerSession(self._number)
        self._awake[key] = None
        try:
            frame = frames.decode_client(buffer)
        except ProtocolError as error:
            return session.malformed(peer, error)
        if isinstance(frame.message, Explain):
            return self._explain(agent, frame.message)
        last = self._members.counts.get(self._owner(agent), 0)
        return session.receive(peer, frame, last=last, kept_from=FIRST_NUMBER, now_ns=now_ns)

    def _explain(self, agent: Agent, asked: Explain) -> bytes:
        """Answer for the agent's own bids alone: whose they are is known from its key."""
        role, member = self._owner(agent)
        code, found = REFUSED["role"], None
        if role == BUYER:
            code, found = self._explanations.answer(member, agent.number, asked.bid)
        answer = Explained(request=asked.request, code=code, explanation=found)
        return frames.encode_message(answer)

    def _push(self, agent: Agent, session: FeedServerSession, now_ns: int) -> bool:
        owner = self._owner(agent)
        last = self._members.counts.get(owner, 0)
        for _ in range(FRAMES_PER_TURN):
            first, count = session.wanted(last)
            if count == 0:
                return False
            events = self._members.read(owner, first - 1, count)
            if not self._link.send(
                session.peer, frames.encode_records(records.EVENT, events, first)
            ):
                return False  # gone, or its queue is full: silence or credit will tell which
            session.sent(count, now_ns)
        return session.wanted(last)[1] > 0

    def _cut(self, key: str, session: FeedServerSession) -> None:
        refused = Refused(code=REFUSED["session"], why="the key was revoked", fatal=True)
        self._link.send(session.peer, frames.encode_message(refused))
        del self._sessions[key]

    def _owner(self, agent: Agent) -> tuple[str, int]:
        """Return whose events an agent reads; handle 0, with no events, before it is registered."""
        return agent.role, self._market.names.handle(agent.role, agent.member)
