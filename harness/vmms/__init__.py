"""VMMs as data: how one is started, where its channels are, what it can do (docs/vmm.md)."""
