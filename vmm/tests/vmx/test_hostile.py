"""Any values in any components: VM entry succeeds or says why not; the processor neither breaks nor hangs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest
from rootmode import CODE, EPT, FAIL_INVALID, FIELDS, GUEST_SIZE, PAGE, SUCCEED, Root, lib

TIMER = 1 << 6
FAILED = 1 << 31
KEPT = {"pin_based_controls", "preemption_timer_value"}  # what bounds a run
WRITABLE = [name for name, encoding in FIELDS.items() if (encoding >> 10 & 3) != 1 and name not in KEPT]
ADDRESSES = [0, 8, CODE, EPT, GUEST_SIZE, 1 << 32, 1 << 45, 1 << 47, 1 << 52, 2**64 - 1]


def value(chance: random.Random, old: int) -> int:
    match chance.randrange(5):
        case 0:
            return chance.choice(ADDRESSES)
        case 1:
            return chance.getrandbits(64)
        case 2:
            return chance.getrandbits(chance.randrange(1, 64))
        case _:
            return old ^ 1 << chance.randrange(64)


def disturb(root: Root, chance: random.Random) -> None:
    for name in chance.sample(WRITABLE, chance.choice([1, 1, 1, 2, 4, 16])):
        root[name] = value(chance, root[name])
    if chance.randrange(4) == 0:
        entry = EPT + chance.randrange(4) * PAGE + chance.randrange(32) * 8
        root.write(entry, value(chance, root.word(entry)).to_bytes(8, "little"))
    for n in range(16):
        root.registers.gpr[n] = value(chance, root.registers.gpr[n])


@pytest.mark.parametrize("seed", range(8))
def test_any_component(make: Callable[[], Root], seed: int) -> None:
    chance = random.Random(seed)
    root = make().start()
    seen: Counter[str] = Counter()
    for _ in range(250):
        if lib.vmx_ptrst(root.cpu) == 2**64 - 1:  # a VMX abort ended VMX operation
            root.launched = False
            root.vmxon()
        for name in WRITABLE:
            root[name] = 0
        root.map()
        root.write_controls()
        root.write_host()
        root.program("nop", chance.choice(["real", "protected", "long"]))
        root.write(CODE, chance.randbytes(512))
        root["pin_based_controls"] = root.controls(0x48D, TIMER)
        disturb(root, chance)
        for _ in range(4):
            root["preemption_timer_value"] = 200
            count = root.count
            result = (lib.vmx_resume if root.launched else lib.vmx_launch)(root.cpu)
            if result == FAIL_INVALID:
                seen["abort"] += 1
                break
            if result != SUCCEED:
                assert root.error() in (7, 8)
                seen[f"error {root.error()}"] += 1
                break
            reason = root["exit_reason"]
            assert count <= root.count <= count + 200
            if reason & FAILED:
                assert reason & ~FAILED in (33, 34)
                assert root.count == count
                seen["failed entry"] += 1
                break
            root.launched = True
            seen[f"exit {reason}"] += 1
    assert seen["error 7"] and seen["error 8"] and seen["failed entry"], seen
    assert sum(name.startswith("exit") for name in seen) >= 3, seen
