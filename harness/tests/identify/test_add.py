"""`bringup guests add`: a file that loads, and a boot that ends with 0 when the text comes."""

from __future__ import annotations

import gzip
import os
import re
import shutil
from pathlib import Path

import pytest

from bringup.guests import loader
from bringup.harness.cli import main
from bringup.harness.identify.propose import BOOTED, name_for

from . import images


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's guests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BRINGUP_GUESTS", raising=False)
    return tmp_path / "config" / "bringup" / "guests"


def add(folder: Path, content: bytes, *words: str, name: str = "My Image.img") -> int:
    (folder / name).write_bytes(content)
    try:
        return main(["guests", "add", str(folder / name), *words])
    except SystemExit as error:
        return int(error.code or 0)


def test_a_floppy_becomes_a_guest(tmp_path: Path, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add(tmp_path, images.fat(1440, "KERNEL.SYS", text=b"FreeDOS"), "--vmm", "qemu") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"my-image: {own}/my-image.toml"
    guest = loader.load("my-image")
    about = guest.definition
    assert (guest.family, about.architecture.value, about.machine.memory) == ("dos", "i8086", "64M")
    assert [(drive.kind.value, drive.media) for drive in about.machine.drives] == [("floppy", "image")]
    assert [console.channel for console in about.console.values()] == ["screen", "serial0"]
    assert [(rung.id, rung.console) for rung in about.ladder] == [("up", "any")]
    assert guest.text.startswith("# Proposed by `bringup guests add` from what it found:\n# - floppy of 1.44 MB\n")
    assert main(["guests"]) == 0
    listed = capsys.readouterr().out
    assert "your own\n  my-image" in listed
    assert main(["guests", "my-image"]) == 0
    assert f"file {tmp_path}/My Image.img" in capsys.readouterr().out


def test_other_proposals(tmp_path: Path) -> None:
    packed = gzip.compress(images.elf(b"GNU Mach"))
    assert add(tmp_path, packed, "--name", "mach", "--expect", "GNU 'Mach'") == 0
    mach = loader.load("mach").definition
    assert (mach.machine.kernel, mach.machine.append, sorted(mach.media)) == (
        "kernel", "console=com0", ["image", "kernel"],
    )  # fmt: skip
    assert mach.ladder[0].pattern == "GNU 'Mach'"
    assert add(tmp_path, images.elf(b"Plan 9"), "--name", "nine") == 0
    assert loader.load("nine").definition.machine.modules == ("plan9ini",)
    assert add(tmp_path, images.bzimage(b"6.1"), "--name", "penguin", "--seconds", "7") == 0
    penguin = loader.load("penguin").definition
    assert (penguin.machine.boot, penguin.limit.guest, penguin.architecture.value) == ("linux", 7, "x86_64")
    assert add(tmp_path, images.qcow2(images.disk((0xA6, b""))), "--name", "puffy") == 0
    (drive,) = loader.load("puffy").definition.machine.drives
    assert (drive.kind.value, drive.format) == ("disk", "qcow2")


def test_a_dos_that_nothing_keeps_from_asking_the_date_is_answered(tmp_path: Path) -> None:
    for name in ("COMMAND.COM", "CONFIG.SYS", "FDCONFIG.SYS"):
        assert add(tmp_path, images.fat(1440, "KERNEL.SYS", name), "--expect", "A:", "--force") == 0
        (rung,) = loader.load("my-image").definition.ladder
        assert [(step.wait, step.send) for step in rung.steps] == [
            ("Enter new date", None), (None, "\r"), ("Enter new time", None), (None, "\r"),
        ]  # fmt: skip
    for name in ("AUTOEXEC.BAT", "FDAUTO.BAT"):
        assert add(tmp_path, images.fat(1440, "KERNEL.SYS", name), "--force") == 0
        assert not loader.load("my-image").definition.ladder[0].steps


def test_who_polls_without_end_has_an_end(tmp_path: Path) -> None:
    assert add(tmp_path, images.fat(1440), "--seconds", "8") == 0
    limit = loader.load("my-image").definition.limit
    assert (limit.guest, limit.instructions) == (8, 2_000_000_000)


@pytest.mark.parametrize(("words", "status"), [([], 1), (["--boot"], 3), (["--boot", "--expect", "A:"], 3)])
def test_a_damaged_image_is_not_tried(
    tmp_path: Path, own: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int
) -> None:
    assert add(tmp_path, b"\xeb\x3c\x90" + images.fat(1440)[3 : 720 << 10], *words) == status
    error = capsys.readouterr().err
    assert error.startswith("bringup: ") and "offset 0x13: truncated" in error and error.count("\n") == 1
    assert not own.exists()


def test_a_vmm_without_a_screen_has_the_bios_draw_on_com1(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "vmms" / "qemu.toml").read_text()
    vmm = tmp_path / "blind.toml"
    vmm.write_text(text.replace('name = "qemu"', 'name = "blind"').replace("screen = true\n", ""))
    assert add(tmp_path, images.fat(1440), "--vmm", str(vmm)) == 0
    about = loader.load("my-image").definition
    assert about.machine.bios_serial
    assert list(about.console) == ["serial"]


def test_what_is_there_stays(tmp_path: Path, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add(tmp_path, images.fat(1440)) == 0
    assert add(tmp_path, images.fat(1440)) == 0  # the same
    assert add(tmp_path, images.fat(1440), "--expect", "A:", "--seconds", "9") == 0  # another proposal, nothing edited
    before = (own / "my-image.toml").read_text()
    assert "A:" in before
    assert add(tmp_path, images.fat(720)) == 1
    assert "my-image.toml: is there already: --force replaces it" in capsys.readouterr().err
    assert (own / "my-image.toml").read_text() == before
    assert add(tmp_path, images.fat(720), "--force") == 0
    assert (own / "my-image.toml").read_text() != before
    assert [path.name for path in own.iterdir()] == ["my-image.toml"]


def test_what_was_edited_stays(tmp_path: Path, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add(tmp_path, images.fat(1440)) == 0
    path = own / "my-image.toml"
    edited = path.read_text().replace("tier = 3", "tier = 4")
    path.write_text(edited)
    assert add(tmp_path, images.fat(1440), "--expect", "A:") == 1
    assert add(tmp_path, images.fat(1440), "--boot", "--expect", "A:") == 3  # and not 1: nothing was booted
    assert capsys.readouterr().err.count("is there already") == 2
    assert path.read_text() == edited


@pytest.mark.parametrize(
    ("content", "words", "status", "message"),
    [
        (b"text", [], 1, "bringup: .*My Image.img: is no kernel, no CD"),
        (images.fat(1440), ["--name", "9front"], 1, "bringup: '9front' is the name of a guest that ships"),
        (images.fat(1440), ["--name", "A B"], 2, "bringup guests add: argument --name: 'A B' is not of small"),
        (images.fat(1440), ["--expect", ".*"], 1, r"bringup: --expect: the pattern '\.\*' matches texts of any length"),
        (images.fat(1440), ["--expect", "("], 1, r"bringup: --expect: the pattern '\(' does not compile"),
        (images.fat(1440), ["--seconds", "0"], 2, "argument --seconds: '0' is not a number of seconds"),
        (images.fat(1440), ["--memory", "1G"], 2, "bringup guests add: unrecognized arguments: --memory 1G"),
        (images.fat(1440), ["--boot", "--colour"], 2, "bringup guests add --boot: unrecognized arguments: --colour"),
        (images.fat(1440), ["--vmm", "amiga"], 2, "argument --vmm: VMM 'amiga' is not known"),
    ],
)
def test_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, words: list[str], status: int, message: str
) -> None:
    assert add(tmp_path, content, *words) == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error), error


def test_a_name_that_no_guest_can_have_leaves_no_file(
    tmp_path: Path, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(tmp_path, images.fat(1440), name="two\nlines.img") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "two-lines.toml:" in error and "media.image.file" in error
    assert not list(own.iterdir())


def test_a_guest_is_up_when_it_says_more_than_its_firmware() -> None:
    firmware = "SeaBIOS (version 1.16.2)\nBooting from Floppy...\n"
    assert re.search(BOOTED, firmware) is None
    assert re.search(BOOTED, firmware + "Boot failed: not a bootable disk\n") is None
    assert re.search(BOOTED, firmware + "\nhello")


def test_it_boots_at_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = images.kernel("a kernel of ours is up")
    assert add(tmp_path, image, "--boot", "--expect", "of o.rs", "--memory", "64M", name="ours.elf") == 0
    assert capfd.readouterr().out.splitlines()[-1].startswith("ours on bringup: 1 of 1 rungs (expected)")
    assert add(tmp_path, image, "--boot", "--expect", "never", "--seconds", "0.1", "--force", name="ours.elf") == 1
    assert "stuck (guest): stuck before 'expected'" in capfd.readouterr().out


@pytest.mark.parametrize("vmm", ["bringup", "qemu"])
def test_a_floppy_boots_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, vmm: str
) -> None:
    if vmm == "qemu" and shutil.which("qemu-system-x86_64") is None:
        pytest.skip("QEMU is not installed")
    monkeypatch.delenv("XDG_CACHE_HOME")  # the firmware is fetched once
    if os.environ.get("BRINGUP_OFFLINE"):
        pytest.skip("BRINGUP_OFFLINE is set: no firmware is fetched")
    image = images.speaking_floppy("a boot sector of ours")
    assert add(tmp_path, image, "--boot", "--expect", "sector of ours", f"--vmm={vmm}") == 0
    assert capfd.readouterr().out.splitlines()[-1].startswith(f"my-image on {vmm}: 1 of 1 rungs (expected)")


@pytest.mark.skipif(bool(os.environ.get("BRINGUP_OFFLINE")), reason="BRINGUP_OFFLINE is set: no firmware is fetched")
def test_what_does_not_start_is_said_by_the_firmware(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    vmm = tmp_path / "heard.toml"  # the BIOS draws on COM1
    text = (Path(__file__).parents[2] / "vmms" / "bringup.toml").read_text()
    vmm.write_text(text.replace('name = "bringup"', 'name = "heard"').replace("screen = true\n", ""))
    assert add(tmp_path, bytes(1440 << 10), "--boot", "--expect", "never", f"--vmm={vmm}") == 1
    assert "died (guest): SeaBIOS: no bootable device" in capfd.readouterr().out


def test_names() -> None:
    names = ["FreeDOS 1.3 (Live).iso", "gnumach-1.8-486.gz", "memtest86+x64.bin", "a.img.gz", "...", "vmlinuz"]
    assert [name_for(Path(name)) for name in names] == [
        "freedos-1.3-live", "gnumach-1.8-486", "memtest86+x64", "a", "image", "vmlinuz",
    ]  # fmt: skip


def test_no_line_of_a_quick_driver_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    if os.environ.get("BRINGUP_OFFLINE"):
        pytest.skip("BRINGUP_OFFLINE is set: no firmware is fetched")
    said = tmp_path / "said"
    assert add(tmp_path, images.scrolling_floppy(), "--boot", "--expect", "02FF", "--transcript", str(said)) == 0
    found = re.findall(r"^[0-9A-F]{4}$", said.read_text(), re.MULTILINE)
    assert not {f"{number:04X}" for number in range(0x300)}.difference(found)
