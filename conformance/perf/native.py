"""`python -m bringup.conformance.perf.native`: the guest program's workloads as an ordinary process of the host."""

import argparse
import sys
from collections.abc import Sequence

from bringup.conformance.perf import measure, program, report
from bringup.conformance.perf.figures import Spread
from bringup.harness.errors import HarnessError


def table(runs: int) -> str:
    """Units a CPU second of each workload over so many runs: their median, and in brackets the range."""
    results = [measure.run_native(program.WORKLOADS) for _ in range(runs)]
    rows = [["", "units", "CPU s", "units a second"]]
    for each in program.WORKLOADS:
        seconds = [result.sections[each.name].cpu for result in results]
        rate = Spread.of(each.units / value for value in seconds)
        rows.append([each.title, f"{each.units:,}", f"{Spread.of(seconds).median:.4f}", report.spread(rate)])
    return f"{report.host()}; {runs} runs\n\n{report.aligned(rows)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m bringup.conformance.perf.native")
    parser.add_argument("--runs", type=int, default=9, choices=range(1, 1000), metavar="N", help="1 to 999 (9)")
    options = parser.parse_args(arguments)
    try:
        print(table(options.runs))
    except HarnessError as error:
        print(f"bringup: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
