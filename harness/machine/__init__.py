"""Machines: VMM processes, started, watched, talked to and ended."""
