"""Debian packages straight from a mirror: an archive made and signed here, and what somebody in between could do."""

import hashlib
import io
import lzma
import tarfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pysequoia
import pytest

from bringup.guests.definition import DebianPackage
from bringup.harness.media.debian import mirror, release
from bringup.harness.media.debian.deb import open_file
from bringup.harness.media.debian.fetch import Origin, fetch
from bringup.harness.media.progress import Silent
from bringup.harness.media.store import MediaError, MediaMissing, Medium, Store, WrongContentError

if TYPE_CHECKING:
    from .conftest import Server

KERNEL = b"a kernel\n" * 50_000
NOW = datetime.now(UTC)
PACKAGES = "main/binary-amd64/Packages"


def deb(files: Mapping[str, bytes], member: str = "data.tar.xz") -> bytes:
    """A package of these files."""
    tree = io.BytesIO()
    with tarfile.open(fileobj=tree, mode="w:xz" if member.endswith("xz") else "w:") as tar:
        for path, content in files.items():
            about = tarfile.TarInfo(f"./{path}")
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    parts = {"debian-binary": b"2.0\n", "control.tar": b"control", member: tree.getvalue()}
    archive = b"!<arch>\n"
    for name, content in parts.items():
        archive += b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (name.encode(), 0, 0, 0, b"100644", len(content))
        archive += content + b"\n" * (len(content) % 2)
    return archive


class Archive:
    """A Debian archive of one suite on a server."""

    def __init__(
        self, server: "Server", suite: str = "bookworm", root: str = "/debian", architecture: str = "amd64"
    ) -> None:
        self.server, self.suite, self.root, self.architecture = server, suite, root, architecture
        self.key = pysequoia.Tsk.generate("Archive <archive@example>")
        self.paragraphs: dict[str, str] = {}
        self.fields = {
            "Codename": suite,
            "Date": format_datetime(NOW, usegmt=True).replace("GMT", "UTC"),
            "Valid-Until": format_datetime(NOW + timedelta(days=7)),
            "Acquire-By-Hash": "yes",
            "Components": "main",
            "Architectures": architecture,
        }
        self.index_size = 0
        """Bytes to add to the stated size of the index."""

    def add(
        self,
        name: str,
        version: str = "1.0",
        files: Mapping[str, bytes] | None = None,
        depends: str = "",
        filename: str = "",
        **fields: object,
    ) -> str:
        """A package more; its path."""
        content = deb(files or {})
        filename = filename or f"pool/{name}_{version.replace(':', '%3a')}_amd64.deb"
        about: dict[str, object] = {
            "Package": name,
            "Version": version,
            "Architecture": self.architecture,
            "Depends": depends,
            "Filename": filename,
            "Size": len(content),
            "SHA256": hashlib.sha256(content).hexdigest(),
            **fields,
        }
        self.paragraphs[f"{name}={version}"] = "".join(f"{key}: {value}\n" for key, value in about.items())
        path = f"{self.root}/{filename}".replace("%3a", "%253a")
        self.server.files[path] = content
        self.publish()
        return path

    def publish(self, index: bytes | None = None) -> None:
        """Writes and signs the indexes as the packages now stand."""
        plain = "\n".join(self.paragraphs.values()).encode()
        index = lzma.compress(plain) if index is None else index
        digest, base = hashlib.sha256(index).hexdigest(), f"{self.root}/dists/{self.suite}"
        fields = "".join(f"{key}: {value}\n" for key, value in self.fields.items())
        size, folder = len(index) + self.index_size, f"main/binary-{self.architecture}"
        md5 = hashlib.md5(index, usedforsecurity=False).hexdigest()
        sums = f"MD5Sum:\n {md5} {size} {folder}/Packages.xz\nSHA256:\n"
        sums += f" {hashlib.sha256(plain).hexdigest()} {len(plain)} {folder}/Packages\n"
        sums += f" {digest} {size} {folder}/Packages.xz\n"
        self.server.files[f"{base}/{folder}/Packages.xz"] = index
        self.server.files[f"{base}/{folder}/by-hash/SHA256/{digest}"] = index
        self.sign(fields + sums)

    def sign(self, text: str) -> None:
        """Puts this text, signed, in place of InRelease."""
        signed = pysequoia.sign(self.key.signer(), text.encode(), mode=pysequoia.SignatureMode.CLEAR)
        self.server.files[self.signed] = bytes(signed)

    @property
    def signed(self) -> str:
        """The path of InRelease."""
        return f"{self.root}/dists/{self.suite}/InRelease"


@pytest.fixture
def archive(server: "Server") -> Archive:
    """With a kernel and its metapackage."""
    archive = Archive(server)
    archive.add("linux-image-amd64", depends="linux-image-6.1-amd64 (= 1.0)")
    archive.add("linux-image-6.1-amd64", files={"boot/map": b"", "boot/vmlinuz-6.1": KERNEL})
    return archive


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "a store")


class Told(Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, line: str) -> None:
        self.notes.append(line)


def take(
    archive: Archive,
    store: Store,
    package: str = "linux-image-amd64",
    file: str | None = "boot/vmlinuz-*",
    *,
    keys: bytes | None = None,
    mirrors: tuple[str, ...] = (),
    told: Told | None = None,
    refresh: bool = False,
) -> Medium:
    keyring = store.root.parent / "keyring.gpg"
    keyring.write_bytes(bytes(archive.key.extract_certificate()) if keys is None else keys)
    wanted = DebianPackage(package=package, release="bookworm", file=file, licence="0BSD")
    origin = Origin(mirrors or (archive.server.url("/debian/"),), keyring)
    return fetch(wanted, store, told or Silent(), origin=origin, refresh=refresh)


def nothing_stored(store: Store) -> bool:
    return not any(
        path.is_file() for kind in ("content", "names", "temporary") for path in (store.root / kind).rglob("*")
    )


def test_a_metapackage_brings_the_kernel(archive: Archive, store: Store) -> None:
    medium = take(archive, store)
    assert medium.path.read_bytes() == KERNEL
    assert medium.provenance.name == "boot/vmlinuz-6.1"
    assert medium.provenance.origin == "Debian package linux-image-6.1-amd64 1.0 amd64 (bookworm)"
    assert medium.provenance.container in archive.paragraphs["linux-image-6.1-amd64=1.0"]
    assert any("/by-hash/SHA256/" in path for path in archive.server.paths())


def test_a_package_itself(archive: Archive, store: Store) -> None:
    """It is another medium than any of its files."""
    kernel, package = take(archive, store), take(archive, store, file=None)
    with open_file(package.path, "boot/vmlinuz-*") as (_, content):
        assert content.read() == kernel.path.read_bytes() == KERNEL
    assert package.sha256 == package.provenance.container == kernel.provenance.container
    assert package.provenance.name.startswith("linux-image-6.1-amd64") and package.provenance.name.endswith(".deb")
    assert (take(archive, store), take(archive, store, file=None)) == (kernel, package)


def test_an_index_is_fetched_once_a_day_and_only_when_it_changed(archive: Archive, store: Store) -> None:
    take(archive, store)
    archive.add("other", files={"file": b"1"})
    archive.server.asked.clear()
    assert take(archive, store, "other", "file").path.read_bytes() == b"1"  # the archive has moved on
    take(archive, store)
    assert len([path for path in archive.server.paths() if "Packages" in path or "by-hash" in path]) == 1
    archive.server.asked.clear()
    take(archive, store, refresh=True)
    assert [path for path in archive.server.paths() if "by-hash" in path] == []


def test_the_newest_version_of_all_suites(archive: Archive, store: Store) -> None:
    updates = Archive(archive.server, "bookworm-updates")
    security = Archive(archive.server, "bookworm-security", "/debian-security")
    updates.key = security.key = archive.key
    archive.add("busybox", "1:1.9-1", {"file": b"main"})
    updates.add("busybox", "1:1.10~rc1-1", {"file": b"updates"})
    mirrors = (archive.server.url("/debian"), archive.server.url("/debian-security"))
    security.add("other")
    assert take(archive, store, "busybox", "file", mirrors=mirrors).path.read_bytes() == b"updates"
    security.add("busybox", "1:1.10-1", {"file": b"security"})
    assert take(archive, store, "busybox", "file", mirrors=mirrors, refresh=True).path.read_bytes() == b"security"


def test_updates_that_a_mirror_has_not_are_done_without(archive: Archive, store: Store) -> None:
    told = Told()
    take(archive, store, told=told)
    [note] = told.notes
    assert note.startswith("the index of bookworm-updates: http")
    assert note.endswith("/debian/dists/bookworm-updates/InRelease: 404 Not Found; without it")


def test_updates_whose_index_is_being_changed_are_done_without(archive: Archive, store: Store) -> None:
    updates = Archive(archive.server, "bookworm-updates")
    updates.key = archive.key
    updates.index_size = 5
    updates.add("linux-image-6.1-amd64", "2.0", files={"boot/vmlinuz-6.1": b"newer"})
    told = Told()
    assert take(archive, store, told=told).path.read_bytes() == KERNEL
    assert len(told.notes) == 1
    updates.index_size = 0
    updates.publish()
    assert take(archive, store, told=told, refresh=True).path.read_bytes() == b"newer"


def test_updates_of_wrong_signature_are_an_error(archive: Archive, store: Store) -> None:
    Archive(archive.server, "bookworm-updates").publish()  # by a key of its own
    with pytest.raises(WrongContentError, match=r"^the index of bookworm-updates: InRelease is not signed by a key"):
        take(archive, store)


@pytest.mark.parametrize("hashed", [True, False])
def test_an_archive_without_hashed_paths(archive: Archive, store: Store, hashed: bool) -> None:
    if not hashed:
        del archive.fields["Acquire-By-Hash"]
        archive.publish()
    for path in [path for path in archive.server.files if "by-hash" in path]:
        del archive.server.files[path]
    assert take(archive, store).path.read_bytes() == KERNEL


# ---- signatures ----


def damage(archive: Archive, how: str) -> None:
    """What somebody between the archive and us does to InRelease."""
    files, path = archive.server.files, archive.signed
    signed = files[path]
    match how:
        case "changed":
            files[path] = signed.replace(b"Architectures: amd64", b"Architectures: AMD64")
        case "truncated":
            files[path] = signed[: len(signed) // 2]
        case "without signature":
            files[path] = signed.split(b"\n\n", 1)[1].split(b"-----BEGIN PGP SIGNATURE")[0]
        case "signature of another text":
            archive.sign("Codename: bookworm\n")
            other = files[path].split(b"-----BEGIN PGP SIGNATURE")[1]
            files[path] = signed.split(b"-----BEGIN PGP SIGNATURE")[0] + b"-----BEGIN PGP SIGNATURE" + other
        case "unknown key":
            archive.key = pysequoia.Tsk.generate("Mallory <mallory@example>")
            archive.publish()
        case "empty":
            files[path] = b""
        case "no OpenPGP":
            files[path] = b"\x00\xff" * 100


@pytest.mark.parametrize(
    "how",
    ["changed", "truncated", "without signature", "signature of another text", "unknown key", "empty", "no OpenPGP"],
)
def test_a_wrong_signature(archive: Archive, store: Store, how: str) -> None:
    keys = bytes(archive.key.extract_certificate())
    damage(archive, how)
    with pytest.raises(WrongContentError, match=r"^the index of bookworm: InRelease is not signed by [^\n]*$"):
        take(archive, store, keys=keys)
    assert nothing_stored(store)
    assert not any("Packages" in path or "by-hash" in path for path in archive.server.paths())


def test_what_stands_outside_the_signed_text_is_not_read(archive: Archive, store: Store) -> None:
    files, path = archive.server.files, archive.signed
    digest = hashlib.sha256(b"evil").hexdigest()
    sums = f"SHA256:\n {digest} 4 {PACKAGES}.xz\n".encode()
    files[path] = sums + files[path] + sums
    try:
        assert take(archive, store).path.read_bytes() == KERNEL
    except WrongContentError as error:
        assert "not signed" in str(error)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"Valid-Until": format_datetime(NOW - timedelta(hours=1))}, r"InRelease was valid until .*$"),
        ({"Date": format_datetime(NOW + timedelta(days=3))}, r"InRelease is of .*, which is to come by this machine"),
        ({"Date": "soon"}, r"Date is no time: 'soon'$"),
        ({"Valid-Until": "never"}, r"Valid-Until is no time: 'never'$"),
        ({"Date": None}, "InRelease has no Date$"),
        ({"Codename": "buster"}, "InRelease is of buster$"),
        ({"Codename": None}, "InRelease is of no release$"),
    ],
)
def test_a_signed_index_of_another_time_or_suite(
    archive: Archive, store: Store, fields: dict[str, str | None], message: str
) -> None:
    for field, value in fields.items():
        archive.fields.pop(field)
        if value is not None:
            archive.fields[field] = value
    archive.publish()
    with pytest.raises(WrongContentError, match=f"^the index of bookworm: {message}"):
        take(archive, store)
    assert nothing_stored(store)


def test_what_is_kept_is_checked_again(archive: Archive, store: Store) -> None:
    take(archive, store)
    [index] = (store.root / "mirror").rglob("*Packages.xz")
    index.write_bytes(lzma.compress(b"Package: other\nVersion: 1\n"))
    with pytest.raises(MediaError):
        archive.server.files.clear()
        take(archive, store, "other", "file")
    [signed] = (store.root / "mirror").rglob("InRelease")
    signed.write_bytes(b"Codename: bookworm\n")
    with pytest.raises(MediaError):
        take(archive, store, "other", "file")


# ---- hashes ----


def test_an_index_of_wrong_hash(archive: Archive, store: Store) -> None:
    for path in archive.server.files:
        if "by-hash" in path or "Packages" in path:
            archive.server.files[path] = archive.server.files[path][:-1] + b"x"
    with pytest.raises(WrongContentError, match=r"^the index of bookworm: sha256 is .* as the archive's index states$"):
        take(archive, store)


def test_an_index_that_is_no_xz(archive: Archive, store: Store) -> None:
    archive.publish(b"no xz")
    with pytest.raises(WrongContentError, match=r"^the index of bookworm: Packages\.xz is damaged: "):
        take(archive, store)


def test_an_index_that_is_cut_off(archive: Archive, store: Store) -> None:
    archive.publish(lzma.compress(b"Package: a\n" * 100_000)[:-20])
    with pytest.raises(WrongContentError, match=r"Packages\.xz is cut off"):
        take(archive, store)


def test_an_index_that_unpacks_to_too_much(archive: Archive, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "INDEX_MOST", 100)
    with pytest.raises(WrongContentError, match="or unpacks to more than 100 bytes"):
        take(archive, store)


def test_an_inrelease_without_end(archive: Archive, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "SIGNED_MOST", 100)
    with pytest.raises(WrongContentError, match=r"has more than 100 bytes$"):
        take(archive, store)


KERNEL_PATH = "/debian/pool/linux-image-6.1-amd64_1.0_amd64.deb"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.replace(b"control", b"CONTROL"), "sha256 is .* as the archive's index states$"),
        (lambda data: data[:-1], r"has \d+, not \d+ bytes$"),
        (lambda data: data + b"x", r"has more than \d+ bytes$"),
        (lambda data: b"", r"has 0, not \d+ bytes$"),
    ],
)
def test_a_package_of_other_content(archive: Archive, store: Store, change: object, message: str) -> None:
    archive.server.files[KERNEL_PATH] = change(archive.server.files[KERNEL_PATH])  # type: ignore[operator]
    with pytest.raises(WrongContentError, match=f"^linux-image-6.1-amd64 1.0: .*{message}"):
        take(archive, store)
    assert nothing_stored(store)


def test_a_package_that_is_cut_off(archive: Archive, store: Store) -> None:
    archive.server.cut[KERNEL_PATH] = 100
    with pytest.raises(MediaMissing, match=r"^linux-image-6\.1-amd64 1\.0: http.*: the connection ended after 100 of"):
        take(archive, store)
    assert nothing_stored(store)


@pytest.mark.parametrize(
    "filename",
    [
        "../../etc/passwd",
        "pool/../../x",
        "/etc/passwd",
        "pool//x",
        ".",
        "pool/..",
        "pool/x?y",
        "pool/x y",
        "\\x",
        "a/./b",
    ],
)
def test_a_path_that_leads_out_of_the_mirror(archive: Archive, store: Store, filename: str) -> None:
    archive.add("bad", filename=filename)
    archive.server.asked.clear()
    with pytest.raises(WrongContentError, match=r"^bad 1\.0: the archive's index states the path "):
        take(archive, store, "bad", "file")
    assert not any("pool" in path or "etc" in path for path in archive.server.paths())


def test_a_package_in_two_words(archive: Archive, store: Store) -> None:
    archive.add("busybox", "1:1.35", {"bin/busybox": b"box"})
    assert take(archive, store, "busybox", "bin/busybox").path.read_bytes() == b"box"


# ---- what is not there ----


@pytest.mark.parametrize(
    ("package", "file", "kind", "message"),
    [
        ("none", "x", MediaMissing, "^package none: No packages found$"),
        ("linux-image", "x", MediaMissing, "^package linux-image: No packages found$"),
        ("linux-image-amd64", "x", WrongContentError, r"^linux-image-6\.1-amd64\.deb holds no file x$"),
    ],
)
def test_what_the_archive_has_not(
    archive: Archive, store: Store, package: str, file: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        take(archive, store, package, file)


def test_an_architecture_that_the_archive_has_not(archive: Archive, store: Store) -> None:
    wanted = DebianPackage(package="a", release="bookworm", architecture="i386", file="f", licence="0BSD")
    keyring = store.root.parent / "keyring.gpg"
    keyring.write_bytes(bytes(archive.key.extract_certificate()))
    with pytest.raises(MediaMissing, match=r"^the index of bookworm: has no packages for i386$"):
        fetch(wanted, store, Silent(), origin=Origin((archive.server.url("/debian"),), keyring))


def test_a_mirror_that_is_not_there(archive: Archive, store: Store) -> None:
    with pytest.raises(MediaMissing, match=r"^the index of bookworm: http://127\.0\.0\.1:1/.*: Connection refused$"):
        take(archive, store, mirrors=("http://127.0.0.1:1/debian",))
    with pytest.raises(MediaError, match=r"^mirror 'file:///debian': is no http or https address$"):
        take(archive, store, mirrors=("file:///debian",))


def test_keys(archive: Archive, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"", b"no keys", b"\xff" * 99):
        with pytest.raises(MediaError, match=r"keyring\.gpg: is no keyring$"):
            take(archive, store, keys=content)
    wanted = DebianPackage(package="a", release="bookworm", file="f", licence="0BSD")
    origin = (archive.server.url("/debian"),)
    with pytest.raises(MediaError, match=r"^the keys of the archive: /none: No such file"):
        fetch(wanted, store, Silent(), origin=Origin(origin, Path("/none")))
    monkeypatch.setattr(release, "KEYRINGS", ())
    with pytest.raises(MediaMissing, match="--keyring or BRINGUP_KEYRING"):
        fetch(wanted, store, Silent(), origin=Origin(origin, None))


def test_another_architecture_and_packages_for_all(archive: Archive, store: Store) -> None:
    other = Archive(archive.server, "bookworm", "/other", "i386")
    other.key = archive.key
    other.add("box", files={"box": b"32 bits"})
    other.add("data", files={"data": b"any"}, Architecture="all")
    keyring = store.root.parent / "keyring.gpg"
    keyring.write_bytes(bytes(archive.key.extract_certificate()))
    for name, content in (("box", b"32 bits"), ("data", b"any")):
        wanted = DebianPackage(package=name, release="bookworm", architecture="i386", file=name, licence="0BSD")
        medium = fetch(wanted, store, Silent(), origin=Origin((archive.server.url("/other"),), keyring))
        assert medium.path.read_bytes() == content
    assert medium.provenance.origin == "Debian package data 1.0 all (bookworm)"


def test_the_environment_names_mirrors_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRINGUP_MIRROR", "http://a/debian  http://a/debian-security")
    monkeypatch.setenv("BRINGUP_KEYRING", "/keys")
    assert Origin() == Origin(("http://a/debian", "http://a/debian-security"), Path("/keys"))
