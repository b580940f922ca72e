"""An exchange of one agent that applies messages by writing their numbers down: no market in it."""

import numpy as np

from schemas import frames, records
from schemas.frames import ProtocolError, decode_client
from schemas.session.messages import Found, Lookup, OrderAnswer
from schemas.session.server import Act, ServerSession
from schemas.session.window import AnswerWindow


class FakeExchange:
    """Holds what a journal would: (epoch, content) of every record applied, in order."""

    def __init__(self, answers_kept=256):
        self.answers_kept = answers_kept
        self.applied: list[tuple[int, int]] = []
        self.last = {}  # epoch -> last message number: what the journal rebuilds
        self.ended: list[int] = []
        self.opened: dict[int, tuple[tuple[str, ...], int]] = {}
        self.session = ServerSession(("acme/one",), window=AnswerWindow(answers_kept))

    def restart(self, now_ns):
        """Lose everything but the journal."""
        old = self.session
        self.session = ServerSession(("acme/one",), window=AnswerWindow(self.answers_kept))
        if not self.opened:
            return
        epoch = max(self.opened)
        streams, cancel_after_us = self.opened[epoch]
        self.session.restore(
            epoch=epoch,
            last_message=self.last.get(epoch, 0),
            streams=streams,
            cancel_after_us=cancel_after_us,
            stands=epoch not in self.ended,
            now_ns=now_ns,
        )
        assert old.epoch == epoch

    def receive(self, peer, buffer, now_ns):
        """Return [(peer, bytes)] to be sent."""
        try:
            frame = decode_client(buffer)
        except ProtocolError as error:
            return self.act(peer, None, self.session.malformed(peer, error, now_ns), now_ns)
        return self.act(peer, frame, self.session.receive(peer, frame, now_ns), now_ns)

    def poll(self, now_ns):
        verdict = self.session.poll(now_ns)
        return self.act(self.session.peer, None, verdict, now_ns)

    def act(self, peer, frame, verdict, now_ns):
        out = []
        if verdict.ended:
            self.ended.append(verdict.ended.epoch)
            if verdict.ended.peer:
                out.append((verdict.ended.peer, verdict.ended.notice))
        if verdict.act is Act.REPLY:
            out.append((peer, verdict.reply))
        elif verdict.act in {Act.OPENED, Act.RESUMED}:
            session = self.session
            if verdict.act is Act.OPENED:
                self.opened[session.epoch] = (session.streams, session.cancel_after_us)
            out.append((peer, self.established(now_ns)))
        elif verdict.act is Act.APPLY:
            assert frame is not None
            answer = self.apply(frame, verdict.epoch)
            self.session.answered(verdict.epoch, frame.first, frame.numbers, answer, now_ns)
            out.append((peer, answer))
        return out

    def established(self, now_ns):
        return self.session.established(
            market=1, member="acme", member_handle=1, role="buyer", agent=0, last_bid=0, sites=(),
            units_per_second=0, events_address="", tape_address="", now_ns=now_ns,
        )  # fmt: skip

    def apply(self, frame, epoch):
        if isinstance(frame.message, Lookup):
            return frames.encode_message(Found(request=frame.message.request, entries=()))
        self.last[epoch] = frame.first + frame.numbers - 1
        if frame.message is not None:
            self.applied.append((epoch, -frame.first))
            return frames.encode_message(OrderAnswer(code=0, seq=len(self.applied)), frame.first)
        statuses = np.zeros(frame.numbers, records.STATUS_RECORD)
        for status, content in zip(statuses, frame.records["fill"].tolist(), strict=True):
            self.applied.append((epoch, content))
            status["number"] = content
        return frames.encode_answer(frame.first, statuses)
