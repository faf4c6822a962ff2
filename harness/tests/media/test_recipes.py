"""Media made from other media: the same bytes from the same inputs, and clear words about wrong ones."""

import gzip
import io
import mmap
import re
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pycdlib
import pytest

from bringup.harness.identify import filesystems
from bringup.harness.media import recipes
from bringup.harness.media.recipes import RecipeError, dialogue, gunzip
from bringup.vmm.storage.raw import RawImage

from .test_mirror import deb


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
    assert recipes.names() == ["dialogue", "disk", "gunzip", "iso", "linux-initrd", "package-file", "text"]
    for name in recipes.names():
        assert recipes.load(name).VERSION >= 1
    known = r"dialogue, disk, gunzip, iso, linux-initrd, package-file, text"
    with pytest.raises(RecipeError, match=rf"^recipe 'x' is not known; known are {known}$"):
        recipes.load("x")


def test_an_initrd(tmp_path: Path) -> None:
    (tmp_path / "busybox").write_bytes(b"box")
    (tmp_path / "init").write_bytes(b"#!/bin/busybox sh\n")
    data = make("linux-initrd", {role: tmp_path / role for role in ("busybox", "init")})
    assert data.startswith(b"070701")
    assert b"bin/busybox\0" in data
    assert b"#!/bin/busybox sh\n" in data


def module(depends: str) -> bytes:
    """What of a kernel module is looked at: its section .modinfo."""
    return b"\x7fELF\0\0license=GPL\0depends=" + depends.encode() + b"\0retpoline=Y\0name=x\0"


MODULES = {
    "lib/modules/6.1/kernel/drivers/ata/ata_piix.ko": module("libata,scsi_mod"),
    "lib/modules/6.1/kernel/drivers/ata/libata.ko": module("scsi_mod"),
    "lib/modules/6.1/kernel/drivers/scsi/scsi_mod.ko": module(""),
    "lib/modules/6.1/kernel/drivers/scsi/sd_mod.ko": module("t10-pi,scsi_mod"),
    "lib/modules/6.1/kernel/block/t10-pi.ko": module(""),
    "lib/modules/6.1/kernel/fs/a.ko": module("b"),
    "lib/modules/6.1/kernel/fs/b.ko": module("a"),
    "lib/modules/6.1/kernel/fs/c.ko": module("nowhere"),
    "lib/modules/6.1/modules.order": b"",
}


@pytest.fixture
def linux(tmp_path: Path) -> dict[str, Path]:
    """A kernel's package, and the other inputs of an initrd."""
    (tmp_path / "linux").write_bytes(deb({"boot/vmlinuz-6.1": b"kernel", **MODULES}))
    for role in ("busybox", "init"):
        (tmp_path / role).write_bytes(role.encode())
    return {role: tmp_path / role for role in ("busybox", "init", "linux")}


def test_an_initrd_with_modules_has_what_they_need_in_order(linux: dict[str, Path]) -> None:
    data = make("linux-initrd", linux, {"modules": "ata_piix sd-mod libata"})
    names = re.findall(rb"modules/\d\d-\w+\.ko(?=\0)", data)
    order = ["00-scsi_mod", "01-libata", "02-ata_piix", "03-t10_pi", "04-sd_mod"]
    assert names == [f"modules/{name}.ko".encode() for name in order]
    assert data.count(module("libata,scsi_mod")) == 1


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ("ext5", "modules: ext5: the package has no such module"),
        ("libata c", "modules: nowhere for c: the package has no such module"),
        ("a", "modules: a for b for a: needs itself"),
        ("", "takes the inputs busybox, init; linux is none of them"),
    ],
)
def test_modules_that_cannot_be_had(linux: dict[str, Path], modules: str, message: str) -> None:
    with pytest.raises(RecipeError, match=f"^{message}$"):
        make("linux-initrd", linux, {"modules": modules} if modules else {})


def test_a_file_of_a_package(linux: dict[str, Path]) -> None:
    package = {"linux": linux["linux"]}
    assert make("package-file", package, {"file": "boot/vmlinuz-*"}) == b"kernel"
    with pytest.raises(RecipeError, match=r"^linux: linux holds no file boot/initrd$"):
        make("package-file", package, {"file": "boot/initrd"})
    for recipe, inputs, parameters in (
        ("package-file", {"init": linux["init"]}, {"file": "*"}),
        ("linux-initrd", linux | {"linux": linux["init"]}, {"modules": "libata"}),
    ):
        with pytest.raises(RecipeError, match=r"^(linux|init): init cannot be unpacked: it is no ar archive$"):
            make(recipe, inputs, parameters)


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


def test_a_cd_tells_its_image_where_it_lies(inputs: dict[str, Path]) -> None:
    """The boot information table of isolinux (mkisofs(8), -boot-info-table): sectors of the primary volume descriptor
    and of the file, its length, and the sum of its 32-bit words from byte 64 on."""
    plain = make("iso", inputs, {"boot": "data"})
    content = make("iso", inputs, {"boot": "data", "boot-info-table": "yes"})
    begin, image = boot_entry(content)[2], inputs["data"].read_bytes()
    words = sum(struct.unpack(f"<{(len(image) - 64) // 4}I", image[64 : len(image) // 4 * 4])) & 0xFFFFFFFF
    assert struct.unpack_from("<4I", content, begin + 8) == (16, begin // 2048, len(image), words)
    assert content[begin + 64 : begin + len(image)] == image[64:]
    assert plain[begin : begin + len(image)] == image


def fat_files(data_of_disk: bytes | mmap.mmap) -> dict[str, bytes]:
    """The files in the root folder of the FAT16 in the first partition, read by their chains of clusters."""
    disk = memoryview(data_of_disk)
    kind, start, sectors = struct.unpack_from("<4xB3xII", disk, 446)
    assert (kind, bytes(disk[510:512]), (start + sectors) * 512) == (6, b"\x55\xaa", len(disk))
    volume = disk[start * 512 :]
    sector, cluster, reserved, fats, entries, small, medium, size = struct.unpack_from("<HBHBHHBH", volume, 11)
    hidden, large = struct.unpack_from("<II", volume, 28)
    assert (sector, fats, medium, hidden, small or large) == (512, 2, 0xF8, start, sectors)
    first, second = (volume[(reserved + number * size) * 512 :][: size * 512] for number in range(2))
    assert first == second
    root = (reserved + fats * size) * 512
    data = root + entries * 32
    assert 4085 <= (sectors * 512 - data) // (cluster * 512) < 65525, "what makes it FAT16"
    found = {}
    for name, attributes, begin, length in struct.iter_unpack("<11sB14xHI", volume[root:data]):
        if name[0] == 0 or attributes & 8:
            continue
        content, number = b"", begin
        while 2 <= number < 0xFFF8:
            content += bytes(volume[data + (number - 2) * cluster * 512 :][: cluster * 512])
            (number,) = struct.unpack_from("<H", first, 2 * number)
        found[name.decode()] = content[:length]
        assert -(-length // (cluster * 512)) == -(-len(content) // (cluster * 512))
    return found


@pytest.mark.parametrize("size", ["4", "16", "100", "1024"])
def test_a_disk(inputs: dict[str, Path], tmp_path: Path, size: str) -> None:
    (tmp_path / "empty").write_bytes(b"")
    inputs["empty"] = tmp_path / "empty"
    with (tmp_path / "disk").open("wb") as file:
        recipes.load("disk").make(inputs, {"data": "MY-DATA.TXT", "size": size, "label": "A_1"}, file)
    assert (tmp_path / "disk").stat().st_blocks < 8192, "what is empty takes no room"
    assert (tmp_path / "disk").stat().st_size == int(size) << 20
    named = {"LOADER     ": "loader", "MY-DATA TXT": "data", "FLOPPY     ": "floppy", "EMPTY      ": "empty"}
    with (tmp_path / "disk").open("rb") as file:
        found = fat_files(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    assert found == {name: inputs[role].read_bytes() for name, role in named.items()}
    disk = RawImage(tmp_path / "disk")
    recognised = filesystems.recognise(disk, 2048 * 512)
    disk.close()
    assert recognised is not None and recognised.label == "A_1"
    assert {"LOADER", "MY-DATA.TXT"} <= recognised.names


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """To the last byte of its last cluster, and one more."""
    room = 0x2F5A00  # of 4 MiB: what partition table, boot sector, tables and root leave
    (tmp_path / "data").write_bytes(b"x" * room)
    assert fat_files(make("disk", {"data": tmp_path / "data"}, {"size": "4"})) == {"DATA       ": b"x" * room}
    (tmp_path / "data").write_bytes(b"x" * (room + 1))
    with pytest.raises(RecipeError, match=f"^data: {room + 1} bytes more are too much for this disk$"):
        make("disk", {"data": tmp_path / "data"}, {"size": "4"})


@pytest.mark.skipif(shutil.which("mcopy") is None, reason="no mtools on this system")
def test_a_disk_as_mtools_read_it(inputs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(make("disk", inputs))
    command = ["mcopy", "-n", "-i", f"{tmp_path / 'disk'}@@1M", "::FLOPPY", str(tmp_path / "out")]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "out").read_bytes() == inputs["floppy"].read_bytes()


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
        ("package-file", "data", {}, "takes the parameter file, which is missing"),
        ("package-file", "data loader", {"file": "a"}, "takes one input, and there are 2"),
        ("package-file", "data", {"x": "y"}, "has no parameter 'x'; it has file"),
        ("disk", "data", {"x": "y"}, "has no parameter 'x'; it has size, label, data"),
        ("disk", "data", {"size": "3"}, "size: '3' is not a number of MiB from 4 to 1024"),
        ("disk", "data", {"size": "1025"}, "size: '1025' is not a number of MiB"),
        ("disk", "data", {"size": "16M"}, "size: '16M' is not a number of MiB"),
        ("disk", "data", {"label": "small"}, "label: 'small' is not of capitals"),
        ("disk", "data", {"data": "data"}, "data: 'data' is no name of up to 8 capitals"),
        ("disk", "data", {"data": "../X"}, r"data: '\.\./X' is no name of up to 8 capitals"),
        ("disk", "data loader", {"data": "LOADER"}, "loader: is called like data"),
        ("iso", "data", {"x": "y"}, "has no parameter 'x'; it has boot, emulation, boot-info-table, label, data"),
        ("iso", "data", {"boot-info-table": "no"}, "boot-info-table: 'no' is not `yes`"),
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
