"""Media made from other media: the same bytes from the same inputs, and clear words about wrong ones."""

import gzip
import io
import struct
import subprocess
import time
from pathlib import Path

import pycdlib
import pytest

from bringup.harness.media import recipes
from bringup.harness.media.recipes import RecipeError, dialogue, gunzip


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    contents = {"loader": b"\xf4" * 3000, "data": b"data\n" * 1000, "floppy": bytes(1474560)}
    for role, content in contents.items():
        (tmp_path / role).write_bytes(content)
    return {role: tmp_path / role for role in contents}


def make(recipe: str, inputs: dict[str, Path], parameters: dict[str, str] | None = None) -> bytes:
    output = io.BytesIO()
    recipes.load(recipe).make(inputs, parameters or {}, output)
    return output.getvalue()


def test_the_recipes_that_there_are() -> None:
    assert recipes.names() == ["dialogue", "gunzip", "iso", "linux-initrd", "text"]
    for name in recipes.names():
        assert recipes.load(name).VERSION >= 1
    with pytest.raises(
        RecipeError, match=r"^recipe 'x' is not known; known are dialogue, gunzip, iso, linux-initrd, text$"
    ):
        recipes.load("x")


def test_an_initrd(tmp_path: Path) -> None:
    (tmp_path / "busybox").write_bytes(b"box")
    (tmp_path / "init").write_bytes(b"#!/bin/busybox sh\n")
    data = make("linux-initrd", {role: tmp_path / role for role in ("busybox", "init")})
    assert data.startswith(b"070701")
    assert b"bin/busybox\0" in data
    assert b"#!/bin/busybox sh\n" in data


def test_a_text() -> None:
    assert make("text", {}, {"text": "console=0\n*nomp=1\nf\u00fcr\n"}) == b"console=0\n*nomp=1\nf\xc3\xbcr\n"
    assert make("text", {}, {"text": ""}) == b""


def test_the_machine_code_of_a_dialogue_is_what_its_comments_say(tmp_path: Path) -> None:
    code, source = b"", [".intel_syntax noprefix", ".code32"]
    for line in dialogue.CODE.splitlines():
        code += bytes.fromhex(line[:24])
        source.append(line[24:])
    (tmp_path / "source").write_text("\n".join([*source, "script:", ""]))
    start = dialogue.BASE + dialogue.HEADER_SIZE
    subprocess.run(["as", "--32", "-o", tmp_path / "object", tmp_path / "source"], check=True)
    link = ["ld", "-m", "elf_i386", "-Ttext", hex(start), "-e", "0", "--oformat", "binary"]
    subprocess.run([*link, "-o", tmp_path / "code", tmp_path / "object"], check=True)
    assert (tmp_path / "code").read_bytes() == code
    image = make("dialogue", {}, {"script": "| a"})
    assert image[dialogue.HEADER_SIZE :].startswith(code)
    assert sum(struct.unpack_from("<3I", image)) & 0xFFFFFFFF == 0


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("says", "script: line 1: 'says' does not begin with"),
        ("|says", "script: line 1: '|says' does not begin with"),
        ("| a\n| \x1b[2J", "script: line 2: .* does not begin with"),
        ("! stop", "script: line 1: '! stop' is not one of next, halt, reset, power-off"),
        ("> a", "script: line 1: '> a' is no answer to a prompt"),
        ("? $ \n> *\n> a", "script: line 3: '> a' is no answer to a prompt"),
        ("? $ \n| a", "script: line 2: '| a' follows a prompt: an answer is wanted"),
        ("? $ \n? # \n> *", "script: line 2: '\\? # ' follows a prompt that takes no answer"),
        ("| a\n\n# says nothing\n? $ ", "script: the prompt '\\$ ' takes no answer"),
        ("| " + "a" * 140_000, "script: has 140008 bytes, which is too long"),
    ],
)
def test_a_dialogue_that_is_none(script: str, message: str) -> None:
    with pytest.raises(RecipeError, match=f"^{message}"):
        make("dialogue", {}, {"script": script})


def test_a_gzip_file(tmp_path: Path) -> None:
    content = b"GNU Mach" * 400_000
    (tmp_path / "kernel.gz").write_bytes(gzip.compress(content[:9]) + gzip.compress(content[9:]))
    assert make("gunzip", {"packed": tmp_path / "kernel.gz"}) == content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"plain", "packed: is no whole gzip file: Not a gzipped file"),
        (gzip.compress(b"x" * 5000, mtime=0)[:-9], "packed: is no whole gzip file: Compressed file ended"),
        (gzip.compress(b"x" * 5000, mtime=0)[:-8] + bytes(8), "packed: is no whole gzip file: CRC check failed"),
        (gzip.compress(b"abc" * 50, mtime=0)[:10] + b"\xff" * 20, "packed: is no whole gzip file: Error -3"),
        (gzip.compress(bytes(3 << 20), mtime=0), "packed: holds more than 2 MiB"),
    ],
)
def test_a_gzip_file_that_is_none(
    tmp_path: Path, content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gunzip, "MOST", 2 << 20)
    (tmp_path / "kernel.gz").write_bytes(content)
    with pytest.raises(RecipeError, match=message):
        make("gunzip", {"packed": tmp_path / "kernel.gz"})


def test_a_cd_holds_its_files(inputs: dict[str, Path]) -> None:
    content = make("iso", inputs, {"data": "Boot/sub.d/My-File.cfg", "label": "A_1"})
    image = pycdlib.PyCdlib()
    image.open_fp(io.BytesIO(content))
    output = io.BytesIO()
    image.get_file_from_iso_fp(output, rr_path="/Boot/sub.d/My-File.cfg")
    assert output.getvalue() == inputs["data"].read_bytes()
    output = io.BytesIO()
    image.get_file_from_iso_fp(output, iso_path="/BOOT/SUB_D/MY_FILE.CFG;1")
    assert output.getvalue() == inputs["data"].read_bytes()
    assert image.pvd.volume_identifier.rstrip() == b"A_1"
    assert image.eltorito_boot_catalog is None


def boot_entry(content: bytes) -> tuple[int, int, int, bytes]:
    """Of El Torito: media type, sectors, and the position and beginning of the image (El Torito 1.0, 2.0 and 2.2)."""
    record = content[17 * 2048 : 18 * 2048]
    assert record[:39] == b"\0CD001\1EL TORITO SPECIFICATION".ljust(39, b"\0")
    catalog = int.from_bytes(record[71:75], "little") * 2048
    assert sum(int.from_bytes(content[at : at + 2], "little") for at in range(catalog, catalog + 32, 2)) & 0xFFFF == 0
    entry = content[catalog + 32 : catalog + 64]
    assert entry[0] == 0x88
    begin = int.from_bytes(entry[8:12], "little") * 2048
    return entry[1], int.from_bytes(entry[6:8], "little"), begin, content[begin : begin + 16]


def test_a_cd_that_starts(inputs: dict[str, Path]) -> None:
    assert boot_entry(make("iso", inputs, {"boot": "loader"}))[:2] == (0, 6)
    assert boot_entry(make("iso", inputs, {"boot": "loader"}))[3] == b"\xf4" * 16
    assert boot_entry(make("iso", inputs, {"boot": "floppy", "emulation": "floppy"}))[:2] == (2, 1)


def test_the_same_bytes_at_any_time_and_place(inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    first = make("iso", inputs, {"boot": "loader", "data": "a/b"})
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert make("iso", dict(reversed(inputs.items())), {"boot": "loader", "data": "a/b"}) == first
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("recipe", "roles", "parameters", "message"),
    [
        ("linux-initrd", "loader", {}, "takes the inputs busybox, init; busybox is missing"),
        ("linux-initrd", "", {"x": "y"}, "has no parameter 'x'"),
        ("dialogue", "", {}, "takes the parameter script, which is missing"),
        ("dialogue", "data", {"script": "| a"}, "takes no inputs, such as data"),
        ("text", "", {}, "takes the parameter text, which is missing"),
        ("text", "", {"text": "a", "x": "y"}, "has no parameter 'x'; it has text"),
        ("text", "data", {"text": "a"}, "takes no inputs, such as data"),
        ("gunzip", "", {}, "takes one input, and there are 0"),
        ("gunzip", "data loader", {}, "takes one input, and there are 2"),
        ("gunzip", "data", {"x": "y"}, "has no parameter 'x'"),
        ("iso", "data", {"x": "y"}, "has no parameter 'x'; it has boot, emulation, label, data"),
        ("iso", "data", {"boot": "loader"}, "boot: 'loader' is none of the inputs data"),
        ("iso", "data", {"emulation": "disk"}, "emulation: 'disk' is not"),
        ("iso", "data", {"label": "small"}, "label: 'small' is not of capitals"),
        ("iso", "data", {"data": "../x"}, r"data: '\.\./x' is no path on a CD"),
        ("iso", "data", {"data": "/x"}, "data: '/x' is no path on a CD"),
        ("iso", "data", {"data": ""}, "data: '' is no path on a CD"),
        ("iso", "loader data", {"data": "loader"}, r"loader: 'loader' is /LOADER\.;1 on the CD, and so is data"),
        (
            "iso",
            "data",
            {"data": "BOOT.cat"},
            r"data: 'BOOT\.cat' is /BOOT\.CAT;1 on the CD, and so is the boot catalog",
        ),
        ("iso", "loader", {"boot": "loader", "emulation": "floppy"}, "[Ff]loppy"),
    ],
)
def test_wrong_inputs(
    inputs: dict[str, Path], recipe: str, roles: str, parameters: dict[str, str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        make(recipe, {role: inputs[role] for role in roles.split()}, parameters)
