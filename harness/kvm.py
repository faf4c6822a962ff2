"""Is /dev/kvm there, and is it fast? Linux, Documentation/virt/kvm/api.rst.

A host without VT-x or AMD-V may have a /dev/kvm all the same (such as KVM_PVM), which emulates the kernel's half of a
guest at about a million instructions a second: good for small programs, no good for booting systems.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import signal
import struct
import time
from contextlib import ExitStack
from enum import Enum
from pathlib import Path

from bringup.harness.cpuinfo import cpu_flags

DEVICE = Path("/dev/kvm")

_CREATE_VM, _GET_VCPU_MMAP_SIZE, _CREATE_VCPU, _RUN = 0xAE01, 0xAE04, 0xAE41, 0xAE80
_SET_USER_MEMORY_REGION, _SET_REGS = 0x4020AE46, 0x4090AE82
_GET_SREGS, _SET_SREGS, _SREGS_SIZE = 0x8138AE83, 0x4138AE84, 0x138
_EXIT_REASON, _EXIT_HLT = 8, 5  # offset in struct kvm_run; the reason that the program below ends with

_ROUNDS = 50_000
_PROGRAM = bytes.fromhex("6649 75fc f4")  # again: dec ecx; jnz again; hlt
_PAGE = 4096


class Kvm(Enum):
    """What /dev/kvm is worth."""

    NONE = "none"
    CLOSED = "no permission"
    SLOW = "without VT-x or AMD-V"
    HARDWARE = "hardware"

    def __str__(self) -> str:
        return self.value


def kvm_state() -> Kvm:
    """Without running anything: the device, and the processor's flags."""
    if not DEVICE.exists():
        return Kvm.NONE
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return Kvm.CLOSED
    return Kvm.HARDWARE if {"vmx", "svm"} & cpu_flags() else Kvm.SLOW


def measure(seconds: int = 5) -> float:
    """Instructions a second of a loop in real mode under /dev/kvm. OSError: it cannot be used, or did not get through
    the loop in so many seconds."""

    def interrupted(*_: object) -> None:
        """KVM_RUN returns EINTR, and Python would go on with it."""
        raise OSError(f"the loop did not end within {seconds} s")

    with ExitStack() as stack:

        def opened(fd: int) -> int:
            stack.callback(os.close, fd)
            return fd

        kvm = opened(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
        vm = opened(fcntl.ioctl(kvm, _CREATE_VM, 0))
        memory = mmap.mmap(-1, _PAGE)
        memory[: len(_PROGRAM)] = _PROGRAM
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        fcntl.ioctl(vm, _SET_USER_MEMORY_REGION, struct.pack("=IIQQQ", 0, 0, 0, _PAGE, address))
        vcpu = opened(fcntl.ioctl(vm, _CREATE_VCPU, 0))
        run = stack.enter_context(mmap.mmap(vcpu, fcntl.ioctl(kvm, _GET_VCPU_MMAP_SIZE, 0)))
        sregs = bytearray(_SREGS_SIZE)
        fcntl.ioctl(vcpu, _GET_SREGS, sregs)
        struct.pack_into("=QIH", sregs, 0, 0, 0xFFFF, 0)  # CS: base 0, limit, selector 0
        fcntl.ioctl(vcpu, _SET_SREGS, bytes(sregs))
        registers = [0] * 18
        registers[2], registers[16], registers[17] = _ROUNDS, 0, 2  # RCX, RIP, RFLAGS
        fcntl.ioctl(vcpu, _SET_REGS, struct.pack("=18Q", *registers))
        previous = signal.signal(signal.SIGALRM, interrupted)
        stack.callback(signal.signal, signal.SIGALRM, previous)
        signal.alarm(seconds)
        stack.callback(signal.alarm, 0)
        start = time.perf_counter()
        fcntl.ioctl(vcpu, _RUN, 0)
        elapsed = time.perf_counter() - start
        (reason,) = struct.unpack_from("=I", run, _EXIT_REASON)
        if reason != _EXIT_HLT:
            raise OSError(f"KVM_RUN ended with reason {reason}, not with the program's HLT")
    return 2 * _ROUNDS / elapsed
