"""VM exits: the ring of the last ones, and how often each reason came."""

from __future__ import annotations

from ..machine import Machine, VmExit


def line(exit_: VmExit) -> str:
    """One VM exit."""
    vcpu = f" CPU#{exit_.vcpu}" if exit_.vcpu else ""
    return (
        f"exit at {exit_.retired}{vcpu}: {exit_.name} ({exit_.reason & 0xFFFF}), "
        f"qualification {exit_.qualification:#x}, RIP {exit_.rip:#x}"
    )


def last(machine: Machine, most: int = 256) -> str:
    """The last exits, oldest first."""
    return "\n".join(map(line, machine.last_exits(most)))


def counts(machine: Machine) -> str:
    """`NAME COUNT` a line, most frequent first."""
    ranked = sorted(machine.exits().items(), key=lambda item: -item[1])
    return "\n".join(f"{machine.exit_name(reason)} {count}" for reason, count in ranked)
