"""How tests talk to machines: one module a kind of console."""
