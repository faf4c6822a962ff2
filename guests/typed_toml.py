"""TOML files as typed data, where every error is one line with file, line and key.

tomllib tells the line of what is not TOML; msgspec tells the path of what is not of its type. What neither tells,
the line of a path, is found by going through the text once more (`lines_of`), only when there is an error to report.
"""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
Path = tuple[str | int, ...]
"""Of a value in the data: keys of tables and indexes of arrays."""

_STRINGS = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})' r"|'''.*?'''(?:'{0,2})" r'|"(?:\\.|[^"\\])*"' r"|'[^']*'", re.DOTALL
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]*")
_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_MESSAGE = re.compile(r"(?P<what>.*?)(?: - at (?:`(?P<key>key)` in )?`\$(?P<path>.*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_FIELD = re.compile(r"Object (?:contains unknown|missing required) field `(.*)`")


class TomlError(ValueError):
    """A file whose text or data is wrong; the message is one line: file, line, key, what is wrong."""


class WrongKeyError(ValueError):
    """Raised by a type's own checks (`__post_init__`): what is wrong with one of its keys, by its path from there."""

    def __init__(self, path: str | Path, what: str) -> None:
        super().__init__(what)
        self.path: Path = (path,) if isinstance(path, str) else path


def decode(content: bytes, type: type[T], file: str) -> T:
    """The data of a TOML file; `file` is its name in errors. Raises TomlError."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TomlError(f"{file}:{line}: is not UTF-8") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, line = str(error), text.count("\n") + 1
        if match := re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", what, re.DOTALL):
            what, line = match[1], int(match[2] or line)
        raise TomlError(f"{file}:{line}: {_one_line(what)}") from None
    try:
        return msgspec.convert(data, type)
    except msgspec.ValidationError as error:
        path, what = _locate(error, data, type)
        raise TomlError(f"{file}:{line_of(path, text)}: {key_of(path)}: {_one_line(what)}") from None


def key_of(path: Path) -> str:
    """As people write it: `ladder[2].text`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def line_of(path: Path, text: str) -> int:
    """The line of a value or, when it is not there, of the nearest table around where it would be."""
    lines = lines_of(text)
    return next((lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in lines), 1)


def _one_line(text: str) -> str:
    return " ".join(text.split())


# ---- what msgspec says ----


def _locate(error: msgspec.ValidationError, data: Mapping[str, Any], type: type[T]) -> tuple[Path, str]:
    """The path of what is wrong, and what that is."""
    match = _MESSAGE.fullmatch(str(error))
    assert match is not None  # noqa: S101, the pattern takes any text
    what = match["what"]
    steps = [step or index for step, index in _STEP.findall(match["path"] or "")]
    if match["key"]:
        steps.append("...")
    path = _path(steps, str(error), data, type)
    if field := _FIELD.fullmatch(what):
        return (*path, field[1]), "is missing" if "missing" in what else "is not a key known here"
    if isinstance(error.__cause__, WrongKeyError):
        return (*path, *error.__cause__.path), what
    return path, what[:1].lower() + what[1:]


def _path(steps: list[str], message: str, data: Mapping[str, Any], type: type[T]) -> Path:
    """msgspec says `[...]` for the entry of a mapping: it is the one that, left alone, makes the same complaint."""
    path: Path = ()
    for step in steps:
        if step == "...":
            keys = list(_at(data, path))
            step = next((key for key in keys if _complains(_alone(data, path, key), message, type)), keys[0])
        path = (*path, int(step) if isinstance(_at(data, path), list) else step)
    return path


def _at(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data


def _alone(data: Mapping[str, Any], path: Path, key: str) -> Mapping[str, Any]:
    """A copy in which the table at `path` has this key only."""
    result = copy.deepcopy(data)
    table = _at(result, path)
    for other in list(table):
        if other != key:
            del table[other]
    return result


def _complains(data: Mapping[str, Any], message: str, type: type[T]) -> bool:
    try:
        msgspec.convert(data, type)
    except msgspec.ValidationError as error:
        return str(error) == message
    return False


# ---- lines ----


def lines_of(text: str) -> dict[Path, int]:
    """The line of each table, key and array element of a text that is TOML."""
    return _Scanner(text).lines


class _Scanner:
    """Goes through valid TOML and notes where each path begins."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.lines: dict[Path, int] = {}
        self.lengths: dict[Path, int] = {}
        """Of arrays of tables, so far."""
        table: Path = ()
        while self.blank() < len(text):
            if text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)

    def blank(self) -> int:
        """Past white space, line ends and comments."""
        return self.take(_BLANK)

    def take(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self.text, self.at)
        assert match is not None  # noqa: S101, the text is TOML
        self.at = match.end()
        return self.at

    def note(self, path: Path, at: int) -> None:
        self.lines.setdefault(path, self.text.count("\n", 0, at) + 1)

    def header(self) -> Path:
        """`[a.b]` or `[[a.b]]`; the path of the table that begins here."""
        start, double = self.at, self.text.startswith("[[", self.at)
        self.at += 2 if double else 1
        keys = self.keys()
        self.at += 2 if double else 1
        path = self.resolve(keys if not double else keys[:-1])
        if double:
            path = (*path, keys[-1])
            self.lengths[path] = index = self.lengths.get(path, 0) + 1
            self.note(path, start)
            path = (*path, index - 1)
        for length in range(1, len(path) + 1):
            self.note(path[:length], start)
        return path

    def resolve(self, keys: list[str]) -> Path:
        """In a header the name of an array of tables stands for its last table."""
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in self.lengths:
                path = (*path, self.lengths[path] - 1)
        return path

    def keys(self) -> list[str]:
        """A dotted key."""
        keys = []
        while True:
            start = self.take(_SPACE)
            if self.text[start] in "\"'":
                self.take(_STRINGS)
                keys.append(tomllib.loads(f"key = {self.text[start : self.at]}")["key"])
            else:
                keys.append(self.text[start : self.take(_BARE_KEY)])
            if self.text[self.take(_SPACE)] != ".":
                return keys
            self.at += 1

    def pair(self, table: Path) -> None:
        """`a.b = value`."""
        start, path = self.at, table
        for key in self.keys():
            path = (*path, key)
            self.note(path, start)
        self.at += 1
        self.take(_SPACE)
        self.value(path)

    def value(self, path: Path) -> None:
        first = self.text[self.at]
        if first in "\"'":
            self.take(_STRINGS)
        elif first in "[{":
            self.at += 1
            index = 0
            while self.text[self.blank()] not in "]}":
                if first == "{":
                    self.pair(path)
                else:
                    self.note((*path, index), self.at)
                    self.value((*path, index))
                    index += 1
                if self.text[self.blank()] == ",":
                    self.at += 1
            self.at += 1
        else:
            self.take(_SCALAR)
