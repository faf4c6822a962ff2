"""What is run against any VMM; the tests of its tools are the source tree's own."""

collect_ignore = ["cpu/tests", "kvm_unit_tests/tests", "perf/tests"]
