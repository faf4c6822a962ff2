"""Speed and memory of a VMM against QEMU TCG: `bringup perf`."""
