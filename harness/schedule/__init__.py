"""Who may run when: machines of all workers share the host's processors and memory."""
