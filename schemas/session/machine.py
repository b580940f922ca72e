"""What each end of a session does at each input, as two tables; a test proves them complete.

exchange            CLOSED ──establish──▶ OPEN ◀──establish, same epoch── WAITING
                      ▲                    │                                │
                      └── terminate · silence · malformed · revoked ────────┘
WAITING: the session stands but no connection speaks for it (after a restart of the exchange).

client   OFFLINE ──connected──▶ ESTABLISHING ──established──▶ OPEN ──terminate──▶ ENDING
                                   ▲     not established · silence │                 │
                                   └────────────────────────────────┘     ENDED ◀─────┘
"""

from enum import Enum, auto
from typing import Final


class ServerState(Enum):
    """Where the exchange stands with one agent."""

    CLOSED = auto()
    WAITING = auto()
    OPEN = auto()


class ServerInput(Enum):
    """What can happen. HERE: on the connection that the session is bound to; ELSEWHERE: another."""

    ESTABLISH_NEW = auto()  # epoch 0
    ESTABLISH_SAME = auto()  # the epoch of the session that stands, or stood last
    ESTABLISH_AGAIN = auto()  # the epoch in whose place the one that stands was given: answer lost
    ESTABLISH_OTHER = auto()  # an older epoch, or one that was never given
    ESTABLISH_IMPOSSIBLE = auto()  # no common version, or a site that is not the agent's
    MESSAGE_HERE = auto()
    MESSAGE_ELSEWHERE = auto()
    TERMINATE_HERE = auto()
    TERMINATE_ELSEWHERE = auto()
    MALFORMED_HERE = auto()
    MALFORMED_ELSEWHERE = auto()
    SILENCE = auto()
    REVOKED = auto()


class ServerAct(Enum):
    """What the exchange does about it."""

    GRANT = auto()  # give a new epoch
    END_AND_GRANT = auto()  # end the session that stands, with its cancels; then give a new epoch
    RESUME = auto()  # the same session on this connection, nothing is cancelled
    REFUSE_TAKEN = auto()  # a newer session of this agent stands: the older process must not fight
    REFUSE_IMPOSSIBLE = auto()
    REFUSE_NOT_ESTABLISHED = auto()
    REFUSE_MALFORMED = auto()
    TAKE = auto()  # judge its number
    END = auto()  # the session's cancels follow
    PASS = auto()


_S, _I, _A = ServerState, ServerInput, ServerAct
SERVER_TABLE: Final[dict[tuple[ServerState, ServerInput], tuple[ServerState, ServerAct]]] = {
    (_S.CLOSED, _I.ESTABLISH_NEW): (_S.OPEN, _A.GRANT),
    (_S.CLOSED, _I.ESTABLISH_SAME): (_S.OPEN, _A.GRANT),
    (_S.CLOSED, _I.ESTABLISH_AGAIN): (_S.OPEN, _A.GRANT),
    (_S.CLOSED, _I.ESTABLISH_OTHER): (_S.OPEN, _A.GRANT),
    (_S.CLOSED, _I.ESTABLISH_IMPOSSIBLE): (_S.CLOSED, _A.REFUSE_IMPOSSIBLE),
    (_S.CLOSED, _I.MESSAGE_HERE): (_S.CLOSED, _A.REFUSE_NOT_ESTABLISHED),
    (_S.CLOSED, _I.MESSAGE_ELSEWHERE): (_S.CLOSED, _A.REFUSE_NOT_ESTABLISHED),
    (_S.CLOSED, _I.TERMINATE_HERE): (_S.CLOSED, _A.REFUSE_NOT_ESTABLISHED),
    (_S.CLOSED, _I.TERMINATE_ELSEWHERE): (_S.CLOSED, _A.REFUSE_NOT_ESTABLISHED),
    (_S.CLOSED, _I.MALFORMED_HERE): (_S.CLOSED, _A.REFUSE_MALFORMED),
    (_S.CLOSED, _I.MALFORMED_ELSEWHERE): (_S.CLOSED, _A.REFUSE_MALFORMED),
    (_S.CLOSED, _I.SILENCE): (_S.CLOSED, _A.PASS),
    (_S.CLOSED, _I.REVOKED): (_S.CLOSED, _A.PASS),
    # ------------------------------------------------------------------------- after a restart
    (_S.WAITING, _I.ESTABLISH_NEW): (_S.OPEN, _A.END_AND_GRANT),
    (_S.WAITING, _I.ESTABLISH_SAME): (_S.OPEN, _A.RESUME),
    (_S.WAITING, _I.ESTABLISH_AGAIN): (_S.OPEN, _A.END_AND_GRANT),
    (_S.WAITING, _I.ESTABLISH_OTHER): (_S.WAITING, _A.REFUSE_TAKEN),
    (_S.WAITING, _I.ESTABLISH_IMPOSSIBLE): (_S.WAITING, _A.REFUSE_IMPOSSIBLE),
    (_S.WAITING, _I.MESSAGE_HERE): (_S.WAITING, _A.REFUSE_NOT_ESTABLISHED),
    (_S.WAITING, _I.MESSAGE_ELSEWHERE): (_S.WAITING, _A.REFUSE_NOT_ESTABLISHED),
    (_S.WAITING, _I.TERMINATE_HERE): (_S.WAITING, _A.REFUSE_NOT_ESTABLISHED),
    (_S.WAITING, _I.TERMINATE_ELSEWHERE): (_S.WAITING, _A.REFUSE_NOT_ESTABLISHED),
    (_S.WAITING, _I.MALFORMED_HERE): (_S.WAITING, _A.REFUSE_MALFORMED),
    (_S.WAITING, _I.MALFORMED_ELSEWHERE): (_S.WAITING, _A.REFUSE_MALFORMED),
    (_S.WAITING, _I.SILENCE): (_S.CLOSED, _A.END),
    (_S.WAITING, _I.REVOKED): (_S.CLOSED, _A.END),
    # ------------------------------------------------------------------------- while it runs
    (_S.OPEN, _I.ESTABLISH_NEW): (_S.OPEN, _A.END_AND_GRANT),
    (_S.OPEN, _I.ESTABLISH_SAME): (_S.OPEN, _A.RESUME),
    (_S.OPEN, _I.ESTABLISH_AGAIN): (_S.OPEN, _A.END_AND_GRANT),
    (_S.OPEN, _I.ESTABLISH_OTHER): (_S.OPEN, _A.REFUSE_TAKEN),
    (_S.OPEN, _I.ESTABLISH_IMPOSSIBLE): (_S.OPEN, _A.REFUSE_IMPOSSIBLE),
    (_S.OPEN, _I.MESSAGE_HERE): (_S.OPEN, _A.TAKE),
    (_S.OPEN, _I.MESSAGE_ELSEWHERE): (_S.OPEN, _A.REFUSE_NOT_ESTABLISHED),
    (_S.OPEN, _I.TERMINATE_HERE): (_S.CLOSED, _A.END),
    (_S.OPEN, _I.TERMINATE_ELSEWHERE): (_S.OPEN, _A.REFUSE_NOT_ESTABLISHED),
    (_S.OPEN, _I.MALFORMED_HERE): (_S.CLOSED, _A.END),
    # Another connection under the agent's key that talks nonsense costs itself, not the session.
    (_S.OPEN, _I.MALFORMED_ELSEWHERE): (_S.OPEN, _A.REFUSE_MALFORMED),
    (_S.OPEN, _I.SILENCE): (_S.CLOSED, _A.END),
    (_S.OPEN, _I.REVOKED): (_S.CLOSED, _A.END),
}


class ClientState(Enum):
    """Where a client stands with the exchange."""

    OFFLINE = auto()
    ESTABLISHING = auto()
    OPEN = auto()
    ENDING = auto()
    ENDED = auto()


class ClientInput(Enum):
    """What can happen at a client."""

    CONNECTED = auto()
    DISCONNECTED = auto()
    ESTABLISHED = auto()  # the answer to the newest Establish
    ESTABLISHED_LATE = auto()  # the answer to an earlier one
    ANSWER = auto()  # whatever answers a message
    OUT_OF_STEP = auto()  # refused: not established, or a gap in the numbers
    OVER = auto()  # terminated, or refused for good
    SILENCE = auto()  # nothing heard for three heartbeats, or no answer to an Establish
    TERMINATE = auto()  # its user wants to end


class ClientAct(Enum):
    """What the client does about it."""

    ASK = auto()  # send Establish; what is unanswered waits
    OPEN = auto()  # send again what is unanswered, or tell that its outcome is unknown
    MATCH = auto()  # find what it answers
    CLOSE = auto()  # tell the user, with everything whose outcome stays unknown
    SAY_TERMINATE = auto()
    PASS = auto()


_C, _J, _B = ClientState, ClientInput, ClientAct
CLIENT_TABLE: Final[dict[tuple[ClientState, ClientInput], tuple[ClientState, ClientAct]]] = {
    (_C.OFFLINE, _J.CONNECTED): (_C.ESTABLISHING, _B.ASK),
    (_C.OFFLINE, _J.DISCONNECTED): (_C.OFFLINE, _B.PASS),
    (_C.OFFLINE, _J.ESTABLISHED): (_C.OFFLINE, _B.PASS),
    (_C.OFFLINE, _J.ESTABLISHED_LATE): (_C.OFFLINE, _B.PASS),
    (_C.OFFLINE, _J.ANSWER): (_C.OFFLINE, _B.MATCH),  # read before the news that the line is down
    (_C.OFFLINE, _J.OUT_OF_STEP): (_C.OFFLINE, _B.PASS),
    (_C.OFFLINE, _J.OVER): (_C.ENDED, _B.CLOSE),
    (_C.OFFLINE, _J.SILENCE): (_C.OFFLINE, _B.PASS),
    (_C.OFFLINE, _J.TERMINATE): (_C.ENDED, _B.CLOSE),
    (_C.ESTABLISHING, _J.CONNECTED): (_C.ESTABLISHING, _B.ASK),
    (_C.ESTABLISHING, _J.DISCONNECTED): (_C.OFFLINE, _B.PASS),
    (_C.ESTABLISHING, _J.ESTABLISHED): (_C.OPEN, _B.OPEN),
    (_C.ESTABLISHING, _J.ESTABLISHED_LATE): (_C.ESTABLISHING, _B.PASS),
    (_C.ESTABLISHING, _J.ANSWER): (_C.ESTABLISHING, _B.MATCH),
    (_C.ESTABLISHING, _J.OUT_OF_STEP): (_C.ESTABLISHING, _B.PASS),
    (_C.ESTABLISHING, _J.OVER): (_C.ENDED, _B.CLOSE),
    (_C.ESTABLISHING, _J.SILENCE): (_C.ESTABLISHING, _B.ASK),
    (_C.ESTABLISHING, _J.TERMINATE): (_C.ENDED, _B.CLOSE),
    (_C.OPEN, _J.CONNECTED): (_C.ESTABLISHING, _B.ASK),
    (_C.OPEN, _J.DISCONNECTED): (_C.OFFLINE, _B.PASS),
    (_C.OPEN, _J.ESTABLISHED): (_C.OPEN, _B.PASS),
    (_C.OPEN, _J.ESTABLISHED_LATE): (_C.OPEN, _B.PASS),
    (_C.OPEN, _J.ANSWER): (_C.OPEN, _B.MATCH),
    (_C.OPEN, _J.OUT_OF_STEP): (_C.ESTABLISHING, _B.ASK),
    (_C.OPEN, _J.OVER): (_C.ENDED, _B.CLOSE),
    (_C.OPEN, _J.SILENCE): (_C.ESTABLISHING, _B.ASK),
    (_C.OPEN, _J.TERMINATE): (_C.ENDING, _B.SAY_TERMINATE),
    (_C.ENDING, _J.CONNECTED): (_C.ENDED, _B.CLOSE),
    (_C.ENDING, _J.DISCONNECTED): (_C.ENDED, _B.CLOSE),
    (_C.ENDING, _J.ESTABLISHED): (_C.ENDING, _B.PASS),
    (_C.ENDING, _J.ESTABLISHED_LATE): (_C.ENDING, _B.PASS),
    (_C.ENDING, _J.ANSWER): (_C.ENDING, _B.MATCH),
    (_C.ENDING, _J.OUT_OF_STEP): (_C.ENDED, _B.CLOSE),
    (_C.ENDING, _J.OVER): (_C.ENDED, _B.CLOSE),
    (_C.ENDING, _J.SILENCE): (_C.ENDED, _B.CLOSE),
    (_C.ENDING, _J.TERMINATE): (_C.ENDING, _B.PASS),
    (_C.ENDED, _J.CONNECTED): (_C.ENDED, _B.PASS),
    (_C.ENDED, _J.DISCONNECTED): (_C.ENDED, _B.PASS),
    (_C.ENDED, _J.ESTABLISHED): (_C.ENDED, _B.PASS),
    (_C.ENDED, _J.ESTABLISHED_LATE): (_C.ENDED, _B.PASS),
    (_C.ENDED, _J.ANSWER): (_C.ENDED, _B.PASS),
    (_C.ENDED, _J.OUT_OF_STEP): (_C.ENDED, _B.PASS),
    (_C.ENDED, _J.OVER): (_C.ENDED, _B.PASS),
    (_C.ENDED, _J.SILENCE): (_C.ENDED, _B.PASS),
    (_C.ENDED, _J.TERMINATE): (_C.ENDED, _B.PASS),
}


def versions_agreed(ours: tuple[int, int], theirs: tuple[int, int]) -> int:
    """Return the highest version in both [min, max], or 0 when there is none (WIRE.md, Versions)."""
    highest = min(ours[1], theirs[1])
    return highest if highest >= max(ours[0], theirs[0], 1) else 0
