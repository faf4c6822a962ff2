"""Records: what is written is read back, and survives what happens to writers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bringup.harness.errors import HarnessError
from bringup.harness.outcome import Blame, Outcome
from bringup.harness.records.schema import End, Finish, Note, Position, Record, RungReached, Start
from bringup.harness.records.writer import SUFFIX, RecordWriter, read, read_run
from bringup.harness.session import is_alive

START = Start(run="r", at=1.0, attempt="a", history="boot/g/ladder/v", kind="boot", guest="g", test="ladder", vmm="v")
RUNG = RungReached(run="r", at=2.0, attempt="a", rung="kernel", index=0, of=2, position=Position(host=0.5, guest_ns=7))
END = End(run="r", at=3.0, attempt="a", outcome=Outcome.DIED, blame=Blame.GUEST, title="panic: oh", depth=1, of=2)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / f"run{SUFFIX}"
    records: list[Record] = [START, RUNG, END]
    with RecordWriter(path) as writer:
        for record in records:
            writer.write(record)
        assert is_alive(tmp_path)
    assert list(read(path)) == [START, RUNG, END]
    assert not is_alive(tmp_path)


def test_a_run_is_all_its_files_by_time(tmp_path: Path) -> None:
    files: dict[str, list[Record]] = {"run": [START, END], "gw0": [RUNG]}
    for worker, records in files.items():
        with RecordWriter(tmp_path / f"{worker}{SUFFIX}") as writer:
            for record in records:
                writer.write(record)
    assert read_run(tmp_path) == [START, RUNG, END]


def test_a_writer_that_was_killed_leaves_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / f"gw0{SUFFIX}"
    program = (
        "import sys, time; from pathlib import Path\n"
        "from bringup.harness.records.schema import Note\n"
        "from bringup.harness.records.writer import RecordWriter\n"
        "w = RecordWriter(Path(sys.argv[1])); w.write(Note(run='r', at=1.0, attempt='a', text='x'))\n"
        "print('written', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"written\n"
        assert is_alive(tmp_path)
        process.send_signal(signal.SIGKILL)
    assert list(read(path)) == [Note(run="r", at=1.0, attempt="a", text="x")]
    assert not is_alive(tmp_path)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b'{"type":"from-the-future","run":"r","at":1}\n', None),
        (b'{"type":"note","run":"r","at":1,"attempt":"a","te', None),
        (b'{"type":"note","run":"r","at":"noon","attempt":"a","text":"x"}\n', r":2: Expected `float`, got `str`"),
        (b'{"type":"note","run":"r"}\n', r":2: .*missing required field `at`"),
        (b"[]\n", r":2: Expected `object`"),
        (b"\xff\xfe\n", r":2: "),
    ],
)
def test_lines_that_are_no_records(tmp_path: Path, line: bytes, error: str | None) -> None:
    path = tmp_path / f"run{SUFFIX}"
    finish = Finish(run="r", at=9.0, status=0)
    with RecordWriter(path) as writer:
        writer.write(START)
    with path.open("ab") as file:
        file.write(line)
    if error is not None:
        with pytest.raises(HarnessError, match=error):
            list(read(path))
        return
    if line.endswith(b"\n"):
        with RecordWriter(path) as writer:
            writer.write(finish)
    expected: list[Record] = [START, finish] if line.endswith(b"\n") else [START]
    assert list(read(path)) == expected


def test_a_full_disk_is_one_line() -> None:
    if not os.access("/dev/full", os.W_OK):
        pytest.fail("/dev/full is missing")
    writer = RecordWriter(Path("/dev/full"))
    with pytest.raises(HarnessError, match=r"^records: /dev/full: No space left on device$"):
        writer.write(START)
    writer.close()
    writer.close()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match=r"^records: .*file/run"):
        RecordWriter(tmp_path / "file" / f"run{SUFFIX}")
