"""A machine that is kept after a failure."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from standins import eventually

from bringup.harness.cli import main
from bringup.harness.records.schema import End
from bringup.harness.records.writer import read_run

PATIENCE = 60.0


def test_a_kept_machine_can_be_attached_to_and_is_gone_at_last(here: Path) -> None:
    guest = Path("tiny.toml")
    guest.write_text(guest.read_text().replace('text = "reboot: Power down"\nending = true', 'text = "never"'))
    command = [sys.executable, "-m", "bringup.harness", "boot", "./tiny.toml", "--vmm=./fake.toml", "--keep-on-failure"]
    environment = {**os.environ, "FAKE": "deaf"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as boot:
        assert boot.stderr is not None
        found = None
        while found is None:
            line = boot.stderr.readline()
            assert line, "it ended without a word about attaching"
            found = re.search(r"^kept: bringup attach (\S+)", line)
        attach = [sys.executable, "-m", "bringup.harness", "attach", found[1]]
        with subprocess.Popen(attach, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as terminal:
            assert terminal.stdin is not None and terminal.stdout is not None
            said = b""
            while b"bringup# " not in said:
                said += os.read(terminal.stdout.fileno(), 4096)
            terminal.stdin.write(b"uname -a\n")
            terminal.stdin.flush()
            while b"x86_64 GNU/Linux" not in said:
                said += os.read(terminal.stdout.fileno(), 4096)
            terminal.stdin.write(b"\x1d")
            terminal.stdin.close()
            assert terminal.wait(PATIENCE) == 0
        boot.send_signal(signal.SIGINT)
        boot.stderr.read()
        assert boot.stdout is not None
        [summary] = [line for line in boot.stdout if line.startswith("tiny on fake: ")]
        assert boot.wait(PATIENCE) == 1
    assert not Path(found[1]).parent.exists()
    [end] = [record for record in read_run(Path("bringup-out/latest")) if isinstance(record, End)]
    assert end.position is not None and f", {end.position.instructions:,} instructions, " in summary


def test_kill_9_of_whoever_holds_a_machine_leaves_nothing(here: Path) -> None:
    guest = Path("tiny.toml")
    guest.write_text(guest.read_text().replace('text = "reboot: Power down"\nending = true', 'text = "never"'))
    command = [sys.executable, "-m", "bringup.harness", "boot", "./tiny.toml", "--vmm=./fake.toml", "--keep-on-failure"]
    environment = {**os.environ, "FAKE": "deaf"}
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as boot:
        assert boot.stderr is not None
        kept = next(line for line in boot.stderr if line.startswith("kept: "))
        folder = Path(kept.split()[3]).parent
        assert folder.is_dir()
        boot.kill()
    assert eventually(lambda: not folder.exists())


def test_nobody_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attach", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err == f"bringup: {tmp_path / 'none'}: No such file or directory\n"
