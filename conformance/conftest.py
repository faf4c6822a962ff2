"""What is run against any VMM; the tests of its tools are the source tree's own."""

collect_ignore = ["perf/tests", "kvm_unit_tests/tests"]
