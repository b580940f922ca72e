"""The market file: lines to commands, events to lines (MARKET_FILE.md). Pure: bytes in, bytes out.

A line is one JSON object. What is wrong with one is told as `FILE:LINE: field: what is wrong`, with
the field's place written as in Python (`models[0].markdown`, `residency[1]`). Trouble that is no
field's has the word `line` there: bytes that are not UTF-8, no JSON, no object, an empty line.
A key that stands twice in an object is refused: readers would differ on which of them counts.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from schemas.commands import AnyCommand, FieldError
from schemas.events import AnyEvent

WHOLE_LINE: Final = "line"

_DECODER: Final = msgspec.json.Decoder(AnyCommand)
_ENCODER: Final = msgspec.json.Encoder()

# How msgspec words it: "Expected `int`, got `str` - at `$.models[0].markdown`"
_PLACE: Final = re.compile(r"\A(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?\Z", re.DOTALL)
_UNKNOWN: Final = re.compile(r"\AObject contains unknown field `(?P<name>.*)`\Z", re.DOTALL)
_MISSING: Final = re.compile(r"\AObject missing required field `(?P<name>.*)`\Z", re.DOTALL)
_REGEX: Final = re.compile(r"\AExpected `str` matching regex '(?P<regex>.*)'\Z", re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class MarketFileError(ValueError):
    """A line that is no valid command.

    Attributes: `file`, `line` (from 1), `field`, `why`; as text `FILE:LINE: field: what is wrong`.
    """

    def __init__(self, file: str, line: int, field: str, why: str) -> None:
        super().__init__(f"{file}:{line}: {field}: {why}")
        self.file = file
        self.line = line
        self.field = field
        self.why = why


def read_commands(lines: Iterable[bytes], file: str) -> Iterator[AnyCommand]:
    """Yield the command of every line; `file` is the name that errors give.

    Raises:
        MarketFileError: at the first line that is no valid command, or whose `at` is smaller than
            that of the line before.
    """
    at = 0
    for number, line in enumerate(lines, start=1):
        try:
            command = parse_command(line)
        except FieldError as error:
            why = str(error).removeprefix(f"{error.field}: ")
            raise MarketFileError(file, number, error.field, why) from None
        if command.at < at:
            raise MarketFileError(file, number, "at", f"smaller than {at} of the line before")
        at = command.at
        yield command


def parse_command(line: bytes) -> AnyCommand:
    """Return the command of one line, with or without its newline.

    Raises:
        FieldError: which field is wrong, and why.
    """
    try:
        command: AnyCommand = _DECODER.decode(line)
    except msgspec.ValidationError as error:
        raise _field_error(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _line_error(line, error) from None
    _refuse_keys_given_twice(line)
    return command


def format_command(command: AnyCommand) -> bytes:
    """Return the command as a line with its newline; defaults are written out."""
    return _ENCODER.encode(command) + b"\n"


def format_event(event: AnyEvent) -> bytes:
    """Return the event as a line with its newline, byte for byte as MARKET_FILE.md fixes it."""
    return _ENCODER.encode(event) + b"\n"


def format_events(events: list[AnyEvent]) -> bytes:
    """Return the events as lines."""
    return _ENCODER.encode_lines(events)


# ----------------------------------------------------------------------------- what is wrong
def _field_error(error: msgspec.ValidationError) -> FieldError:
    """Turn msgspec's words into a field and a reason."""
    if isinstance(error.__cause__, FieldError):
        return error.__cause__
    found = _PLACE.match(str(error))
    assert found is not None
    what, path = found["what"], found["path"] or ""
    for pattern, why in ((_UNKNOWN, "unknown field"), (_MISSING, "missing")):
        named = pattern.match(what)
        if named is not None:
            name = _CONTROL.sub("�", named["name"])
            return FieldError(f"{path}.{name}" if path else name, why)
    if _REGEX.match(what) is not None:
        # The two patterns of schemas.commands: countries, and text without control characters.
        what = "two capital letters expected" if "A-Z" in what else "has a control character"
    return FieldError(path or WHOLE_LINE, what)


def _line_error(line: bytes, error: Exception) -> FieldError:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as not_utf8:
        return FieldError(WHOLE_LINE, f"not UTF-8 at byte {not_utf8.start}")
    if not line.strip():
        return FieldError(WHOLE_LINE, "empty")
    return FieldError(WHOLE_LINE, f"not JSON: {error}")


def _refuse_keys_given_twice(line: bytes) -> None:
    # msgspec keeps the last of two equal keys and does not tell; the standard library shows both.
    json.loads(line, object_pairs_hook=_pairs_once)


def _pairs_once(pairs: list[tuple[str, object]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise FieldError(twice, "given twice")
