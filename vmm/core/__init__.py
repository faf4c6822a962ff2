"""The core in C: a software VT-x processor, the hypervisor on it, and the chips of the PC board."""
