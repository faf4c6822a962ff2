"""The line of every path in a TOML text."""

import tomllib
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest

from bringup.guests.typed_toml import Path, TomlError, decode, key_of, line_of, lines_of

TEXT = '''\
a = 1 # not [b]
"q.r".b = """x
[not]
c = 1 \\"""
""" # c
lit = \'\'\'
[neither]\'\'\'
[m]
arr = [ "]", # ] }
  {x = 1, y.z = 'a#'}, [1,
 2], {}]
date = 1979-05-27 07:32:00Z
[[l]]
id = 'x'
[[l]]
[l.sub]
k = -1e3
[[l.in]]
x = true
[[l.in]]
x = 2.5
[ d . "e\\tf" .g ]
'''


def paths(data: Any, path: Path = ()) -> Iterator[Path]:
    """Of everything in data."""
    if path:
        yield path
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from paths(value, (*path, key))


def test_every_line() -> None:
    lines = {key_of(path): line for path, line in lines_of(TEXT).items()}
    assert lines == {
        "a": 1, "q.r": 2, "q.r.b": 2, "lit": 6, "m": 8, "m.arr": 9, "m.arr[0]": 9, "m.arr[1]": 10, "m.arr[1].x": 10,
        "m.arr[1].y": 10, "m.arr[1].y.z": 10, "m.arr[2]": 10, "m.arr[2][0]": 10, "m.arr[2][1]": 11, "m.arr[3]": 11,
        "m.date": 12, "l": 13, "l[0]": 13, "l[0].id": 14, "l[1]": 15, "l[1].sub": 16, "l[1].sub.k": 17, "l[1].in": 18,
        "l[1].in[0]": 18, "l[1].in[0].x": 19, "l[1].in[1]": 20, "l[1].in[1].x": 21, "d": 22, "d.e\tf": 22,
        "d.e\tf.g": 22,
    }  # fmt: skip


def shipped() -> list[str]:
    folders = [resources.files("bringup.harness") / "vmms", *resources.files("bringup.guests").iterdir()]
    files = [file for folder in folders if folder.is_dir() for file in folder.iterdir()]
    return [file.read_text() for file in files if file.name.endswith(".toml")]


@pytest.mark.parametrize("text", [TEXT, "", *shipped()])
def test_every_path_has_a_line(text: str) -> None:
    assert set(lines_of(text)) == set(paths(tomllib.loads(text)))


def test_what_is_not_there_has_the_line_of_what_is_around_it() -> None:
    assert line_of(("l", 1, "sub", "none", 3), TEXT) == 16
    assert line_of(("none",), TEXT) == 1


def test_an_error_inside_one_entry_of_a_mapping_names_it() -> None:
    with pytest.raises(TomlError, match=r"^f:2: b\.y: expected `int`, got `str`$"):
        decode(b"a = {x = 1}\nb = {x = 1, y = '2'}\n", dict[str, dict[str, int]], "f")
