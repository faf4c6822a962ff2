"""Files out of Debian packages, through the machine's apt client.

Packages are downloaded and read, never installed. apt works in a folder of its own ($XDG_CACHE_HOME/bringup/apt/),
so that it needs no privileges, leaves the system's state alone and works where `apt-get update` never ran. The
archive's signed index states each package's sha256; apt checks the signature, and we check the sum once more.

BRINGUP_APT_SOURCES names a sources.list(5) file, `.list` or `.sources`, to use in place of the machine's own entries.
"""

import os
import re
import shlex
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from platform import freedesktop_os_release
from typing import IO, Any
from urllib.parse import quote

from bringup.guests.definition import DebianPackage
from bringup.harness.media import sources
from bringup.harness.media.progress import Progress
from bringup.harness.media.store import (
    MediaError,
    MediaMissing,
    Medium,
    Provenance,
    Store,
    WrongContentError,
    disk_errors,
    file_sha256,
)

STALE = 24 * 3600
"""Seconds after which an index is fetched anew before a package is looked up in it."""

_UNSIGNED = re.compile("not signed|NO_PUBKEY|EXPKEYSIG|REVKEYSIG|BADSIG|signatures? (?:was|were|couldn't be|is|are)")
_WRONG = re.compile(rf"Hash Sum mismatch|unexpected size|{_UNSIGNED.pattern}")
"""apt's words for content that is there and is not what it should be."""

# What the machine's configuration may hold that does not belong here, and how strict we are.
_CONFIGURATION = """\
#clear APT::Architectures;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Acquire::Languages "none";
Acquire::AllowInsecureRepositories "false";
APT::Get::AllowUnauthenticated "false";
APT::Update::Error-Mode "any"; // without it, an archive that cannot be reached is a warning
APT::Sandbox::User "root"; // as root: the user _apt could not write into our folder
"""


@dataclass(frozen=True)
class Package:
    """A package as the archive's index states it."""

    name: str
    version: str
    sha256: str
    depends: str
    architecture: str

    @classmethod
    def parse(cls, record: str) -> "Package":
        """From one paragraph of the index; MediaError when it lacks a field."""
        fields = dict(re.findall(r"^([A-Za-z0-9-]+):[ \t]*(.*)$", record, re.MULTILINE))
        try:
            return cls(
                fields["Package"],
                fields["Version"],
                fields["SHA256"],
                fields.get("Depends", ""),
                fields["Architecture"],
            )
        except KeyError as error:
            raise MediaError(f"the archive's index states no {error.args[0]} in {record[:40]!r}") from None

    def stands_for(self) -> str | None:
        """The package that a metapackage is there to bring: its one dependency, of an exact version."""
        match = re.fullmatch(r"([a-z0-9][a-z0-9+.-]+)(?::any)? \(= [^)]+\)", self.depends)
        return match[1] if match else None


class Archive:
    """A Debian release for one architecture as apt sees it from a state folder of its own. Not for two processes at
    a time."""

    def __init__(self, release: str, architecture: str, folder: Path, progress: Progress) -> None:
        self.release, self.architecture, self.folder = release, architecture, folder.absolute()
        self.progress = progress
        self._prepare()

    def update(self) -> None:
        """Fetches the index. A suite of updates whose index cannot be had, such as one that its mirror is changing
        just now, is done without, until the next time, and that is said; a wrong signature is an error."""
        command, what = ["apt-get", "update"], f"the index of Debian {self.release}"
        try:
            self._apt(command, what)
        except MediaError as error:
            entries = self._entries()
            alone = {name: text for name in entries if (text := sources.alone(entries[name], self.release))}
            if _UNSIGNED.search(str(error)) or not alone or alone == entries:
                raise
            self._write(alone)
            self._apt(command, what)
            self.progress.note(f"{error}; without its updates")
        self._stamp.touch()

    def is_stale(self) -> bool:
        """Is there no index, or an old one?"""
        return not self._stamp.exists() or not 0 <= time.time() - self._stamp.stat().st_mtime < STALE

    def package(self, name: str) -> Package:
        """The newest version of this package, or of the one that it stands for."""
        package = Package.parse(self._apt(["apt-cache", "show", "--no-all-versions", name], f"package {name}"))
        real = package.stands_for()
        return package if real is None else self.package(real)

    def download(self, package: Package, folder: Path) -> Path:
        """Downloads a package into an empty folder; WrongContentError when it is not what the index states."""
        what = f"{package.name} {package.version}"
        self._apt(["apt-get", "download", f"{package.name}={package.version}"], what, folder)
        [path] = folder.glob("*.deb")
        with disk_errors(what):
            found = file_sha256(path)
        if found != package.sha256:
            raise WrongContentError(f"{what}: sha256 is {found}, not {package.sha256} as the archive's index states")
        return path

    @property
    def _stamp(self) -> Path:
        return self.folder / "updated"

    def _prepare(self) -> None:
        """Lays out the folder; other sources than last time make the index stale."""
        entries = _sources(self.release)
        with disk_errors(f"preparing {self.folder}"):
            for name in ("state/lists/partial", "cache/archives/partial", "sources", "empty"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            (self.folder / "status").touch()
            (self.folder / "apt.conf").write_text(_CONFIGURATION)
            if self._entries() != entries:
                self._write(entries)

    def _entries(self) -> dict[str, str]:
        """The source files that apt is told of: name to text."""
        return {path.name: path.read_text() for path in (self.folder / "sources").iterdir()}

    def _write(self, entries: Mapping[str, str]) -> None:
        self._stamp.unlink(missing_ok=True)
        for path in (self.folder / "sources").iterdir():
            path.unlink()
        for name, text in entries.items():
            (self.folder / "sources" / name).write_text(text)

    def _apt(self, command: Sequence[str], what: str, cwd: Path | None = None) -> str:
        """Runs one of apt's programs and returns its output; MediaError with apt's own first error."""
        options = {
            "Dir::State": self.folder / "state",
            "Dir::State::status": self.folder / "status",
            "Dir::Cache": self.folder / "cache",
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": self.folder / "sources",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": self.folder / "empty",
            "APT::Architecture": self.architecture,
        }
        arguments = [f"--option={name}={value}" for name, value in options.items()]
        arguments.append(f"--config-file={self.folder / 'apt.conf'}")
        with disk_errors(what), tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            reading, writing = os.pipe()
            with os.fdopen(reading) as status:
                arguments.append(f"--option=APT::Status-Fd={writing}")
                try:
                    process = _start(
                        [command[0], *arguments, *command[1:]],
                        stdout=output,
                        stderr=errors,
                        pass_fds=[writing],
                        cwd=cwd,
                    )
                finally:
                    os.close(writing)
                with process:
                    for line in status:
                        if match := re.match(r"dlstatus:\d+:([0-9.]+):", line):
                            self.progress.update(what, float(match[1]))
            output.seek(0)
            errors.seek(0)
            if process.returncode != 0:
                lines = errors.read().splitlines()
                reasons = [line.removeprefix("E: ") for line in lines if line.startswith("E: ")]
                reason = " ".join((reasons or lines or ["apt failed"])[0].split())
                raise (WrongContentError if _WRONG.search(reason) else MediaMissing)(f"{what}: {reason}")
            return output.read()


def name_of(wanted: DebianPackage) -> str:
    """What the file is called in the store."""
    return "/".join(("debian", wanted.release, wanted.architecture, wanted.package, quote(wanted.file, safe="")))


def fetch(
    wanted: DebianPackage, store: Store, progress: Progress, *, refresh: bool = False, offline: bool = False
) -> Medium:
    """The file: out of the store when it has ever been fetched, without any network; else, or to `refresh` it, from
    the archive unless `offline`.

    Raises MediaMissing: no apt, no source for the release, no such package, download cut off; MediaError: disk full;
    WrongContentError: a wrong hash or signature.
    """
    name = name_of(wanted)
    if (not refresh or offline) and (medium := store.lookup(name)):
        return medium
    if offline:
        raise MediaMissing(f"Debian package {wanted.package}: was never fetched, and offline nothing is")
    system = f"{wanted.release}-{wanted.architecture}"
    with store.lock(f"debian-{system}"):
        if not refresh and (medium := store.lookup(name)):
            return medium  # another process was fetching it
        archive = Archive(wanted.release, wanted.architecture, store.root / "apt" / system, progress)
        medium = _download(wanted, store, archive, refresh)
        store.bind(name, medium)
    return medium


def _download(wanted: DebianPackage, store: Store, archive: Archive, refresh: bool) -> Medium:
    fresh = refresh or archive.is_stale()
    if fresh:
        archive.update()
    try:
        return _take(wanted, store, archive)
    except MediaError:
        if fresh:
            raise
    archive.update()  # the archive may have moved on since its index was fetched
    return _take(wanted, store, archive)


def _take(wanted: DebianPackage, store: Store, archive: Archive) -> Medium:
    package = archive.package(wanted.package)
    with disk_errors(f"downloading {package.name}"), tempfile.TemporaryDirectory(dir=archive.folder) as folder:
        deb = archive.download(package, Path(folder))
        with _open_file(deb, wanted.file) as (name, content):
            provenance = Provenance(
                name=name,
                origin=f"Debian package {package.name} {package.version} {package.architecture} ({wanted.release})",
                licence=wanted.licence,
                container=package.sha256,
            )
            return store.add(iter(lambda: content.read(1 << 20), b""), provenance)


@contextmanager
def _open_file(deb: Path, pattern: str) -> Iterator[tuple[str, IO[bytes]]]:
    """The first regular file of a package whose path matches `pattern`: its path and its content."""
    with _start(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                for member in tar:
                    name = member.name.removeprefix("./")
                    if member.isreg() and fnmatchcase(name, pattern) and (content := tar.extractfile(member)):
                        yield name, content
                        return
        except tarfile.TarError as error:
            raise MediaError(f"{deb.name} cannot be unpacked: {error}") from error
        finally:
            process.kill()  # the rest of the package is of no interest
    raise MediaError(f"{deb.name} holds no file {pattern}")


def _start(command: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    """Starts one of the Debian tools, speaking English; MediaError when the system has it not."""
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"}, **options)
    except FileNotFoundError:
        package = {"dpkg-deb": "dpkg"}.get(command[0], "apt")
        raise MediaMissing(
            f"no {command[0]} on this system; Debian: apt-get install {package}; Fedora: dnf install {package}"
        ) from None


def _sources(release: str) -> dict[str, str]:
    """The source files for this release: name to text."""
    if named := os.environ.get("BRINGUP_APT_SOURCES"):
        with disk_errors("BRINGUP_APT_SOURCES"):
            return {f"named{Path(named).suffix}": Path(named).read_text()}
    query = ["apt-config", "shell", "list", "Dir::Etc::sourcelist/f", "parts", "Dir::Etc::sourceparts/d"]
    with _start(query, stdout=subprocess.PIPE) as process:
        answer = process.communicate()[0].decode()
    assigned = dict(word.partition("=")[::2] for word in shlex.split(answer))
    entries = {}
    with disk_errors("the machine's apt sources"):
        system = freedesktop_os_release()
        own = system.get("VERSION_CODENAME", "") if system.get("ID") == "debian" else ""
        parts = sorted(Path(assigned["parts"]).glob("*")) if "parts" in assigned else []
        for path in [Path(assigned.get("list", os.devnull)), *parts]:
            translate = {".list": sources.one_line, ".sources": sources.deb822}.get(path.suffix)
            if translate and path.is_file() and (text := translate(path.read_text(), own, release)):
                entries[path.name] = text
    if not entries:
        raise MediaMissing(
            f"no source of Debian {release} among this machine's apt sources; "
            "name a sources.list(5) file that has one in BRINGUP_APT_SOURCES"
        )
    return entries
