"""The interpreter and the host's processor agree, form by form; BRINGUP_ORACLE_ROUNDS is how often each is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from oracle.describe import describe
from oracle.program import Oracle, OracleUnavailable, Report, build
from oracle.report import ATTEMPTS, Review, entries, host_only, opcode_of, read_review, unreached
from oracle.shrink import shrink, size_of

SEED = int(os.environ.get("BRINGUP_ORACLE_SEED", "1"))  # the same cases in every run: others are asked by tox -e oracle
ROUNDS = int(os.environ.get("BRINGUP_ORACLE_ROUNDS", "16"))  # not a time: a busy host would ask other cases
SANITIZE = os.environ.get("BRINGUP_SANITIZE", "0") not in ("", "0")

pytestmark = [
    pytest.mark.skipif(SANITIZE, reason="the sanitizers' shadow memory lies where cases expect nothing"),
    pytest.mark.xdist_group("oracle"),
]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Oracle:
    base = tmp_path_factory.getbasetemp()
    program = (base if worker_id == "master" else base.parent) / "oracle"
    build(program)
    return Oracle(program)


def run(asked: Oracle, seed: int, rounds: int, attempts: int = 0, spoil: bool = False) -> Report:
    try:
        return asked.run(seed, 0, 1, attempts, spoil, rounds)
    except OracleUnavailable as error:
        pytest.skip(f"the host cannot be asked: {error}")


def test_agreement_and_coverage(asked: Oracle) -> None:
    seed = SEED
    report, review = run(asked, seed, ROUNDS, ATTEMPTS), read_review()
    shown = "\n".join(describe(shrink(asked, failure)) for failure in report.failures[:5])
    assert not report.failures, f"seed {seed}: {len(report.failures)} differences\n{shown}"
    assert unreached(report, review) == [], f"seed {seed}"
    assert host_only(report, review) == [], f"seed {seed}"
    assert report.unsteady + report.astray <= 10 + report.cases // 10_000


def test_a_wrong_result_is_found_and_shrunk(asked: Oracle) -> None:
    report = run(asked, 1, 1, spoil=True)
    wrong = {opcode_of(report.forms[failure.test.form]) for failure in report.failures}
    assert wrong == {"00", "01", "02", "03", "04", "05"}
    failure = next(failure for failure in report.failures if failure.test.code[0] == 0x01)
    shrunk = shrink(asked, failure, spoil=True)
    assert size_of(shrunk.test) < size_of(failure.test)
    text = describe(shrunk)
    assert text.startswith(shrunk.code.hex(" "))
    assert "rax: " in text and "host" in text


def test_a_report_without_a_review_fails(asked: Oracle) -> None:
    report = run(asked, 2, 1)
    assert any(" F4" in name for name in unreached(report, Review({}, {})))
    assert any(entry.done for entry in entries(report))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("unreached = []\n", KeyError),
        ('host_only = []\n[[unreached]]\nopcodes = ["F4"]\nwhy = "so"\n', KeyError),
        ('host_only = []\n[[unreached]]\nopcodes = ["F4", "F4"]\nsection = "1"\nwhy = "so"\n', ValueError),
    ],
)
def test_a_review_must_say_why(tmp_path: Path, text: str, error: type[Exception]) -> None:
    path = tmp_path / "review.toml"
    path.write_text(text)
    with pytest.raises(error):
        read_review(path)
