"""The exchange process: load kernels, recover, bind, serve. The edge around `exchange.round`."""

import gc
import threading
import time
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import zmq

from exchange import counters, identity, logs, notes, ports, recovery
from exchange.apply import JournalApplier
from exchange.config import Config
from exchange.doors import Reads
from exchange.gateway.desks import Desks
from exchange.identity import HOST_AGENTS, Identity
from exchange.memory import MORE, make_ready
from exchange.report import Report
from exchange.round import Clocks, Exchange, serve
from exchange.sequencer import EXCHANGE_AGENT, Sequencer
from exchange.warm import warm_up
from schemas.link import Doorkeeper, ServerLink
from schemas.token import TokenMaker

STATUS_NAME: Final = "exchange.json"  # in DATA/run, after an orderly stop


def run(config: Config, stop: threading.Event, report: Report) -> None:
    """Run the exchange of a data folder until `stop`; raises what ended it."""
    logger = logs.logger("exchange")
    keys = identity.load(config)
    addresses = ports.load(config)
    warm_up(report.progress)
    started = recovery.start(config, keys, report.progress)
    market, registry = started.applier.market, started.applier.registry
    logger.info(
        "recovered",
        row=started.recovered.row,
        end=started.recovered.end_position,
        trimmed_bytes=started.recovered.trimmed_bytes,
        seq=market.seq,
    )
    sequencer = Sequencer(
        started.writer, next_seq=started.recovered.next_seq, last_at_ns=started.at_ns
    )
    sequencer.begin(time.time_ns())
    _enrol_host(keys, started.applier, sequencer)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    door = Doorkeeper(context, lambda key: key in registry.by_key)
    link = ServerLink(context, addresses.commands, keys.server.secret, door)
    make_ready(market, MORE)
    desks = Desks(registry, config.exchange.units_per_second)
    desks.restore(time.monotonic_ns())
    exchange = Exchange(
        applier=started.applier,
        sequencer=sequencer,
        link=link,
        desks=desks,
        tokens=TokenMaker(keys.token_secret_bytes, keys.market),
        reads=Reads(market, keys, addresses),
        counts=started.page.counters,
        clocks=Clocks(time.time_ns, time.monotonic_ns),
        drain_messages=config.exchange.drain_messages,
    )
    started.page.counters[counters.START_NS] = np.uint64(time.time_ns())
    started.page.counters[counters.READY] = np.uint64(1)
    # What was made until here lives as long as the process: the collector need not walk it again.
    gc.collect()
    gc.freeze()
    last_word = config.run_folder / STATUS_NAME
    last_word.unlink(missing_ok=True)
    report.ready()
    logger.info("ready", address=link.address, market=keys.market)
    try:
        serve(exchange, link, door, stop)
        _leave_last_word(last_word, started)
    finally:
        started.page.counters[counters.READY] = np.uint64(0)
        link.close()
        door.close()
        context.term()
        started.writer.close()


def _leave_last_word(path: Path, started: recovery.Started) -> None:
    """Write the digest that the live state ended with, for `curb verify` to hold a replay against."""
    market = started.applier.market
    state = {
        "state": "stopped",
        "position": started.writer.durable,
        "seq": market.seq,
        "digest": market.digest(),
    }
    identity.write_private(path, msgspec.json.encode(state))


def _enrol_host(keys: Identity, applier: JournalApplier, sequencer: Sequencer) -> None:
    """Enrol the folder's admin and verifier where the journal does not know their keys yet."""
    registry = applier.registry
    for role, number in HOST_AGENTS:
        key = (keys.admin if role == "admin" else keys.verifier).public
        if key in registry.by_key:
            continue
        agent = registry.by_name.get((role, number))
        index = len(registry.agents) if agent is None else agent.index
        note = notes.AgentNote(
            agent_index=index, member=role, role=role, number=number, public_key=key
        )
        sequencer.note(note, EXCHANGE_AGENT, 0, 0)
        applier.note(note)
    if sequencer.pending:
        sequencer.commit()
