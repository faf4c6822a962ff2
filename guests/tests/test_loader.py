"""Guests' data files: those that ship load, and a wrong one is named by file, line and key."""

import re
from pathlib import Path

import pytest

from bringup.guests.definition import Derived
from bringup.guests.loader import GuestError, by_tag, load, load_file, names

GOOD = """\
title = "A guest"
release = "1"
architecture = "i386"
tier = 1
tags = ["linux"]
limit = { guest = 9 }

[machine]
memory = "64M"
kernel = "kernel"
append = "console=ttyS0"

[media.kernel]
kind = "debian"
package = "linux-image-cloud-amd64"
release = "bookworm"
file = "boot/vmlinuz-*"
licence = "GPL-2.0-only"

[media.image]
kind = "recipe"
recipe = "iso"
inputs = ["kernel"]

[console.main]

[[ladder]]
id = "kernel"
text = "Linux version"

[[ladder]]
id = "shell"
steps = [
    { wait = "# " },
    { type = "uname -a" },
]
text = "GNU/Linux"

[[death]]
title = "Panic: {0}"
pattern = "panic: (.{1,80})"

[[expected_failure]]
vmm = "qemu*"
rung = "shell"
reference = "docs"
reason = "a reason"
until = 2030-01-01
"""


def write(folder: Path, text: str, name: str = "a.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", names())
def test_every_guest_that_ships_loads(name: str) -> None:
    guest = load(name)
    assert guest.name == name
    assert guest.deaths
    assert re.fullmatch("[0-9a-f]{64}", guest.sha256)
    for medium in guest.definition.media.values():
        assert isinstance(medium, Derived) or medium.licence


@pytest.mark.parametrize("name", by_tag("shell"))
def test_guests_with_a_shell_climb_to_power_off(name: str) -> None:
    definition = load(name).definition
    assert [rung.id for rung in definition.ladder][:3] == ["kernel", "init", "shell"]
    assert definition.ladder[-1].ending


def test_the_values_arrive(tmp_path: Path) -> None:
    guest = load_file(write(tmp_path, GOOD))
    definition = guest.definition
    assert (guest.name, guest.family, guest.about.title) == ("a", "", "A guest")
    assert (definition.machine.memory, definition.limit.guest, definition.console["main"].channel) == (
        "64M", 9, "serial0",
    )  # fmt: skip
    assert [(rung.id, [step.type for step in rung.steps], rung.text) for rung in definition.ladder] == [
        ("kernel", [], "Linux version"),
        ("shell", [None, "uname -a"], "GNU/Linux"),
    ]
    assert guest.deaths[0].title_of(["no \x1b[1mroot\n  here"]) == "Panic: no [1mroot here"


def test_what_starts_from_a_drive_dies_of_its_firmware_too(tmp_path: Path) -> None:
    text = GOOD.replace('kernel = "kernel"\nappend = "console=ttyS0"', 'drives = [{ kind = "disk", media = "image" }]')
    titles = [death.title for death in load_file(write(tmp_path, text)).deaths]
    assert titles[0] == "Panic: {0}"
    assert "SeaBIOS: no bootable device" in titles
    assert "SeaBIOS: no bootable device" not in [death.title for death in load_file(write(tmp_path, GOOD)).deaths]


def test_drives_find_their_places(tmp_path: Path) -> None:
    drives = ["disk", "cdrom", "floppy", "cdrom:2", "disk", "floppy:0"]
    each = (kind.partition(":") for kind in drives)
    array = ", ".join(
        f'{{ kind = "{kind}", media = "image"{f", index = {index}" if index else ""} }}' for kind, _, index in each
    )
    text = GOOD.replace('kernel = "kernel"\nappend = "console=ttyS0"', f"drives = [{array}]")
    machine = load_file(write(tmp_path, text)).definition.machine
    assert machine.places() == (0, 3, 1, 2, 1, 0)
    assert [device.value for device in machine.starts_from] == ["disk", "cdrom", "floppy"]
    text = text.replace("[machine]\n", '[machine]\nnic = "user"\nboot_order = ["network", "cdrom"]\n')
    machine = load_file(write(tmp_path, text)).definition.machine
    assert [device.value for device in machine.starts_from] == ["network", "cdrom"]


def test_files_that_the_network_serves(tmp_path: Path) -> None:
    served = 'nic = "user"\ntftp = { "a.ipxe" = "image", b = "kernel" }\nbootfile = "a.ipxe"\n'
    machine = load_file(write(tmp_path, GOOD.replace("[machine]\n", "[machine]\n" + served))).definition.machine
    assert (machine.tftp, machine.bootfile) == ({"a.ipxe": "image", "b": "kernel"}, "a.ipxe")
    assert list(machine.roles())[1:] == [(("tftp", "a.ipxe"), "image"), (("tftp", "b"), "kernel")]


def test_tags_choose_guests() -> None:
    assert "linux-debian12-cloud" in by_tag("linux")
    assert by_tag("amiga") == []


def test_an_unknown_guest_names_the_known_ones() -> None:
    with pytest.raises(GuestError, match=r"guest 'amiga' is not known; known are .*linux-debian12-cloud"):
        load("amiga")


# ---- a user's own file ----


def test_a_file_of_a_family_that_ships(tmp_path: Path) -> None:
    guest = load(str(write(tmp_path, 'family = "linux"\n' + GOOD)))
    assert guest.family == "linux"
    assert guest.deaths[1:] == load("linux-debian12").deaths


def test_a_file_with_a_family_beside_it(tmp_path: Path) -> None:
    (tmp_path / "plan9").mkdir()
    write(tmp_path / "plan9", 'title = "Plan 9"\n[[death]]\ntitle = "x"\npattern = "y"\n', "family.toml")
    path = write(tmp_path / "plan9", GOOD)
    guest = load_file(path)
    assert (guest.family, guest.about.title, len(guest.deaths)) == ("plan9", "Plan 9", 2)
    before = guest.sha256
    write(tmp_path / "plan9", 'title = "Plan 9"\n', "family.toml")
    assert load_file(path).sha256 != before


def test_a_family_file_is_checked_too(tmp_path: Path) -> None:
    write(tmp_path, 'title = "Plan 9"\nchatter = ".*"\n', "family.toml")
    with pytest.raises(GuestError, match=r"/family\.toml:2: chatter: the pattern '\.\*' matches texts of any length"):
        load_file(write(tmp_path, GOOD))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.toml", r"/none\.toml: No such file or directory$"),
        ("A guest.toml", r"/A guest\.toml: a guest's file is called NAME\.toml"),
        ("guest.tml", r"/guest\.tml: a guest's file is called NAME\.toml"),
        (".", "a guest's file is called NAME.toml"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(GuestError, match=message):
        load(f"{tmp_path}/{name}")


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").mkdir()
    with pytest.raises(GuestError, match=r"a\.toml: Is a directory"):
        load_file(tmp_path / "a.toml")


def line(text: str) -> int:
    """Of the first line of GOOD that begins so."""
    return next(number for number, each in enumerate(GOOD.splitlines(), 1) if each.startswith(text))


@pytest.mark.parametrize(
    ("old", "new", "at", "message"),
    [
        ('title = "A guest"', "", 1, "title: is missing"),
        ('title = "A guest"', "title = 7", 1, "title: expected `str`, got `int`"),
        ("tier = 1", "tier = 5", 4, "tier: expected `int` <= 4"),
        ("tier = 1", "tier = true", 4, "tier: expected `int`, got `bool`"),
        ("tier = 1", 'tier = 1\nfamily = "amiga"', 5, "family: 'amiga' is not known; known are .{0,200}linux"),
        ('"i386"', '"arm"', 3, "architecture: invalid enum value 'arm'"),
        ('["linux"]', '["linux", "a b"]', 5, r"tags\[1\]: expected `str` matching"),
        ("guest = 9", "guest = 0", 6, "limit.guest: expected `float` > 0"),
        ("guest = 9", "guests = 9", 6, "limit.guests: is not a key known here"),
        ("guest = 9", 'guest = "9"', 6, r"limit.guest: expected `float \| null`, got `str`"),
        ('"64M"', '"64"', "memory", "machine.memory: expected `str` matching"),
        ('"64M"', '"0M"', "memory", "machine.memory: expected `str` matching"),
        ("[machine]", "[machine]\ncolour = 1", line("[machine]") + 1, "machine.colour: is not a key known here"),
        ("[machine]", "[machine]\nmemory.size = 1\n[mach]", line("[machine]") + 1, "machine.memory: expected `str`"),
        ('kernel = "kernel"\n', "", "[machine]", "machine.kernel: is missing, and so is `drives`"),
        ('kernel = "kernel"\n', 'drives = [{ kind = "disk", media = "image" }]\n', "append",
         "machine.append: goes with a `kernel`"),
        ('kernel = "kernel"\n', 'kernel = "kern"\n', "kernel", r"machine.kernel: there is no \[media.kern\]"),
        ('"console=ttyS0"', '"c"\nprotocol = "multiboot"\nmodules = ["kernel a", "x b"]', line("append") + 2,
         r"machine.modules\[1\]: there is no \[media.x\]"),
        ('"console=ttyS0"', '"c"\nmodules = ["kernel"]', line("append") + 1, "machine.modules: go with `protocol"),
        ('"console=ttyS0"', '"c"\ndrives = [{ kind = "tape", media = "x" }]', line("append") + 1,
         r"machine.drives\[0\].kind: invalid enum value 'tape'"),
        ('"console=ttyS0"', '"c"\ndrives = [{ kind = "cdrom", media = "image", format = "qcow2" }]', line("append") + 1,
         r"machine.drives\[0\].format: a cdrom is raw"),
        ('"console=ttyS0"', '"c"\ndrives = [{ kind = "floppy", media = "image", index = 2 }]', line("append") + 1,
         r"machine.drives\[0\].index: a floppy drive is 0 or 1"),
        ('"console=ttyS0"', '"c"\ndrives = [{ kind = "cdrom", media = "image", index = 0 }, '
         '{ kind = "disk", media = "image", index = 0 }]', line("append") + 1,
         r"machine.drives\[1\].index: 0 is that of another drive"),
        ('"console=ttyS0"', '"c"\ndrives = [' + '{ kind = "floppy", media = "image" }, ' * 3 + "]", line("append") + 1,
         r"machine.drives\[2\]: there is room for 2 of them"),
        ('"console=ttyS0"', '"c"\ndrives = [' + '{ kind = "disk", media = "image" }, ' * 5 + "]", line("append") + 1,
         r"machine.drives\[4\]: there is room for 4 of them"),
        ('"console=ttyS0"', '"c"\nboot_order = ["disk"]', line("append") + 1,
         "machine.boot_order: goes without a `kernel`"),
        ('kernel = "kernel"\nappend = "console=ttyS0"', 'boot_order = ["network"]', line("kernel"),
         "machine.boot_order: `network` goes with a `nic`"),
        ('kernel = "kernel"\nappend = "console=ttyS0"', 'boot_order = ["disk"]', "[machine]",
         "machine.kernel: is missing"),
        ('"console=ttyS0"', '"c"\ntftp = { a = "image" }', line("append") + 1, "machine.tftp: goes with a `nic`"),
        ('"console=ttyS0"', '"c"\nnic = "user"\ntftp = { "a.b" = "x" }', line("append") + 2,
         r"machine.tftp.a.b: there is no \[media.x\]"),
        ('"console=ttyS0"', '"c"\nnic = "user"\ntftp = { "../a" = "image" }', line("append") + 2,
         "machine.tftp.*: expected `str` matching"),
        ('"console=ttyS0"', '"c"\nnic = "user"\ntftp = { a = "image" }\nbootfile = "b"', line("append") + 3,
         "machine.bootfile: 'b' is none of the files of `tftp`"),
        ('"console=ttyS0"', '"c"\nnic = "e1000"', line("append") + 1, "machine.nic: expected `str` matching"),
        ('"boot/vmlinuz-*"', '"/boot/vmlinuz"', "file", "media.kernel.file: expected `str` matching"),
        ('"linux-image-cloud-amd64"', '"-oX=y"', "package", "media.kernel.package: expected `str` matching"),
        ('"bookworm"', '"../x"', line("package") + 1, "media.kernel.release: expected `str` matching"),
        ('kind = "recipe"', 'kind = "magic"', line("recipe") - 1, "media.image.kind: invalid value 'magic'"),
        ('kind = "recipe"', 'kind = "recipe"\nsize = 1', line("recipe"), "media.image.size: is not a key known here"),
        ('recipe = "iso"\n', "", "[media.image]", "media.image.recipe: is missing"),
        ('inputs = ["kernel"]', 'inputs = ["x"]', "inputs", r"media.image.inputs\[0\]: there is no \[media.x\]"),
        ('inputs = ["kernel"]', 'inputs = ["image"]', "inputs", "media.image.inputs: is made from itself"),
        ("[media.image]", '[media."An image"]', "[media.image]", "media.An image: expected `str` matching"),
        ("[console.main]", "[console.main]\nchannel = 'com1'", line("[console") + 1, "console.main.channel: expected"),
        ("[console.main]", "[console.main]\n[console.b]", line("[console") + 1,
         r"console.b.channel: is that of \[console.main\]"),
        ("[console.main]", "[console]", "[console", "console: expected `object` of length >= 1"),
        ("[console.main]", "[x]", line("[console"), "x: is not a key known here"),
        ("[console.main]", "", 1, "console: is missing"),
        ('text = "GNU/Linux"', 'text = "uname"', "text = \"GNU", r"ladder\[1\].text: is found in what is typed"),
        ('text = "GNU/Linux"', 'pattern = "na.{1,9}a"', "text = \"GNU", r"ladder\[1\].pattern: is found in what is"),
        ('text = "GNU/Linux"', 'pattern = "a*"', "text = \"GNU", r"ladder\[1\].pattern: .* matches texts of any"),
        ('text = "GNU/Linux"', 'pattern = "(a"', "text = \"GNU", r"ladder\[1\].pattern: .* does not compile"),
        ('text = "GNU/Linux"', 'text = ""', "text = \"GNU", r"ladder\[1\].text: expected `str` of length >= 1"),
        ('text = "GNU/Linux"', "", line('id = "shell"') - 1, r"ladder\[1\].text: is missing, and so is `pattern`"),
        ('text = "GNU/Linux"', 'text = "a"\npattern = "b"', line("text = \"GNU") + 1,
         r"ladder\[1\].pattern: a rung has `text` or `pattern`, not both"),
        ('id = "shell"', 'id = "kernel"', 'id = "shell"', r"ladder\[1\].id: another rung is called 'kernel'"),
        ('id = "kernel"', 'id = "kernel"\nending = true', line('id = "kernel"') + 1, r"ladder\[0\].ending: only"),
        ('id = "shell"', 'id = "shell"\nconsole = "b"', line('id = "shell"') + 1,
         r"ladder\[1\].console: there is no \[console.b\]"),
        ('id = "shell"', 'id = "shell"\nextra = 1', line('id = "shell"') + 1, r"ladder\[1\].extra: is not a key known"),
        ('id = "shell"', 'id = "shell"\nconsole = "any"\nextra = 1', line('id = "shell"') + 2,
         r"ladder\[1\].extra: is not a key known"),
        ("[console.main]", "[console.main]\n[console.any]\nchannel = 'debug'", line("[console") + 1,
         "console.any: is what a rung calls all of them"),
        ('{ type = "uname -a" }', '{ type = "a", send = "b" }', "    { type", r"ladder\[1\].steps\[1\]: a step is"),
        ('{ type = "uname -a" }', '{ press = "ret" }', "    { type", r"ladder\[1\].steps\[1\].*keyboard goes"),
        ('{ type = "uname -a" }', '{ press = "Ctrl C" }', "    { type", r"ladder\[1\].steps\[1\].press: expected"),
        ('"panic: (.{1,80})"', '"panic: (.*)"', "pattern", r"death\[0\].pattern: .* matches texts of any length"),
        ('"panic: (.{1,80})"', '"panic"', line("[[death]]") + 1, r"death\[0\].title: has a `\{N\}` that is no group"),
        ('rung = "shell"', 'rung = "login"', "rung", r"expected_failure\[0\].rung: there is no rung 'login'"),
        ("2030-01-01", '"soon"', "until", r"expected_failure\[0\].until: invalid RFC3339"),
        ("tier = 1", "tier = ", 4, "Invalid value"),
        ("until = 2030-01-01", "until = [", line("until") + 1, "Invalid value|Unclosed array"),
        ("tier = 1", 'tier = 1\ntitle = "x"', 5, "Cannot overwrite a value"),
        ("A guest", "A \udcff", 1, "is not UTF-8"),
    ],
)  # fmt: skip
def test_wrong_data_is_named_by_file_line_and_key(
    tmp_path: Path, old: str, new: str, at: int | str, message: str
) -> None:
    assert GOOD.count(old) >= 1
    path = tmp_path / "a.toml"
    path.write_bytes(GOOD.replace(old, new, 1).encode(errors="surrogateescape"))
    with pytest.raises(GuestError) as raised:
        load_file(path)
    where, number, what = re.fullmatch(r"(.*a\.toml):(\d+): (.*)", str(raised.value)).groups()  # type: ignore[union-attr]
    assert where == str(path)
    assert re.match(message, what)
    assert int(number) == (at if isinstance(at, int) else line(at))


def test_a_ladder_without_rungs_is_an_error(tmp_path: Path) -> None:
    text = "ladder = []\n" + GOOD[: GOOD.index("[[ladder]]")]
    with pytest.raises(GuestError, match=r"a\.toml:1: ladder: expected `array` of length >= 1"):
        load_file(write(tmp_path, text))
