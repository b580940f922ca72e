"""The tables of both ends: complete, and every state reached and left as RELIABILITY.md asks."""

import itertools

import pytest

from schemas.session.machine import (
    CLIENT_TABLE,
    SERVER_TABLE,
    ClientAct,
    ClientInput,
    ClientState,
    ServerAct,
    ServerInput,
    ServerState,
    versions_agreed,
)


def test_every_state_has_one_row_for_every_input():
    assert set(SERVER_TABLE) == set(itertools.product(ServerState, ServerInput))
    assert set(CLIENT_TABLE) == set(itertools.product(ClientState, ClientInput))


def test_every_act_is_somewhere():
    assert {act for _, act in SERVER_TABLE.values()} == set(ServerAct)
    assert {act for _, act in CLIENT_TABLE.values()} == set(ClientAct)


def test_a_session_ends_with_its_cancels_and_never_without():
    """Leaving a session that stands, by whatever input, is END or END_AND_GRANT and nothing else."""
    standing = {ServerState.WAITING, ServerState.OPEN}
    for (state, what), (after, act) in SERVER_TABLE.items():
        ends = act in {ServerAct.END, ServerAct.END_AND_GRANT}
        if state in standing and after is ServerState.CLOSED:
            assert ends, (state, what)
        if ends:
            assert state in standing, (state, what)
        if act in {ServerAct.GRANT, ServerAct.END_AND_GRANT, ServerAct.RESUME}:
            assert after is ServerState.OPEN
        elif act is not ServerAct.END:
            assert after is state, (state, what)


def test_commands_are_taken_from_the_bound_connection_of_an_open_session_alone():
    taken = {key for key, (_, act) in SERVER_TABLE.items() if act is ServerAct.TAKE}
    assert taken == {(ServerState.OPEN, ServerInput.MESSAGE_HERE)}


def test_another_connection_never_changes_the_session_but_by_establishing():
    elsewhere = [what for what in ServerInput if what.name.endswith("ELSEWHERE")]
    assert len(elsewhere) == 3
    for state, what in itertools.product(ServerState, elsewhere):
        after, act = SERVER_TABLE[state, what]
        assert after is state
        assert act.name.startswith("REFUSE")


def test_an_ended_client_stays_so_and_every_other_state_can_end():
    for what in ClientInput:
        assert CLIENT_TABLE[ClientState.ENDED, what] == (ClientState.ENDED, ClientAct.PASS)
    for state in set(ClientState) - {ClientState.ENDED}:
        assert CLIENT_TABLE[state, ClientInput.OVER] == (ClientState.ENDED, ClientAct.CLOSE)
    for (state, what), (after, act) in CLIENT_TABLE.items():
        closes = after is ClientState.ENDED and state is not ClientState.ENDED
        assert (act is ClientAct.CLOSE) == closes, (state, what)
        assert (act is ClientAct.ASK) == (
            after is ClientState.ESTABLISHING
            and what in {ClientInput.CONNECTED, ClientInput.SILENCE, ClientInput.OUT_OF_STEP}
            and not (state is ClientState.ESTABLISHING and what is ClientInput.OUT_OF_STEP)
        ), (state, what)


@pytest.mark.parametrize(
    "ours,theirs,agreed",
    [
        ((1, 1), (1, 1), 1),
        ((1, 2), (1, 1), 1),
        ((1, 2), (2, 5), 2),
        ((3, 4), (1, 3), 3),
        ((3, 4), (1, 2), 0),
        ((1, 2), (3, 4), 0),
        ((1, 1), (-5, 0), 0),
        ((1, 3), (2, 1), 0),
    ],
)
def test_the_highest_common_version_is_agreed(ours, theirs, agreed):
    assert versions_agreed(ours, theirs) == agreed
