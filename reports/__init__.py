"""Reads the records that runs leave; imports nothing of `vmm`."""
