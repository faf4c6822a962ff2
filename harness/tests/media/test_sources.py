"""From the machine's apt sources to those of one Debian release."""

import pytest

from bringup.harness.media.debian.sources import alone, deb822, one_line

MIRROR = "http://mirror.example/debian"


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        (f"deb {MIRROR} trixie main", f"deb [targets=Packages] {MIRROR} bookworm main"),
        (f"deb {MIRROR}/ trixie-updates main contrib", f"deb [targets=Packages] {MIRROR}/ bookworm-updates main"),
        (
            f"deb [signed-by=/a.gpg arch=amd64] {MIRROR}-security bookworm-security main # comment",
            f"deb [signed-by=/a.gpg targets=Packages] {MIRROR}-security bookworm-security main",
        ),
        (f"deb {MIRROR} stable main", f"deb [targets=Packages] {MIRROR} bookworm main"),
        (f"deb {MIRROR} trixie-backports main", None),
        (f"deb {MIRROR} noble main", None),
        (f"deb {MIRROR} trixie stable", None),
        (f"deb-src {MIRROR} trixie main", None),
        (f"# deb {MIRROR} trixie main", None),
        ("deb http://other.example/chrome/deb stable main", None),
        ("deb garbage", None),
        ("", None),
    ],
)
def test_one_line_entries(line: str, entry: str | None) -> None:
    assert one_line(f"{line}\n", "trixie", "bookworm") == (f"{entry}\n" if entry else "")


def test_deb822_entries() -> None:
    text = f"""
# A comment
Types: deb deb-src
URIs: {MIRROR} http://other.example/apt
Architectures: amd64
Suites: trixie trixie-updates
  trixie-backports
Components: main non-free-firmware
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----

Enabled: no
Types: deb
URIs: {MIRROR}
Suites: trixie
Components: main

Types: deb
URIs: http://other.example/docker
Suites: trixie
Components: main
"""
    assert deb822(text, "trixie", "bookworm") == (
        "Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n -----END PGP PUBLIC KEY BLOCK-----\n"
        f"Types: deb\nURIs: {MIRROR}\nSuites: bookworm bookworm-updates\nComponents: main\nTargets: Packages\n"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("deb [a=b] m bookworm main\ndeb [a=b] m bookworm-updates main\n", "deb [a=b] m bookworm main\n"),
        ("deb [a=b] m bookworm-security main\n", ""),
        ("Types: deb\nURIs: m\nSuites: bookworm-security\nComponents: main\n", ""),
        (
            "Types: deb\nURIs: m\nSuites: bookworm bookworm-updates\nComponents: main\n\n"
            "Types: deb\nURIs: s\nSuites: bookworm-security\nComponents: main\n",
            "Types: deb\nURIs: m\nSuites: bookworm\nComponents: main\n",
        ),
    ],
)
def test_the_release_without_its_updates(text: str, expected: str) -> None:
    assert alone(text, "bookworm").rstrip() == expected.rstrip()


def test_a_machine_that_is_not_debian_offers_only_what_it_names() -> None:
    assert one_line(f"deb {MIRROR} noble main\n", "", "bookworm") == ""
    assert one_line(f"deb {MIRROR} bookworm main\n", "", "bookworm") != ""
