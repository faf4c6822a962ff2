"""What vCPUs do: each behaviour on each VMM is a test of its own, and many share a machine."""

from __future__ import annotations

import shlex
import time
from contextlib import suppress
from pathlib import Path

import pytest

from bringup.conformance.cpu import deviations
from bringup.conformance.cpu.catalogue import names
from bringup.conformance.cpu.results import Result, Verdict
from bringup.conformance.cpu.runner import Runner
from bringup.harness import bundle
from bringup.harness.machine.ending import MachineError
from bringup.harness.machine.machine import Machine
from bringup.harness.outcome import Blame, Outcome, fault
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
    if vmm.name not in runners:

        def keep(result: Result, machine: Machine) -> None:
            """The bundle of what nobody knew of."""
            if deviations.known(vmm, result.name) is not None:
                return
            verdict = f"{told(result, vmm)}\nto repeat: {command(result.name, vmm)}\n"
            consoles = {console.channel: console for console in machine.consoles}
            folder = bundle_folder(result.name, vmm, bringup_session)
            with suppress(OSError):  # a full disk: the failure is told all the same, without a folder
                bundle.write(folder, verdict, None, machine, consoles, command(result.name, vmm))

        runners[vmm.name] = Runner(vmm, bringup_session.scale, keep=keep)
    return runners[vmm.name]


def told(result: Result, vmm: LoadedVmm) -> str:
    """What became of a behaviour, in a line."""
    return f"{result.name} on {vmm.name}: {result.verdict.value}: {result.why}"


def command(name: str, vmm: LoadedVmm) -> str:
    """What does it again, from any folder."""
    return shlex.join(["bringup", "vcpu", f"--vmm={vmm.asked}", f"--run={name}"])


def bundle_folder(name: str, vmm: LoadedVmm, session: Session) -> Path:
    """Of a behaviour that has one: many share a machine, so that it is written before the behaviour's own test."""
    return session.folder / f"{session.worker}-{name}-{vmm.name}"


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
        repeat=command(name, vmm),
    )
    bringup_session.records.write(began)
    try:
        with bringup_session.reserve(1, 64 << 20):
            result = runner.result(name)
    except MachineError as error:
        why = fault(Outcome.ERROR, error.blame, str(error))
        bringup_session.records.write(
            End(
                run=bringup_session.run,
                at=time.time(),
                attempt=attempt,
                outcome=why.outcome,
                blame=why.blame,
                title=why.title,
                detail=why.detail,
            )
        )
        raise
    good = result.verdict in (Verdict.PASSED, Verdict.SKIPPED)
    known = None if good else deviations.known(vmm, name)
    kept = bundle_folder(name, vmm, bringup_session)
    ended = End(
        run=bringup_session.run,
        at=time.time(),
        attempt=attempt,
        outcome=OUTCOMES[result.verdict],
        blame=Blame.NOBODY if good else Blame.VMM,
        title=result.why,
        bundle=kept.name if kept.is_dir() else "",
        expected=known.where if known else "",
    )
    bringup_session.records.write(ended)
    if result.verdict is Verdict.SKIPPED:
        pytest.skip(result.why)
    if known is not None:
        pytest.xfail(f"{known.where}: {known.reason} ({result.why})")
    if not good:
        lines = [told(result, vmm), f"to repeat: {command(name, vmm)}"]
        lines += [f"what is known about it: {kept}/"] if ended.bundle else []
        pytest.fail("\n".join(lines), pytrace=False)
