"""VMMs as data: their files and errors; `bringup vmm check` on VMMs that do what they state and others."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs
from standins import vmm

from bringup.guests.definition import BootDevice, DriveKind, Limit
from bringup.harness.cli import main
from bringup.harness.limits import Scale
from bringup.harness.machine.command import command, fill, lacks
from bringup.harness.machine.settings import DriveSettings, Settings
from bringup.harness.vmms import check, loader, probe
from bringup.harness.vmms.loader import LoadedVmm, VmmError, load, names

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "my-vmm.toml"
GOOD = EXAMPLE.read_text()
QEMU = pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="there is no qemu-system-x86_64")


# ---- files ----


def test_shipped_vmms_are_read() -> None:
    assert names() == ["bringup", "qemu", "qemu-kvm"]
    assert [load(name).name for name in names()] == names()


def test_the_page_shows_the_example() -> None:
    page = (EXAMPLE.parents[1] / "vmm.md").read_text()
    assert GOOD in page
    assert (EXAMPLE.parent / "my-vmm").read_text() in page


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (('name = "my-vmm"', 'name = "My VMM"'), r"vmm.toml:1: name: expected `?str`? matching regex.*"),
        (('stopped = true', "stopped = 1"), r"vmm.toml:26: control.stopped: expected `bool`, got `int`"),
        (('transport = "listen"', 'transport = "smoke"'), r"vmm.toml:23: control.transport: invalid enum.*"),
        (('time = "host"', 'time = "host"\nspeed = 3'), r"vmm.toml:30: capabilities.speed: is not a key known here"),
        (('version = ["{here}/my-vmm", "--version"]\n', ""), r"vmm.toml:1: version: is missing"),
        (('like = "qemu"', 'like = "xen"'), r"vmm.toml:5: like: no VMM 'xen' ships; bringup, qemu, qemu-kvm do"),
        (('behaviours = [', 'behaviour = ['), r"vmm.toml:34: deviation\[0\].behaviour: is not a key known here"),
        (("[control]", "[control"), r"vmm.toml:22: Expected.*"),
    ],
)  # fmt: skip
def test_errors_name_file_line_and_key(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    file = tmp_path / "vmm.toml"
    assert change[0] in GOOD
    file.write_text(GOOD.replace(*change))
    with pytest.raises(VmmError) as error:
        load(str(file))
    assert re.fullmatch(re.escape(f"{tmp_path}/") + complaint, str(error.value))


@QEMU
def test_what_the_example_is_known_for_is_expected(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["vcpu", f"--vmm={EXAMPLE}", "--run=msr.pat"]) == 0
    assert "FAIL msr.pat (known): no exception, expected #GP" in capsys.readouterr().out
    strict = tmp_path / "strict.toml"
    strict.write_text(GOOD.replace("{here}", str(EXAMPLE.parent)).replace('like = "qemu"', "#"))
    assert main(["vcpu", f"--vmm={strict}", "--run=msr.pat"]) == 1


def test_vmms_that_there_are_none_of(tmp_path: Path) -> None:
    with pytest.raises(VmmError, match=r"^VMM 'xen' is not known; known are bringup, qemu, qemu-kvm, and files: "):
        load("xen")
    with pytest.raises(VmmError, match=r"none.toml: No such file or directory$"):
        load(str(tmp_path / "none.toml"))
    (tmp_path / "bytes.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(VmmError, match=r"bytes.toml:1: is not UTF-8$"):
        load(str(tmp_path / "bytes.toml"))


def test_a_version_that_cannot_be_had(tmp_path: Path) -> None:
    for text, complaint in [
        ('["no-such-vmm"]', r"^my-vmm: no-such-vmm: No such file or directory$"),
        ('["false"]', r"^my-vmm: `false` said nothing and ended with status 1$"),
    ]:
        file = tmp_path / "vmm.toml"
        file.write_text(re.sub(r"version = .*", f"version = {text}", GOOD))
        with pytest.raises(VmmError, match=complaint):
            load(str(file)).version()


# ---- command lines ----


def test_the_command_line_of_a_machine() -> None:
    settings = Settings(
        memory=256 << 20,
        cpus=2,
        cpu="x86-64-v2",
        kernel=Path("bzImage"),
        modules=((Path("a,b"), "x"), (Path("c"), "")),
        append="console=ttyS0 quiet",
        drives=(
            DriveSettings(DriveKind.DISK, Path("disk,1"), format="qcow2"),
            DriveSettings(DriveKind.CDROM, Path("cd"), 2),
            DriveSettings(DriveKind.FLOPPY, Path("b"), 1),
        ),
        nic="user",
        rtc="2027-01-01T00:00:00",
        debug_exit=True,
        seed=7,
    )
    words = command(load("qemu").definition, settings)
    text = " ".join(words)
    assert "-m size=256M -smp cpus=2 -cpu Nehalem -kernel bzImage " in text
    assert words[words.index("-initrd") + 1] == "a,,b x,c"
    assert words[words.index("-append") + 1] == "console=ttyS0 quiet"
    assert "file=disk,,1,format=qcow2,if=ide,media=disk,index=0" in text
    assert "file=cd,format=raw,if=ide,media=cdrom,index=2" in text
    assert "file=b,format=raw,if=floppy,index=1" in text
    assert "-nic user" in text
    assert "-boot" not in words
    assert "-rtc base=2027-01-01T00:00:00,clock=vm" in text
    assert " -no-reboot -device isa-debug-exit" in text
    assert "seed" not in text
    assert lacks(load("qemu").definition, settings) == []


def test_a_network_that_serves_files() -> None:
    settings = Settings(memory=64 << 20, nic="user", tftp=(("a", Path("/media/1")),), bootfile="a")
    words = command(load("qemu").definition, settings, Path("/tmp/x,y"))
    assert words[words.index("-nic") + 1] == "user,tftp=/tmp/x,,y,bootfile=a,model=ne2k_pci,restrict=on"
    assert "--nic=user,tftp=/tmp/x,,y,bootfile=a" in command(load("bringup").definition, settings, Path("/tmp/x,y"))
    assert lacks(load("qemu").definition, settings) == lacks(load("bringup").definition, settings) == []
    definition = load("qemu").definition
    other = structs.replace(definition, options={**definition.options, "nic": ("-nic", "user")})
    assert lacks(other, settings) == ["files by TFTP ({nic} in options.nic)"]
    assert lacks(other, replace(settings, tftp=())) == []


def test_a_machine_that_starts_from_drives() -> None:
    drives = (DriveSettings(DriveKind.CDROM, Path("cd"), 2),)
    order = (BootDevice.CDROM, BootDevice.DISK, BootDevice.FLOPPY, BootDevice.NETWORK)
    settings = Settings(memory=64 << 20, drives=drives, boot_order=order, bios_serial=True)
    text = " ".join(command(load("qemu").definition, settings))
    assert "-boot order=dcan -vga std" in text
    assert "-machine graphics=off" in text
    assert "-kernel" not in text


def test_a_vmm_is_given_its_firmware() -> None:
    ours = load("bringup").definition
    assert sorted(ours.firmware) == ["bios", "vgabios"]
    drives = (DriveSettings(DriveKind.FLOPPY, Path("f"), 1),)
    firmware = (("bios", Path("/b")), ("vgabios", Path("/v")))
    settings = Settings(memory=64 << 20, drives=drives, boot_order=(BootDevice.FLOPPY,), firmware=firmware)
    words = command(ours, settings)
    assert words[words.index("--bios=/b") :][:2] == ("--bios=/b", "--vgabios=/v")
    assert "--drive=file=f,format=raw,if=floppy,index=1" in words
    assert "--boot=order=a" in words


def test_what_a_vmm_lacks_for_a_machine() -> None:
    settings = Settings(
        memory=1 << 20,
        cpus=9,
        drives=(DriveSettings(DriveKind.FLOPPY, Path("f")),),
        channels=("serial0", "serial1"),
        debug_exit=True,
    )
    assert lacks(vmm("silent").definition, settings) == [
        "9 vCPUs (at most 1)",
        "to start from a drive, by a BIOS",
        "a floppy",
        "isa-debug-exit",
        "the channel serial1",
        "an option for cpus",
        "an option for floppy",
    ]


def test_values_in_arguments() -> None:
    assert fill("a={file},b={file,,}{{x}}", {"file": "1,2", "x": 3}) == "a=1,2,b=1,,2{3}"
    with pytest.raises(VmmError):
        fill("{other}", {"file": 1})


# ---- bringup vmm check ----


def findings(vmm: LoadedVmm, folder: Path) -> dict[str, tuple[str, str]]:
    run = check.Check(vmm, probe.SmallProbe(folder), Scale())
    good = run.run()
    found = {finding.name: (finding.state.value, finding.text) for finding in run.findings}
    assert good == ("does not work" not in {state for state, _ in found.values()})
    return found


WORKS = {"version", "start", "serial output", "serial input", "debug port", "control", "termination"}
WORKS |= {"power-off", "reset", "debug-exit"}
STARTS: dict[str, tuple[str, ...]] = {"memory": (), "kernel": ()}


def test_our_own_does_what_it_states(tmp_path: Path) -> None:
    found = findings(load("bringup"), tmp_path)
    assert {name for name, (state, _) in found.items() if state == "works"} == WORKS | {
        "guest time",
        "instruction counts",
        "determinism",
    }
    assert found["determinism"][1].startswith("two runs are equal: ")


@QEMU
@pytest.mark.parametrize("name", ["qemu", str(EXAMPLE)])
def test_others_do_what_they_state(name: str, tmp_path: Path) -> None:
    found = findings(load(name), tmp_path)
    assert {name for name, (state, _) in found.items() if state == "works"} == WORKS
    assert {name for name, (state, _) in found.items() if state == "not offered"} == {
        "guest time",
        "instruction counts",
        "determinism",
    }


@QEMU
def test_what_is_missing_is_said_in_words(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without a control socket and statuses nothing tells a reset from a power-off."""
    file = tmp_path / "poor.toml"
    text = re.sub(r"\[control\].*?\n\n", "", GOOD, flags=re.DOTALL)
    text = re.sub(r"\[channels.debug\].*?\n\n", "", text, flags=re.DOTALL).replace("{here}", str(EXAMPLE.parent))
    file.write_text(text)
    assert main(["vmm", "check", str(file)]) == 1
    out, err = capfd.readouterr()
    assert "debug port         not offered   [channels.debug] is missing: what guests say on port E9h is lost" in out
    assert "control            not offered   [control] is missing: no registers in bundles, endings by" in out
    assert (
        "reset              does not work its guest reset the machine, which ended it, and that looks like exit, "
        'status 0: a [control] socket tells, or [statuses] with `0 = "reset"`' in out
    )
    assert err == "bringup: my-vmm: power-off, reset: stated and does not work\n"


@pytest.mark.parametrize(
    ("stand_in", "name", "complaint"),
    [
        (vmm("silent"), "start", "the file does not offer an option for kernel"),
        (vmm("silent", options=STARTS), "serial output", r"serial0: 0.5 host seconds .*; the VMM said: nothing"),
        (vmm("dies", options=STARTS), "serial output", r"serial0: the machine ended \(fake: giving up, status 1\) .*"),
        (vmm("x", command=("no-such-vmm",), options=STARTS), "start", "the VMM cannot be started: no-such-vmm: .*"),
    ],
)  # fmt: skip
def test_vmms_that_do_not_do_what_they_state(
    stand_in: LoadedVmm, name: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "READY", Limit(host=0.5))
    found = findings(stand_in, tmp_path)
    assert list(found) == [*(["version", "start"] if name != "start" else ["version"]), name]
    assert found[name][0] == "does not work"
    assert re.fullmatch(complaint, found[name][1], re.DOTALL)


def test_the_small_guest_is_a_multiboot_kernel() -> None:
    image = probe.small_image()
    words = [int.from_bytes(image[at : at + 4], "little") for at in range(0, 32, 4)]
    assert words[0] == 0x1BADB002
    assert sum(words[:3]) & 0xFFFF_FFFF == 0
    assert image[image.index(0xBE) + 1 :][:4] == (probe.BASE + image.index(probe.HELLO)).to_bytes(4, "little")


def test_a_vmm_for_which_there_is_no_guest(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "vmm.toml"
    file.write_text(GOOD.replace('boot = ["linux", "multiboot"]', 'boot = ["bios"]'))
    assert main(["vmm", "check", str(file)]) == 1
    assert capfd.readouterr().err == "bringup: my-vmm: capabilities.boot: the check needs `multiboot` or `linux`\n"


def test_the_list(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    loader._version.cache_clear()
    assert main(["vmm", "list"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("bringup    bringup, its hypervisor on its software processor  bringup ")
    assert lines[1].endswith("not here: qemu: qemu-system-x86_64: No such file or directory")
    loader._version.cache_clear()
