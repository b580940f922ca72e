"""What can go wrong with the journal, in the three ways a caller must tell apart."""

from typing import Final

MANUAL: Final = (
    "Nothing was changed. Stop the exchange and copy the folder; then look with "
    "`python -m exchange.journal.inspect {folder}`. Best: put the damaged or missing file back from "
    "a copy and start again. Else, giving up every record from position {position} on, although "
    "members may have been told of them: `python -m exchange.journal.inspect {folder} --truncate "
    "{position}` (it keeps what it takes away beside the journal, in files named aside-*); then "
    "rebuild ledger and follower from the journal."
)


class JournalError(Exception):
    """Anything the journal refuses."""


class JournalFailed(JournalError):
    """A call to the disk failed: the writer has stopped for good and the process should end.

    What was acknowledged before is on disk; nothing is acknowledged after. A restart recovers.
    """


class JournalBusy(JournalError):
    """Another process holds the folder's lock: two writers would destroy each other's records."""


class JournalDamaged(JournalError):
    """Bytes before the acknowledged end are missing or wrong; no crash can explain it.

    Attributes: `path` of the file, `position` in the journal up to which all is well, `why` in one
    sentence, and `manual`: what an operator can do.
    """

    def __init__(self, path: str, position: int, why: str, manual: str = "") -> None:
        super().__init__(
            f"{path}: journal damaged at position {position}: {why}. {manual}".rstrip()
        )
        self.path = path
        self.position = position
        self.why = why
        self.manual = manual
