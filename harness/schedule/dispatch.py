"""Which pytest-xdist worker gets what, so that a run does not end on its longest guest alone.

xdist's own ways count tests as if all were of one length, and a worker begins a test only when it holds the next one,
too. What is held behind a guest of minutes cannot go to a worker that has nothing left to do.
"""

from __future__ import annotations

from collections.abc import Collection

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController


class LongestFirst(LoadScopeScheduling):
    """Hands out tests one by one in the order of their collection, which is longest first; behind a long one a worker
    holds the shortest that is left. What shares a machine stays together: tests of a class, for each guest and VMM,
    and tests of a function that has no guests, for each VMM."""

    def __init__(
        self, config: pytest.Config, log: Producer | None, pairs: Collection[str], vmms: Collection[str]
    ) -> None:
        """`pairs` and `vmms` are the parts of test ids that name a guest and a VMM, or a VMM alone."""
        super().__init__(config, log)
        self._pairs, self._vmms = pairs, vmms
        self._ranks: dict[str, int] = {}
        self._holds_long: dict[WorkerController, bool] = {}

    def _split_scope(self, nodeid: str) -> str:
        """The unit of work that a test belongs to."""
        path, _, parameters = nodeid.partition("[")
        inside = f"-{parameters.removesuffix(']')}-"
        pair, vmm = (
            max((name for name in names if f"-{name}-" in inside), key=len, default="")
            for names in (self._pairs, self._vmms)
        )
        owner = path.rpartition("::")[0]
        if "::" in owner:
            return f"{owner}[{pair or vmm}]"
        return nodeid if pair or not vmm else f"{path}[{vmm}]"

    def _assign_work_unit(self, node: WorkerController) -> None:
        """The longest unit that is left, or behind a long one the shortest."""
        long = not self._holds_long.get(node, False)
        self._holds_long[node] = long
        unit = (min if long else max)(self.workqueue, key=self._rank)
        self.workqueue.move_to_end(unit, last=False)
        super()._assign_work_unit(node)

    def _rank(self, unit: str) -> int:
        if not self._ranks:
            for rank, nodeid in enumerate(self.collection or ()):
                self._ranks.setdefault(self._split_scope(nodeid), rank)
        return self._ranks[unit]

    def _reschedule(self, node: WorkerController) -> None:
        """Gives a worker what it needs to begin its next test: that, and one more or the news that there is none."""
        if node.shutting_down:
            return
        while self.workqueue and self._pending_of(self.assigned_work[node]) < 2:
            self._assign_work_unit(node)
        if not self.workqueue:
            node.shutdown()

    def remove_node(self, node: WorkerController) -> str | None:
        """A worker is gone. What it was at counts as done, because it may be why; what it held is handed out again."""
        workload = self.assigned_work.pop(node)
        pending = [(unit, nodeid) for unit, tests in workload.items() for nodeid, done in tests.items() if not done]
        if not pending:
            return None
        unit, crashed = pending[0]
        workload[unit][crashed] = True
        self.workqueue.update({unit: tests for unit, tests in workload.items() if not all(tests.values())})
        for other in self.nodes:
            self._reschedule(other)
        return crashed
