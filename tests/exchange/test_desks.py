"""Promises about desks: whoever is due is looked at, however many are not."""

import random

from exchange.gateway.desks import NEVER_NS, Desks
from exchange.registry import Agent, Registry


class Timed:
    """A session as the desks' clock sees it."""

    def __init__(self):
        self.due_ns = None


def agent(index):
    return Agent(index, f"m{index}", "buyer", 0, str(index), sites=(), units_per_second=0)


def clock(desk):
    return desk.session


def test_exactly_those_are_given_who_are_due():
    """As a walk over all of them at each look finds; times move as sessions' do, or end, or begin."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    desks = Desks(Registry(), 1)
    made = []
    for index in range(1, 60):
        desk = desks.of_agent(agent(index))
        setattr(desk, "session", Timed())  # noqa: B010 -- stands for one
        made.append(desk)
    now = 0
    for _ in range(2_000):
        now += rng.randrange(20)
        for desk in rng.sample(made, 5):
            match rng.randrange(4):
                case 0:  # something was heard or sent: later
                    if clock(desk).due_ns is not None:
                        clock(desk).due_ns += rng.randrange(200)
                case 1:
                    clock(desk).due_ns = None
                case _:  # established, perhaps with less patience than before
                    clock(desk).due_ns = now + rng.randrange(1, 300)
                    desks.watch(desk)
        there = [desk for desk in made if (clock(desk).due_ns or NEVER_NS) <= now]
        given = []
        stays = rng.random() < 0.3
        for desk in desks.due(now, now + 1):
            given.append(desk)
            if not stays:
                clock(desk).due_ns = rng.choice([None, now + rng.randrange(1, 300)])
        assert len(given) == len(there)
        assert set(map(id, given)) == set(map(id, there))
        now += 1
    assert len(desks._looks) < 60 * 20
