"""What a user runs against any VMM: boot, cpu, devices, lifecycle, stress and perf."""
