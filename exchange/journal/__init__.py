"""The journal: what was decided, on disk before anyone is told.

record    the record's layout            storage   the disk, a port
writer    append and group commit        reader    follow it up to the durable end
recovery  find the end after any stop    page      the durable end, mapped
log       the port of the sequencer      inspect   look at a folder; the manual path
"""

from exchange.journal.errors import JournalBusy, JournalDamaged, JournalError, JournalFailed
from exchange.journal.log import LocalLog, Log
from exchange.journal.page import PAGE_NAME, DurablePage
from exchange.journal.reader import JournalReader
from exchange.journal.record import Kind, Record
from exchange.journal.recovery import Recovered, Survey, recover, survey
from exchange.journal.storage import FileStorage, Storage
from exchange.journal.writer import JournalWriter

__all__ = [
    "PAGE_NAME",
    "DurablePage",
    "FileStorage",
    "JournalBusy",
    "JournalDamaged",
    "JournalError",
    "JournalFailed",
    "JournalReader",
    "JournalWriter",
    "Kind",
    "LocalLog",
    "Log",
    "Record",
    "Recovered",
    "Storage",
    "Survey",
    "recover",
    "survey",
]
