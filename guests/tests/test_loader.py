"""Guests' data files: those that ship load, and a wrong one is named by file and key."""

import pytest

from bringup.guests.loader import GuestError, load, names, parse

GOOD = """
title = "A guest"
family = "linux"
[machine]
memory = "64M"
append = "console=ttyS0"
[media.kernel]
package = "linux-image-cloud-amd64"
release = "bookworm"
file = "boot/vmlinuz-*"
licence = "GPL-2.0-only"
[console]
prompt = "# "
budget = 9
[[ladder]]
rung = "kernel"
text = "Linux version"
[[ladder]]
rung = "shell"
type = "uname -a"
text = "GNU/Linux"
"""


@pytest.mark.parametrize("name", names())
def test_every_guest_that_ships_loads(name: str) -> None:
    guest = load(name)
    assert guest.name == name
    assert guest.ladder[-1].name == "power-off"
    assert {"kernel", "busybox"} <= set(guest.media)


def test_the_values_arrive() -> None:
    guest = parse("a", "linux", GOOD)
    assert (guest.memory, guest.append, guest.prompt, guest.budget) == ("64M", "console=ttyS0", "# ", 9)
    assert guest.media["kernel"].file == "boot/vmlinuz-*"
    assert [(rung.name, rung.type, rung.text) for rung in guest.ladder] == [
        ("kernel", None, "Linux version"),
        ("shell", "uname -a", "GNU/Linux"),
    ]


def test_an_unknown_guest_names_the_known_ones() -> None:
    with pytest.raises(GuestError, match=r"guest 'amiga' is not known; known are .*linux-debian12-cloud"):
        load("amiga")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "A guest"', "", "title: is missing"),
        ('title = "A guest"', "title = 7", "title: 7 is not a text"),
        ('family = "linux"', 'family = "plan9"', "family: 'plan9' is not"),
        ('"64M"', '"64"', "machine.memory: '64' is not"),
        ('"64M"', '"0M"', "machine.memory: '0M' is not"),
        ("budget = 9", "budget = 0", "console.budget: 0 is not a positive"),
        ("budget = 9", "budget = true", "console.budget: True is not a positive"),
        ("[machine]", "[machine]\ncolour = 1", "machine.colour: is not a key known here"),
        ("[machine]", "[mach]", "machine: is missing"),
        ("[console]", "console = 3\n[other]", "console: is missing|not a table|known here"),
        ('"boot/vmlinuz-*"', '"/boot/vmlinuz"', "media.kernel.file: '/boot/vmlinuz' begins with a slash"),
        ('"linux-image-cloud-amd64"', '"-oX=y"', "media.kernel.package: '-oX=y' is not"),
        ('"bookworm"', '"../x"', "media.kernel.release: '../x' is not"),
        ('text = "GNU/Linux"', 'text = "uname"', r"ladder\[1\].text: is found in what is typed"),
        ('text = "GNU/Linux"', 'text = ""', r"ladder\[1\].text: '' is not"),
        ('rung = "shell"', 'rung = "shell"\nextra = 1', r"ladder\[1\].extra: is not a key known here"),
        ("budget = 9", "budget = ", "Invalid value"),
    ],
)
def test_wrong_data_is_named_by_file_and_key(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(GuestError, match=rf"^guest linux/a\.toml: .*({message})"):
        parse("a", "linux", GOOD.replace(old, new))


def test_a_ladder_without_rungs_is_an_error() -> None:
    with pytest.raises(GuestError, match="ladder: is not a list of tables"):
        parse(
            "a",
            "linux",
            'ladder = []\ntitle = "A"\n' + GOOD[: GOOD.index("[[ladder]]")].replace('title = "A guest"', ""),
        )
