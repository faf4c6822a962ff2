"""What bringup's interpreter is meant to reach, against what was measured. It informs; nothing fails by it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bringup.conformance.perf.figures import Quantity, Timed

VMM = "bringup"


@dataclass(frozen=True)
class Target:
    """A bound on one figure of one row: `mips`, `ratio` (to QEMU TCG) or `value`."""

    row: str
    figure: str
    bound: float
    at_least: bool

    def verdict(self, value: float) -> str:
        """A sentence."""
        within = value >= self.bound if self.at_least else value <= self.bound
        unit = {"mips": " MIPS", "ratio": " times QEMU's CPU time"}.get(
            self.figure, {"start": " s"}.get(self.row, " MiB")
        )
        short = abs(value - self.bound) / self.bound
        side = "at least" if self.at_least else "at most"
        end = "met" if within else f"missed by {short:.0%}"
        return f"{self.row}: {value:.3g}{unit}, {side} {self.bound:g} wanted: {end}"


TARGETS = (
    Target("boot", "mips", 120, at_least=True),
    Target("boot", "ratio", 5, at_least=False),
    Target("crc", "mips", 150, at_least=True),
    Target("call", "mips", 150, at_least=True),
    Target("movs", "ratio", 1, at_least=False),
    Target("x87", "ratio", 1, at_least=False),
    Target("dma", "ratio", 2, at_least=False),
    Target("start", "value", 0.5, at_least=False),
    Target("memory", "value", 100, at_least=False),
)


def verdicts(timed: Iterable[Timed], quantities: Iterable[Quantity]) -> list[str]:
    """A sentence for each target whose figure was measured."""
    measured: Mapping[tuple[str, str], float | None] = {
        **{(row.name, "mips"): row.mips(VMM) for row in timed if VMM in row.seconds},
        **{(row.name, "ratio"): row.ratio.median for row in timed if row.ratio},
        **{(row.name, "value"): row.values[VMM].median for row in quantities if VMM in row.values},
    }
    figures = ((target, measured.get((target.row, target.figure))) for target in TARGETS)
    return [target.verdict(value) for target, value in figures if value is not None]
