"""suite.toml, and where images are looked for."""

from pathlib import Path

import pytest

from bringup.conformance.kvm_unit_tests import suite
from bringup.conformance.kvm_unit_tests.suite import SuiteError


def test_rows_for_each_architecture() -> None:
    tests = suite.tests(
        '[defaults]\nmemory = "512M"\n[test.a]\ncpus = 2\n[test.b]\nfile = "c"\narch = ["i386"]\nknown = "why"'
    )
    assert [test.title for test in tests] == ["x86_64/a", "i386/a", "i386/b"]
    assert (tests[0].file, tests[0].cpus, tests[0].cpu, tests[0].memory) == ("a", 2, "max", "512M")
    assert tests[2].image(Path("kut")) == Path("kut/i386/c.flat")
    assert tests[2].known == "why"


def test_the_suite_is_sound() -> None:
    tests = suite.tests()
    assert len({test.title for test in tests}) == len(tests)
    assert all(test.clock in ("virtual", "host") and test.cpus >= 1 and test.seconds > 0 for test in tests)


def test_a_key_that_there_is_not() -> None:
    with pytest.raises(SuiteError, match=r"^suite.toml: test a: there is no key 'smp'$"):
        suite.tests("[defaults]\n[test.a]\nsmp = 2")


def test_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(suite.VARIABLE, raising=False)
    with pytest.raises(SuiteError, match="BRINGUP_KVM_UNIT_TESTS names no folder"):
        suite.folder()
    with pytest.raises(SuiteError, match="has no folder x86_64 or i386"):
        suite.folder(tmp_path)
    (tmp_path / "i386").mkdir()
    assert suite.folder(tmp_path) == tmp_path
    monkeypatch.setenv(suite.VARIABLE, str(tmp_path))
    assert suite.folder() == tmp_path
