"""Typed access to the fields of untrusted JSON, whose errors name the place, and to the times in any file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from typing import Any, TypeVar

from mistral_chat.errors import ImportFailed

Value = TypeVar("Value")
Choice = TypeVar("Choice", bound=str)

_LARGEST_NUMBER = 2**63
"""SQLite stores no whole number from here on, and its JSON has no infinite ones."""


def import_error(source: str, place: str, problem: str) -> ImportFailed:
    """The error for a file that cannot be imported."""
    where = f"{source}, {place}" if place else source
    return ImportFailed(f"{where}: {problem}. Nothing was imported.")


def parsed(text: str, source: str) -> Any:
    """The JSON value in `text`.

    Raises:
        ImportFailed: it is not JSON; the line is named.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise import_error(source, f"line {error.lineno}, column {error.colno}", f"not valid JSON ({error.msg})") from error
    except (RecursionError, ValueError) as error:
        raise import_error(source, "", "the JSON is nested too deeply or contains a number that is too large") from error


def utc_time(text: str) -> datetime:
    """An ISO 8601 time, in UTC, which a time without a zone is taken for.

    Raises:
        ValueError: it is not such a time.
        OverflowError: it is within the first or the last year that Python knows, and no time at all in some zone.
    """
    found = datetime.fromisoformat(text)
    found = (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
    if not MINYEAR < found.year < MAXYEAR:
        raise OverflowError
    return found


class JSONReader:
    """A JSON object and its place in the file."""

    def __init__(self, value: object, source: str, place: str) -> None:
        """Read `value`, which is at `place` in `source`.

        Raises:
            ImportFailed: it is not an object.
        """
        if not isinstance(value, dict):
            raise import_error(source, place, "expected an object")
        self.value: dict[str, Any] = value
        """Its fields, as they are."""
        self.source = source
        self.place = place

    def get(self, name: str, kind: type[Value], default: Value | None = None) -> Value:
        """Read the field `name`, which must be of `kind`; if absent it is `default`, unless that is None.

        Raises:
            ImportFailed: it is missing, of another type, or no number that the store can keep. A boolean is not a number; a whole
                number is accepted as a float.
        """
        found = self.value.get(name, default)
        if kind in (int, float) and isinstance(found, int | float) and not abs(found) < _LARGEST_NUMBER:  # NaN neither
            raise self.import_error(f"{name!r} is not a usable number")
        if kind is float and isinstance(found, int) and not isinstance(found, bool):
            found = float(found)
        if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
            problem = "is missing" if found is None else f"must be {_KINDS[kind]}, not {_shown(found)}"
            raise self.import_error(f"{name!r} {problem}")
        return found

    def optional(self, name: str, kind: type[Value]) -> Value | None:
        """The field `name`, or None when it is null or absent.

        Raises:
            ImportFailed: it is of another type.
        """
        return None if self.value.get(name) is None else self.get(name, kind)

    def time(self, name: str) -> datetime:
        """The field `name` as a time with a zone.

        Raises:
            ImportFailed: it is missing, not an ISO 8601 time, or has no zone.
        """
        text = self.get(name, str)
        try:
            if datetime.fromisoformat(text).tzinfo is None:
                raise self.import_error(f"{name!r} must have a time zone, as in 2026-01-31T12:00:00+00:00")
            return utc_time(text)
        except (ValueError, OverflowError) as error:
            raise self.import_error(f"{name!r} must be an ISO 8601 time, not {_shown(text)}") from error

    def choice(self, name: str, choices: tuple[Choice, ...]) -> Choice:
        """The field `name`, one of `choices`.

        Raises:
            ImportFailed: it is something else.
        """
        found = self.get(name, str)
        for choice in choices:
            if choice == found:
                return choice
        raise self.import_error(f"{name!r} must be one of {', '.join(choices)}, not {_shown(found)}")

    def objects(self, name: str) -> Iterator[JSONReader]:
        """The objects in the list `name`.

        Raises:
            ImportFailed: it is not a list, or has other items.
        """
        for place, item in enumerate(self.get(name, list)):
            yield JSONReader(item, self.source, f"{self.place}.{name}[{place}]".lstrip("."))

    def child(self, name: str) -> JSONReader | None:
        """The object in the field `name`; None when it is null or absent.

        Raises:
            ImportFailed: it is not an object.
        """
        found = self.value.get(name)
        return None if found is None else JSONReader(found, self.source, f"{self.place}.{name}")

    def has(self, name: str) -> bool:
        """Whether the field `name` exists and is not null."""
        return self.value.get(name) is not None

    def import_error(self, problem: str) -> ImportFailed:
        """An error that names this place."""
        return import_error(self.source, self.place, problem)


_KINDS: dict[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "an object",
}


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:39] + "…"  # noqa: PLR2004 - enough to recognise it
