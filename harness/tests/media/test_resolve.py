"""From a guest's roles to files: packages, downloads, the user's own, and what is made of them."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bringup.guests.definition import Guest
from bringup.guests.loader import load_file
from bringup.harness.media import recipes
from bringup.harness.media.progress import Silent
from bringup.harness.media.recipes import linux_initrd
from bringup.harness.media.resolve import Media
from bringup.harness.media.store import MediaError, MediaMissing, Store, WrongContentError

if TYPE_CHECKING:
    from .conftest import Server

KERNEL, BUSYBOX, INIT = b"kernel" * 1000, b"busybox" * 1000, b"#!/bin/busybox sh\n"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write(folder: Path, server: "Server", more: str = "", recipe: str = "linux-initrd") -> Guest:
    """A guest of every kind of media but packages."""
    (folder / "init").write_bytes(INIT)
    (folder / "my.toml").write_text(
        f"""
title = "A guest"
release = "1"
architecture = "i386"
tier = 3
limit = {{ guest = 1 }}
console.main = {{}}
ladder = [{{ id = "a", text = "b" }}]
[machine]
memory = "64M"
kernel = "kernel"
initrd = "initrd"
[media]
kernel = {{ kind = "url", url = "{server.url("/kernel")}", sha256 = "{sha256(KERNEL)}", size = {len(KERNEL)},
            licence = "MIT", source = "a server" }}
busybox = {{ kind = "path", file = "busybox", sha256 = "{sha256(BUSYBOX)}", licence = "0BSD", source = "its page" }}
init = {{ kind = "path", file = "init", licence = "Apache-2.0", source = "bringup" }}
initrd = {{ kind = "recipe", recipe = "{recipe}", inputs = ["busybox", "init"] {more} }}
""".replace("\n            licence", " licence")
    )
    return load_file(folder / "my.toml")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def guest(tmp_path: Path, server: "Server", monkeypatch: pytest.MonkeyPatch) -> Guest:
    """Whose kernel is on the server and whose busybox in a folder of the user's."""
    server.files["/kernel"] = KERNEL
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "busybox").write_bytes(BUSYBOX)
    monkeypatch.setenv("BRINGUP_MEDIA", f"/none:{tmp_path / 'mine'}")
    (tmp_path / "guest").mkdir()
    return write(tmp_path / "guest", server)


def count_makes(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows with each initrd that is made."""
    made: list[object] = []
    make = linux_initrd.make

    def counted(*given: Any) -> None:
        made.append(given)
        make(*given)

    monkeypatch.setattr(linux_initrd, "make", counted)
    return made


def media(store: Store, offline: bool = False) -> Media:
    return Media(store, offline=offline, progress=Silent())


def test_every_kind(guest: Guest, store: Store, tmp_path: Path) -> None:
    found = media(store).resolve(guest)
    assert list(found) == ["kernel", "initrd"]
    assert found["kernel"].path.read_bytes() == KERNEL
    initrd = found["initrd"]
    assert BUSYBOX in initrd.path.read_bytes()
    assert initrd.sha256 == sha256(initrd.path.read_bytes())
    assert initrd.provenance.licence == "0BSD AND Apache-2.0"
    assert initrd.provenance.origin == "recipe linux-initrd 1 of busybox of its page and init of bringup"
    assert media(store, offline=True).resolve(guest) == found


def test_what_is_made_of_what_was_made_is_from_what_that_was_made_of(
    tmp_path: Path, server: "Server", guest: Guest, store: Store
) -> None:
    """Each source and each licence once."""
    more = (
        ']}\nnote = { kind = "recipe", recipe = "text", parameters = { text = "a" } }\n'
        'cd = { kind = "recipe", recipe = "iso", inputs = ["initrd", "note", "busybox"'
    )
    text = (
        write(tmp_path / "guest", server)
        .text.replace('"init"]', f'"init"{more}]')
        .replace('initrd = "in', 'initrd = "cd" #')
    )
    (tmp_path / "guest" / "my.toml").write_text(text)
    cd = media(store).resolve(load_file(tmp_path / "guest" / "my.toml"))["cd"]
    assert cd.provenance.licence == "0BSD AND Apache-2.0"
    assert cd.provenance.origin == ("recipe iso 1 of busybox of its page and init of bringup and note of recipe text 1")


def test_the_environment_says_offline(guest: Guest, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRINGUP_OFFLINE", "1")
    with pytest.raises(MediaMissing, match=r"^kernel: was never fetched, and offline nothing is$"):
        Media(store, progress=Silent()).resolve(guest)
    monkeypatch.setenv("BRINGUP_OFFLINE", "0")
    Media(store, progress=Silent()).resolve(guest)


def test_a_derived_medium_follows_its_inputs_and_its_recipe(
    guest: Guest, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = count_makes(monkeypatch)
    first = media(store).resolve(guest)["initrd"]
    assert media(store).resolve(guest)["initrd"] == first
    assert len(made) == 1
    (tmp_path / "guest" / "init").write_bytes(INIT + b"# more\n")
    assert media(store).resolve(guest)["initrd"].sha256 != first.sha256
    assert len(made) == 2
    monkeypatch.setattr(linux_initrd, "VERSION", 2)
    media(store).resolve(guest)
    assert len(made) == 3


def test_many_at_a_time_make_it_once(guest: Guest, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = count_makes(monkeypatch)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: Media(Store(store.root), progress=Silent()).resolve(guest), range(4)))
    assert len({each["initrd"].sha256 for each in found}) == 1
    assert len(made) == 1


def test_overrides(guest: Guest, store: Store, tmp_path: Path, server: "Server") -> None:
    (tmp_path / "mine" / "busybox").unlink()
    (tmp_path / "bzImage").write_bytes(b"mine")
    given = {"kernel": tmp_path / "bzImage", "initrd": tmp_path / "guest" / "init"}
    found = media(store).resolve(guest, given)
    assert found["kernel"].path == tmp_path / "bzImage"
    assert found["kernel"].sha256 == sha256(b"mine")
    assert found["kernel"].provenance.origin == f"file {tmp_path / 'bzImage'}"
    assert server.asked == []  # what is replaced is not fetched, nor what it would have been made of
    with pytest.raises(MediaError, match=r"^kernel of my: .*none: No such file") as raised:
        media(store).resolve(guest, {"kernel": tmp_path / "none"})
    assert not isinstance(raised.value, MediaMissing)
    with pytest.raises(MediaError, match=r"^my has no medium 'disk'; it has kernel, busybox, init, initrd$"):
        media(store).resolve(guest, {"disk": tmp_path / "none"})


def test_a_file_that_the_user_has_not(guest: Guest, store: Store, tmp_path: Path) -> None:
    (tmp_path / "mine" / "busybox").unlink()
    with pytest.raises(MediaMissing, match=r"^busybox of my: no busybox beside .* of BRINGUP_MEDIA; its page$"):
        media(store).resolve(guest)


@pytest.mark.parametrize("content", [BUSYBOX[:-1], b"", BUSYBOX + b"x"])
def test_a_file_of_the_users_that_is_another(guest: Guest, store: Store, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mine" / "busybox").write_bytes(content)
    with pytest.raises(WrongContentError, match=rf"^busybox of my: .*mine/busybox: sha256 is {sha256(content)}, not"):
        media(store).resolve(guest)


@pytest.mark.parametrize(
    ("recipe", "more", "message"),
    [
        ("magic", "", rf"^initrd of my: magic: recipe 'magic' is not known; known are {', '.join(recipes.names())}$"),
        (
            "linux-initrd",
            ', parameters = { a = "b" }',
            "^initrd of my: linux-initrd: has no parameter 'a'; it has modules$",
        ),
    ],
)
def test_recipes_that_cannot_be_followed(
    tmp_path: Path, server: "Server", guest: Guest, store: Store, recipe: str, more: str, message: str
) -> None:
    with pytest.raises(MediaError, match=message):
        media(store).resolve(write(tmp_path / "guest", server, more, recipe))
    assert list((store.root / "temporary").iterdir()) == []
