"""Settings of all tests here; a VMM that is a stand-in, and a guest for it."""

from __future__ import annotations

import re
import sys
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from standins import bzimage

settings.register_profile(  # the same examples in every run, however loaded the host is
    "harness",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("harness")

FAKE = Path(__file__).with_name("fake_machine.py")
GUEST = """\
title = "What the stand-in plays"
release = "1"
architecture = "x86_64"
tier = 1
tags = ["shell"]
limit = { guest = 60 }

[machine]
memory = "64M"
kernel = "kernel"

[media.kernel]
kind = "path"
file = "kernel"
licence = "Apache-2.0"
source = "a test"

[console.main]
shell = { prompt = "bringup# " }

[[ladder]]
id = "kernel"
text = "Linux version 6.1"

[[ladder]]
id = "init"
text = "bringup: init"

[[ladder]]
id = "power-off"
steps = [{ wait = "bringup# " }, { type = "poweroff -f" }]
text = "reboot: Power down"
ending = true

[[death]]
title = "panic: {0}"
pattern = "Kernel panic - not syncing: (.{1,200})"
"""


def write_vmm(path: Path) -> None:
    """A VMM's file, called like the VMM: the stand-in, which speaks the turns protocol and nothing else."""
    text = (resources.files("bringup.harness.vmms") / "bringup.toml").read_text()
    text = re.sub(r"^command = .*$", f'command = ["{sys.executable}", "{FAKE}"]', text, flags=re.MULTILINE)
    text = text.replace('"-m", "bringup.harness"', f'"{FAKE}"').replace('name = "bringup"', f'name = "{path.stem}"')
    path.write_text(re.sub(r"^\[control\]\n(.+\n)+", "", text, flags=re.MULTILINE))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The current folder: empty, but for a VMM `fake.toml`, a guest `tiny.toml`, and media that are none."""
    monkeypatch.chdir(tmp_path)
    write_vmm(Path("fake.toml"))
    Path("tiny.toml").write_text(GUEST)
    for medium in ("kernel", "initrd"):
        Path(medium).write_bytes(bzimage() + medium.encode())
    return tmp_path
