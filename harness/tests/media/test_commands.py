"""`bringup media` and `bringup guests`, as a user types them."""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bringup.guests.definition import Guest
from bringup.guests.loader import load, names
from bringup.harness.cli import main
from bringup.harness.media.prune import prune
from bringup.harness.media.store import Provenance, Store

from .test_resolve import BUSYBOX, KERNEL, write

if TYPE_CHECKING:
    from .conftest import Server

Run = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def guest(tmp_path: Path, server: "Server", monkeypatch: pytest.MonkeyPatch) -> Guest:
    server.files["/kernel"] = KERNEL
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BRINGUP_GUESTS", str(tmp_path / "guests"))
    monkeypatch.setenv("BRINGUP_MEDIA", str(tmp_path / "mine"))
    monkeypatch.delenv("BRINGUP_OFFLINE", raising=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "busybox").write_bytes(BUSYBOX)
    return write(tmp_path, server)


@pytest.fixture
def run(guest: Guest, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the command, with GUEST in place of the guest's file."""

    def run(*words: str) -> tuple[int, list[str], str]:
        try:
            status = main([str(tmp_path / "my.toml") if word == "GUEST" else word for word in words])
        except SystemExit as ending:
            status = int(str(ending.code))
        output = capfd.readouterr()
        return status, output.out.splitlines(), output.err

    return run


def test_list_before_and_after_a_fetch(run: Run, tmp_path: Path) -> None:
    status, lines, _ = run("media", "list", "GUEST")
    assert status == 0
    assert [line.split()[:3] for line in lines[1:5]] == [
        ["my", "kernel", "missing"], ["my", "busybox", "there"], ["my", "init", "there"], ["my", "initrd", "missing"],
    ]  # fmt: skip
    assert "5.9 KiB" in lines[1] and "MIT" in lines[1] and lines[1].endswith("/kernel (a server)")
    assert lines[4].endswith("recipe linux-initrd of busybox, init")
    assert lines[-1] == f"to fetch what is missing: bringup media fetch {tmp_path / 'my.toml'}"
    assert lines[5].startswith("2 of 4 there, ")

    status, lines, _ = run("media", "fetch", "GUEST")
    assert status == 0
    assert [line.split()[:2] for line in lines] == [["guest", "role"], ["my", "kernel"], ["my", "initrd"]]
    status, lines, _ = run("media", "list", "GUEST", "--check")
    assert status == 0
    assert [line.split()[2] for line in lines[1:5]] == ["there"] * 4
    assert lines[5] == f"4 of 4 there, 20.3 KiB in {tmp_path}/cache/bringup"


def test_list_tells_of_damage_and_of_halves(run: Run, tmp_path: Path, server: "Server") -> None:
    partial = tmp_path / "cache" / "bringup" / "partial"
    partial.mkdir(parents=True)
    (partial / "x").touch()
    run("media", "fetch", "GUEST")
    content = tmp_path / "cache" / "bringup" / "content"
    [kernel] = [path for path in content.iterdir() if path.suffix == "" and path.read_bytes() == KERNEL]
    kernel.chmod(0o644)
    kernel.write_bytes(b"damaged")
    assert run("media", "list", "GUEST")[0] == 0
    status, lines, _ = run("media", "list", "GUEST", "--check")
    assert status == 1
    assert lines[1].split()[2:4] == ["wrong", "content"]
    assert "sha256 is" in lines[1]
    kernel.unlink()
    (partial / kernel.name).write_bytes(KERNEL[:3000])
    _, lines, _ = run("media", "list", "GUEST")
    assert lines[1].split()[2:4] == ["partly", "there"]
    assert lines[1].endswith(": 50 %")


def test_list_of_all_that_ship(run: Run) -> None:
    status, lines, _ = run("media", "list")
    assert status == 0
    assert {line.split()[0] for line in lines[1:-2]} == {name for name in names() if load(name).imitation is None}


def test_a_fetch_of_what_cannot_be_had(run: Run, server: "Server") -> None:
    server.files.clear()
    status, lines, error = run("media", "fetch", "GUEST")
    assert (status, lines) == (3, [])
    assert error.splitlines()[-1].startswith("bringup: my: kernel: http")
    assert error.endswith("404 Not Found\n")
    status, lines, error = run("media", "fetch", "GUEST", "--offline")
    assert (status, lines, error) == (3, [], "bringup: my: kernel: was never fetched, and offline nothing is\n")
    server.files["/kernel"] = b"other" * 1200
    status, lines, error = run("media", "fetch", "GUEST", "GUEST")
    assert (status, lines) == (1, [])
    assert "sha256 is" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["media"], "bringup media: the following arguments are required: COMMAND"),
        (["media", "fetch"], "bringup media fetch: name guests, or --all"),
        (["media", "fetch", "--all", "GUEST"], "bringup media fetch: name guests, or --all"),
        (["media", "fetch", "amiga"], "bringup media fetch: argument GUEST: guest 'amiga' is not known; known are"),
        (["media", "fetch", "GUEST", "--media", "x"], "argument --media: 'x' is not ROLE=FILE"),
        (["media", "prune", "--older-than", "-1"], "argument --older-than: '-1' is no number of days"),
        (["media", "prune", "--older-than", "x"], "argument --older-than: 'x' is no number of days"),
        (
            ["guests", "linux-debian12-clud"],
            "guest 'linux-debian12-clud' is not known, did you mean 'linux-debian12-cloud'",
        ),
        (["guests", "amiga"], "bringup guests: argument GUEST: guest 'amiga' is not known; known are"),
    ],
)
def test_wrong_usage(run: Run, words: list[str], message: str) -> None:
    status, lines, error = run(*words)
    assert (status, lines, error.count("\n")) == (2, [], 1)
    assert message in error


def test_guests(run: Run) -> None:
    status, lines, _ = run("guests")
    assert status == 0
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert sorted(listed) == [name for name in names() if load(name).imitation is None]
    assert listed.index("9front") > listed.index("linux-debian12") > listed.index("gnumach")
    assert lines[lines.index("Plan 9") + 1].startswith("  9front ")
    assert "missing: kernel, busybox, initrd" in "".join(line for line in lines if "linux-debian12-cloud" in line)
    _, lines, _ = run("guests", "--tag", "installer")
    installers = ["debian12-installer-amd64", "debian12-installer-i386", "linux-debian12-bios"]
    assert [line.split()[0] for line in lines[1:]] == ["Linux", *installers]


@pytest.mark.parametrize("name", names())
def test_a_guest_in_full(run: Run, name: str) -> None:
    status, lines, _ = run("guests", name)
    assert status == 0
    assert lines[0].startswith(f"{name}: ")
    assert "ladder" in lines and any(" host seconds, " in line for line in lines)
    assert sum("/" + death.pattern in line for line in lines for death in load(name).deaths) == 0
    _, lines, _ = run("guests", "--deaths", name)
    for death in load(name).deaths:
        assert any(f"/{death.pattern}/" in line for line in lines)  # patterns are shown as they are


# ---- prune ----


def test_prune_frees_what_nothing_names(run: Run, tmp_path: Path) -> None:
    store = Store(tmp_path / "cache" / "bringup")
    about = Provenance("n", "o", "0BSD")
    store.bind("a", store.add([b"x" * (1 << 20)], about))
    store.bind("a", store.add([b"y" * (1 << 20)], about))
    del store
    status, lines, _ = run("media", "prune", "--dry-run")
    assert status == 0
    assert len(lines) == 3
    assert lines[1].split()[1:] == ["1.0", "MiB", "nothing", "names", "it"]
    assert lines[2] == f"would free 1.0 MiB in {tmp_path}/cache/bringup"
    _, lines, _ = run("media", "prune")
    assert lines[-1] == f"freed 1.0 MiB in {tmp_path}/cache/bringup"
    _, lines, _ = run("media", "prune")
    assert lines == [f"freed 0.0 KiB in {tmp_path}/cache/bringup"]
    medium = Store(tmp_path / "cache" / "bringup").lookup("a")
    assert medium is not None and medium.path.read_bytes()[:1] == b"y"


def age(path: Path, days: float) -> None:
    then = time.time() - days * 86400
    os.utime(path, (then, then))


def test_prune_by_age(tmp_path: Path) -> None:
    store = Store(tmp_path)
    about = Provenance("n", "o", "0BSD")
    old, new = store.add([b"old"], about), store.add([b"new"], about)
    store.bind("old", old)
    store.bind("new", new)
    store = Store(tmp_path)
    age(old.path, 10)
    assert prune(store, days=11).items == []
    assert [why for _, _, why in prune(store, days=9, dry_run=True).items] == ["not used for 10 days"]
    assert store.lookup("old") is not None  # which is a use
    store = Store(tmp_path)
    assert prune(store, days=9).items == []
    age(old.path, 10)
    prune(store, days=9)
    assert (store.lookup("old"), list(store.names())) == (None, ["new"])
    assert store.lookup("new") == new


def test_prune_leaves_what_is_in_use(tmp_path: Path) -> None:
    mine, other = Store(tmp_path), Store(tmp_path)
    medium = mine.add([b"x"], Provenance("n", "o", "0BSD"))
    age(medium.path, 10)
    assert prune(other, days=1).in_use == [f"content/{medium.sha256}"]
    assert medium.path.exists()
    del mine
    assert len(prune(other, days=1).items) == 1
    assert not medium.path.exists()
    assert other.add([b"x"], Provenance("n", "o", "0BSD")).path.exists()


def test_prune_of_leftovers_and_partial_downloads(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for folder in ("temporary", "partial"):
        (tmp_path / folder).mkdir()
        for name in ("dead", "alive"):
            (tmp_path / folder / name).write_bytes(b"12345")
            age(tmp_path / folder / name, 2)
    with (
        (tmp_path / "temporary" / "alive").open() as file,
        store.lock("download-alive"),
        store.temporary_folder() as working,
    ):
        (working / "package").write_bytes(b"1")
        age(working, 2)
        fcntl.flock(file, fcntl.LOCK_SH)
        pruned = prune(store)
        assert [path for path, _, _ in pruned.items] == ["temporary/dead"]
        pruned = prune(store, days=1)
        assert [path for path, _, _ in pruned.items] == ["partial/dead"]
        assert sorted(pruned.in_use) == ["partial/alive", "temporary/alive", f"temporary/{working.name}"]
        assert (working / "package").exists()
    assert prune(Store(tmp_path), days=3).items == [("temporary/alive", 5, "left by a killed run")]


def test_prune_of_indexes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name in ("old", "fresh", "used"):
        (tmp_path / "apt" / name / "state").mkdir(parents=True)
        (tmp_path / "apt" / name / "state" / "index").write_bytes(b"12345")
        (tmp_path / "apt" / name / "updated").touch()
        age(tmp_path / "apt" / name / "updated", 0 if name == "fresh" else 2)
    with store.lock("debian-used"):
        pruned = prune(store)
    assert pruned.items == [("apt/old", 5, "an index older than a day")]
    assert pruned.in_use == ["apt/used"]
    assert sorted(path.name for path in (tmp_path / "apt").iterdir()) == ["fresh", "used"]


def test_prune_of_nothing(tmp_path: Path) -> None:
    assert prune(Store(tmp_path / "none")).items == []
