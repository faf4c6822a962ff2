"""What vCPUs do: each behaviour on each VMM is a test of its own, and many share a machine."""

from __future__ import annotations

import time

import pytest

from bringup.conformance.cpu import deviations
from bringup.conformance.cpu.catalogue import names
from bringup.conformance.cpu.results import Verdict
from bringup.conformance.cpu.runner import Runner
from bringup.harness.outcome import Blame, Outcome
from bringup.harness.records.schema import End, Start
from bringup.harness.session import Session
from bringup.harness.vmms.loader import LoadedVmm

RUNNERS = pytest.StashKey[dict[str, Runner]]()
OUTCOMES = {
    Verdict.PASSED: Outcome.PASSED,
    Verdict.FAILED: Outcome.FAILED,
    Verdict.SKIPPED: Outcome.SKIPPED,
    Verdict.DIED: Outcome.DIED,
}


@pytest.fixture
def runner(request: pytest.FixtureRequest, bringup_session: Session, vmm: LoadedVmm) -> Runner:
    """This worker's for the VMM."""
    if "multiboot" not in vmm.definition.capabilities.boot:
        pytest.skip(f"{vmm.name} does not offer boot by multiboot")
    if (absent := vmm.missing()) is not None:
        pytest.skip(f"{vmm.name} needs {absent}")
    deviations.check(vmm)
    runners = request.config.stash.setdefault(RUNNERS, {})
    return runners.setdefault(vmm.name, Runner(vmm, bringup_session.scale))


@pytest.mark.vmms
@pytest.mark.parametrize("name", names())
def test_behaviour(name: str, runner: Runner, bringup_session: Session, vmm: LoadedVmm) -> None:
    """As the Intel SDM and the data sheets have it."""
    bringup_session.attempts += 1
    attempt = f"{bringup_session.worker}-{bringup_session.attempts:04}-{name}-{vmm.name}"
    began = Start(
        run=bringup_session.run,
        at=time.time(),
        attempt=attempt,
        history=f"behaviour/cpu32/{name}/{vmm.name}",
        kind="behaviour",
        guest="cpu32",
        test=name,
        vmm=vmm.name,
        worker=bringup_session.worker,
        repeat=f"bringup vcpu --vmm={vmm.asked} --run={name}",
    )
    bringup_session.records.write(began)
    with bringup_session.reserve(1, 64 << 20):
        result = runner.result(name)
    good = result.verdict in (Verdict.PASSED, Verdict.SKIPPED)
    known = None if good else deviations.known(vmm, name)
    ended = End(
        run=bringup_session.run,
        at=time.time(),
        attempt=attempt,
        outcome=OUTCOMES[result.verdict],
        blame=Blame.NOBODY if good else Blame.VMM,
        title=result.why,
        expected=known.where if known else "",
    )
    bringup_session.records.write(ended)
    if result.verdict is Verdict.SKIPPED:
        pytest.skip(result.why)
    if known is not None:
        pytest.xfail(f"{known.where}: {known.reason} ({result.why})")
    assert result.verdict is Verdict.PASSED, f"{result.verdict.value}: {result.why}"
