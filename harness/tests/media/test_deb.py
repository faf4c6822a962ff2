"""Packages taken apart without dpkg, and in the order of their versions."""

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from bringup.harness.media.debian.deb import open_file
from bringup.harness.media.debian.version import key
from bringup.harness.media.store import MediaError, WrongContentError

from .test_mirror import deb

FILES = {"bin/a": b"first", "bin/b": b"second" * 10_000}


@pytest.mark.parametrize("member", ["data.tar.xz", "data.tar"])
def test_a_file_of_a_package(tmp_path: Path, member: str) -> None:
    path = tmp_path / "a.deb"
    path.write_bytes(deb(FILES, member))
    with open_file(path, "bin/b") as (name, content):
        assert (name, content.read()) == ("bin/b", FILES["bin/b"])
    with open_file(path, "bin/*") as (name, content):
        assert (name, content.read()) == ("bin/a", b"first")


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg on this system")
@pytest.mark.parametrize("compression", ["xz", "gzip", "none"])
def test_a_package_of_dpkgs(tmp_path: Path, compression: str) -> None:
    (tmp_path / "tree" / "DEBIAN").mkdir(parents=True)
    control = "Package: a\nVersion: 1\nArchitecture: all\nMaintainer: n\nDescription: d\n"
    (tmp_path / "tree" / "DEBIAN" / "control").write_text(control)
    (tmp_path / "tree" / "file").write_bytes(b"x" * 100_001)
    (tmp_path / "tree" / "link").symlink_to("file")
    command = ["dpkg-deb", "--build", f"-Z{compression}", str(tmp_path / "tree"), str(tmp_path / "a.deb")]
    subprocess.run(command, check=True, capture_output=True)
    with open_file(tmp_path / "a.deb", "*") as (name, content):
        assert (name, content.read()) == ("file", b"x" * 100_001)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be unpacked: it is no ar archive"),
        (b"!<arch>\n", "cannot be unpacked: it has no data.tar"),
        (b"!<arch>\nshort", "cannot be unpacked: a header of the ar archive is damaged"),
        (deb(FILES).replace(b"`\n", b"xx"), "a header of the ar archive is damaged"),
        (deb(FILES)[:-40], "cannot be unpacked: "),
        (deb(FILES).replace(b"\xfd7zXZ", b"\xfd7zXX"), "cannot be unpacked: "),
        (deb(FILES, "data.tar.zst"), "data.tar.zst is compressed in a way that is not known here"),
        (deb({"other": b""}), "holds no file bin/b"),
    ],
)
def test_what_is_no_package(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.deb"
    path.write_bytes(content)
    with pytest.raises(WrongContentError, match=message), open_file(path, "bin/b") as (_, file):
        file.read()


def test_no_package(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="No such file"), open_file(tmp_path / "a.deb", "*"):
        pass


VERSIONS = ["0.9", "1.0~~", "1.0~rc1", "1.0", "1.0-0.1", "1.0-1", "1.0-1+b1", "1.0a", "1.0+dfsg", "1.0.1", "1.1", "1.9",
            "1.10~a-1", "1.10", "2-1-1", "2-1-2", "10", "1:0.1", "1:0.1+deb12u1", "1:0.1+deb12u10"]  # fmt: skip


def test_versions_in_order() -> None:
    assert sorted(set(VERSIONS), key=key) == VERSIONS


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="no dpkg on this system")
def test_versions_in_dpkgs_order() -> None:
    script = "\n".join(
        f"dpkg --compare-versions {a} lt {b} && echo lt || echo ge" for a, b in itertools.pairwise(VERSIONS)
    )
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"lt"}
