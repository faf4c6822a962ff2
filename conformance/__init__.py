"""What a user runs against any VMM, by theme. So far: perf."""
