"""The hypervisor: one machine is one operating-system process."""
