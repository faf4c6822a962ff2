"""Files out of Debian packages, from a small archive made here: apt itself fetches, checks and refuses."""

import hashlib
import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from bringup.guests.definition import DebianPackage
from bringup.harness.media.debian import apt
from bringup.harness.media.debian import fetch as debian
from bringup.harness.media.debian.package import Package
from bringup.harness.media.progress import Progress, Silent
from bringup.harness.media.store import MediaError, MediaMissing, Medium, Store, WrongContentError

from .conftest import Server as HttpServer
from .test_mirror import Archive as SignedArchive

pytestmark = pytest.mark.skipif(
    shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None, reason="no apt on this system"
)


def wanted(package: str, file: str, architecture: str = "amd64") -> DebianPackage:
    return DebianPackage(package=package, release="bookworm", architecture=architecture, file=file, licence="0BSD")


def fetch(
    wanted: DebianPackage, store: Store, progress: Progress | None = None, refresh: bool = False, offline: bool = False
) -> Medium:
    return debian.fetch(wanted, store, progress or Silent(), refresh=refresh, offline=offline)


WANTED = wanted("linux-image-test-amd64", "boot/vmlinuz-*")
KERNEL = b"a kernel\n" * 50_000


class Repository:
    """A flat Debian archive in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.paragraphs: dict[str, str] = {}

    def add(self, name: str, version: str = "1.0", depends: str = "", files: dict[str, bytes] | None = None) -> Path:
        """Builds a package into the archive."""
        tree = self.folder.parent / "tree"
        control = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: none\nDescription: none\n"
        control += f"Depends: {depends}\n" if depends else ""
        for path, content in {"DEBIAN/control": control.encode(), **(files or {})}.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(content)
        deb = self.folder / f"{name}_{version}_amd64.deb"
        subprocess.run(["dpkg-deb", "--build", "-Znone", tree, deb], check=True, capture_output=True)
        shutil.rmtree(tree)
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        self.paragraphs[name] = f"{control}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n"
        self.index()
        return deb

    def index(self) -> None:
        """Writes the index as the packages now stand."""
        packages = "\n".join(self.paragraphs.values()).encode()
        (self.folder / "Packages").write_bytes(packages)
        digest = hashlib.sha256(packages).hexdigest()
        (self.folder / "Release").write_text(f"Suite: bookworm\nSHA256:\n {digest} {len(packages)} Packages\n")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """An archive with a kernel and its metapackage, as the only one that apt is told of."""
    repository = Repository(tmp_path / "archive")
    repository.add("linux-image-test-amd64", depends="linux-image-6.1-test-amd64 (= 1.0)")
    repository.add("linux-image-6.1-test-amd64", depends="kmod", files={"boot/vmlinuz-6.1": KERNEL, "boot/map": b""})
    tell(monkeypatch, tmp_path, f"file:{repository.folder}")
    return repository


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "a cache")


def tell(monkeypatch: pytest.MonkeyPatch, folder: Path, uri: str, options: str = "[trusted=yes] ") -> None:
    """Makes `uri` apt's only archive."""
    (folder / "test.list").write_text(f"deb {options}{uri} ./\n")
    monkeypatch.setenv("BRINGUP_APT_SOURCES", str(folder / "test.list"))


class FileServer(http.server.ThreadingHTTPServer):
    """Serves a folder; of a path in `cut` only the first half; counts what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cut, self.asked = folder, set[str](), list[str]()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    """GET only."""

    server: FileServer

    def do_GET(self) -> None:
        name = Path(self.path).name
        self.server.asked.append(name)
        path = self.server.folder / name
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if name in self.server.cut else data)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def mirror(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """The archive over HTTP."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with FileServer(repository.folder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        tell(monkeypatch, tmp_path, f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()
        thread.join()


def nothing_stored(store: Store) -> bool:
    return not any(
        path.is_file() for kind in ("content", "names", "temporary") for path in (store.root / kind).rglob("*")
    )


def test_a_metapackage_brings_the_kernel(repository: Repository, store: Store) -> None:
    medium = fetch(WANTED, store)
    assert medium.path.read_bytes() == KERNEL
    assert medium.sha256 == hashlib.sha256(KERNEL).hexdigest()
    assert medium.provenance.name == "boot/vmlinuz-6.1"
    assert medium.provenance.origin == "Debian package linux-image-6.1-test-amd64 1.0 amd64 (bookworm)"
    assert medium.provenance.container in repository.paragraphs["linux-image-6.1-test-amd64"]


def test_what_was_fetched_needs_neither_network_nor_apt(
    repository: Repository, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    medium = fetch(WANTED, store)
    shutil.rmtree(repository.folder)
    monkeypatch.setenv("PATH", "")
    assert fetch(WANTED, store) == medium
    with pytest.raises(
        MediaMissing, match=r"^no apt-get on this system: name a mirror of Debian by --mirror or BRINGUP_MIRROR"
    ):
        fetch(WANTED, store, refresh=True)


def test_a_refresh_brings_the_newer_version(repository: Repository, store: Store) -> None:
    fetch(WANTED, store)
    repository.add("linux-image-6.1-test-amd64", "1.1", files={"boot/vmlinuz-6.1": b"newer"})
    assert fetch(WANTED, store).path.read_bytes() == KERNEL
    assert fetch(WANTED, store, refresh=True).path.read_bytes() == b"newer"
    assert fetch(WANTED, store).path.read_bytes() == b"newer"


def test_an_archive_that_moved_on_since_its_index_was_fetched(
    repository: Repository, mirror: FileServer, store: Store
) -> None:
    fetch(WANTED, store)
    other = wanted("other", "file")
    repository.add("other", files={"file": b"1"})
    assert fetch(other, store).path.read_bytes() == b"1"


def test_a_package_of_wrong_hash(repository: Repository, mirror: FileServer, store: Store) -> None:
    deb = repository.folder / "linux-image-6.1-test-amd64_1.0_amd64.deb"
    deb.write_bytes(deb.read_bytes().replace(b"a kernel", b"A kernel"))
    with pytest.raises(WrongContentError, match=r"^linux-image-6.1-test-amd64 1.0: .*Hash Sum mismatch[^\n]*$"):
        fetch(WANTED, store)
    assert nothing_stored(store)


def test_our_own_check_of_the_hash(repository: Repository, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    parse, wrong = Package.parse, "0" * 64
    monkeypatch.setattr(Package, "parse", lambda record: replace(parse(record), sha256=wrong))
    with pytest.raises(
        WrongContentError, match=rf"sha256 is [0-9a-f]{{64}}, not {wrong} as the archive's index states"
    ):
        fetch(WANTED, store)
    assert nothing_stored(store)


def test_a_download_that_is_cut_off(mirror: FileServer, store: Store) -> None:
    mirror.cut.add("linux-image-6.1-test-amd64_1.0_amd64.deb")
    with pytest.raises(MediaMissing, match=r"^linux-image-6.1-test-amd64 1.0: Failed to fetch http[^\n]*$"):
        fetch(WANTED, store)
    assert nothing_stored(store)
    mirror.cut.clear()
    assert fetch(WANTED, store).path.read_bytes() == KERNEL


def test_an_index_that_is_not_signed_is_refused(
    repository: Repository, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(monkeypatch, tmp_path, f"file:{repository.folder}", options="")
    with pytest.raises(WrongContentError, match=r"^the index of Debian bookworm: .*is not signed"):
        fetch(WANTED, store)
    assert nothing_stored(store)


def test_an_archive_that_is_not_there(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, tmp_path, f"file:{tmp_path}/none")
    with pytest.raises(MediaMissing, match=r"^the index of Debian bookworm: "):
        fetch(WANTED, store)


@pytest.mark.parametrize(
    ("package", "file", "message"),
    [
        ("no-such-package", "boot/vmlinuz-*", "^package no-such-package: No packages found$"),
        (
            "linux-image-6.1-test-amd64",
            "boot/initrd",
            r"amd64_1.0_amd64.deb holds no file boot/initrd$",
        ),
    ],
)
def test_what_the_archive_has_not(repository: Repository, store: Store, package: str, file: str, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        fetch(wanted(package, file), store)
    assert nothing_stored(store)


def test_many_at_a_time_download_once(mirror: FileServer, store: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        media = list(pool.map(lambda _: fetch(WANTED, store), range(4)))
    assert len(set(media)) == 1
    assert mirror.asked.count("linux-image-6.1-test-amd64_1.0_amd64.deb") == 1


def test_progress_is_told(mirror: FileServer, store: Store) -> None:
    told: dict[str, float] = {}

    class Told(Silent):
        def update(self, what: str, percent: float) -> None:
            told[what] = percent

    fetch(WANTED, store, Told())
    assert told["linux-image-6.1-test-amd64 1.0"] > 0


def test_offline_nothing_is_fetched(mirror: FileServer, store: Store) -> None:
    with pytest.raises(MediaMissing, match=r"^Debian package linux-image-test-amd64: was never fetched, and offline"):
        fetch(WANTED, store, offline=True)
    assert mirror.asked == []
    medium = fetch(WANTED, store)
    asked = len(mirror.asked)
    assert fetch(WANTED, store, offline=True, refresh=True) == medium
    assert len(mirror.asked) == asked


def test_a_machine_without_a_source_of_the_release(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "ubuntu.list").write_text("deb http://archive.example/ubuntu noble main\n")
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/etc/none.list";\nDir::Etc::sourceparts "{tmp_path}/etc";\n'
    )
    monkeypatch.delenv("BRINGUP_APT_SOURCES", raising=False)
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    monkeypatch.setattr(apt, "freedesktop_os_release", lambda: {"ID": "ubuntu", "VERSION_CODENAME": "noble"})
    with pytest.raises(MediaMissing, match=r"^no source of Debian bookworm .* in BRINGUP_APT_SOURCES$"):
        fetch(WANTED, store)


def test_the_machines_own_sources_are_used(
    repository: Repository, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    pool = tmp_path / "debian" / "dists" / "bookworm" / "main" / "binary-amd64"
    pool.mkdir(parents=True)
    for deb in repository.folder.glob("*.deb"):
        shutil.copy(deb, tmp_path / "debian")
    packages = (repository.folder / "Packages").read_bytes()
    (pool / "Packages").write_bytes(packages)
    (pool.parents[1] / "Release").write_text(
        "Codename: bookworm\nComponents: main\nArchitectures: amd64\nSHA256:\n"
        f" {hashlib.sha256(packages).hexdigest()} {len(packages)} main/binary-amd64/Packages\n"
    )
    (etc / "debian.sources").write_text(
        f"Types: deb\nURIs: file:{tmp_path}/debian\nSuites: trixie\nComponents: main contrib\nTrusted: yes\n"
    )
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{etc}/none.list";\nDir::Etc::sourceparts "{etc}";\n'
        'APT::Update::Post-Invoke { "exit 1"; };\n'
    )
    monkeypatch.delenv("BRINGUP_APT_SOURCES")
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    monkeypatch.setattr(apt, "freedesktop_os_release", lambda: {"ID": "debian", "VERSION_CODENAME": "trixie"})
    assert fetch(WANTED, store).path.read_bytes() == KERNEL


@pytest.fixture
def signed(server: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SignedArchive:
    """A signed archive that the machine's sources name, with the release and its updates."""
    archive = SignedArchive(server)
    archive.add("linux-image-test-amd64", files={"boot/vmlinuz-6.1": KERNEL})
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "key.gpg").write_bytes(bytes(archive.key.extract_certificate()))
    (etc / "debian.sources").write_text(
        f"Types: deb\nURIs: {server.url('/debian')}\nSuites: bookworm bookworm-updates\nComponents: main\n"
        f"Architectures: amd64\nSigned-By: {etc}/key.gpg\n"
    )
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{etc}/none.list";\nDir::Etc::sourceparts "{etc}";\nAcquire::Retries "0";\n'
        f'Dir::Etc::parts "{etc}/none";\n'  # what this machine's owner has relaxed is not to the point
    )
    monkeypatch.delenv("BRINGUP_APT_SOURCES", raising=False)
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    monkeypatch.setattr(apt, "freedesktop_os_release", lambda: {"ID": "debian", "VERSION_CODENAME": "bookworm"})
    return archive


class Told(Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, line: str) -> None:
        self.notes.append(line)


def test_a_signed_archive_and_its_updates(signed: SignedArchive, store: Store) -> None:
    updates = SignedArchive(signed.server, "bookworm-updates")
    updates.key = signed.key
    updates.add("linux-image-test-amd64", "2.0", files={"boot/vmlinuz-6.1": b"newer"})
    told = Told()
    assert fetch(WANTED, store, told).path.read_bytes() == b"newer"
    assert told.notes == []


def test_updates_that_are_being_changed_are_done_without(signed: SignedArchive, store: Store) -> None:
    updates = SignedArchive(signed.server, "bookworm-updates")
    updates.key, updates.index_size = signed.key, 5
    updates.add("linux-image-test-amd64", "2.0", files={"boot/vmlinuz-6.1": b"newer"})
    told = Told()
    assert fetch(WANTED, store, told).path.read_bytes() == KERNEL
    assert len(told.notes) == 1
    assert re.fullmatch(r"the index of Debian bookworm: Failed to fetch [^\n]*; without its updates", told.notes[0])
    updates.index_size = 0
    updates.publish()
    assert fetch(WANTED, store, told, refresh=True).path.read_bytes() == b"newer"
    assert len(told.notes) == 1


@pytest.mark.parametrize("suite", ["bookworm", "bookworm-updates"])
@pytest.mark.parametrize("what", ["key", "date"])
def test_a_signature_of_another_key_or_time(signed: SignedArchive, store: Store, suite: str, what: str) -> None:
    other = SignedArchive(signed.server, suite)
    if what == "date":
        other.key = signed.key
        other.fields["Valid-Until"] = "Thu, 03 Dec 2020 21:03:35 UTC"
    other.add("linux-image-test-amd64", "3.0", files={"boot/vmlinuz-6.1": b"evil"})
    if suite != "bookworm":
        signed.publish()
    with pytest.raises(WrongContentError, match=r"^the index of Debian bookworm: [^\n]+$"):
        fetch(WANTED, store)
    assert nothing_stored(store)


def test_another_architecture_than_the_machines(signed: SignedArchive, store: Store) -> None:
    other = SignedArchive(signed.server, architecture="i386")
    other.key = signed.key
    other.add("box", files={"box": b"32 bits"})
    updates = SignedArchive(signed.server, "bookworm-updates", architecture="i386")
    updates.key = signed.key
    updates.publish()
    assert fetch(wanted("box", "box", "i386"), store).path.read_bytes() == b"32 bits"


@pytest.mark.parametrize(
    ("depends", "real"),
    [
        ("linux-image-6.1.0-1-amd64 (= 6.1.1-1)", "linux-image-6.1.0-1-amd64"),
        ("linux-image-6.1.0-1-amd64 (>= 6.1)", None),
        ("a (= 1), b (= 1)", None),
        ("a (= 1) | b", None),
        ("", None),
    ],
)
def test_metapackages_are_known_by_their_one_exact_dependency(depends: str, real: str | None) -> None:
    record = f"Package: p\nVersion: 1\nArchitecture: all\nSHA256: 00\nDepends: {depends}\nDescription: d\n Depends: x\n"
    assert Package.parse(record).stands_for() == real


def test_an_index_without_a_hash() -> None:
    with pytest.raises(MediaError, match="states no SHA256"):
        Package.parse("Package: p\nVersion: 1\n")
