"""A network in stages, for inputs of given shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from spikegraph.nn.layer import values_of
from spikegraph.running.model import SpikingModel
from spikegraph.running.parts.cutting import find_depths, find_stored, is_view
from spikegraph.running.parts.layout import Layout
from spikegraph.running.parts.stages import find_stages
from spikegraph.running.parts.step import Fixed, Kind, Step, mapped, steps_in


class Staged:
    """A network, stage by stage: each makes what is kept for the next ones.

    Args:
        snn (SpikingModel): The network.
        inputs (Mapping[str, Any]): Its inputs; of features, the shape is enough.
        by_rows (bool): Whether few bytes count for more than few operations: what acts on
            single rows is then made anew where they are read.
        watches (bool, optional): Whether the spikes of all populations are results, too.
            (default: :obj:`False`)

    Attributes:
        stages (List[Stage]): The stages, in order.
        kept (List[Step]): What is kept in between, inputs included.
        features (Dict[str, Step]): The inputs that have rows, by name.
        returns (List[Step]): What is returned.
        results (List[Step]): That, and the populations that are watched.
        leaves (Dict[str, Leaf]): Where inputs come from, by name.
    """

    def __init__(
        self,
        snn: SpikingModel,
        inputs: Mapping[str, Any],
        by_rows: bool,
        watches: bool = False,
    ) -> None:
        currents = [v for v in snn.report.currents if not snn.spec.holds_currents(v)]
        self.layout = layout = Layout(snn.network, inputs, currents)
        self.features, self._by_rows = layout.features, by_rows
        find_depths(layout.steps)
        is_free = _acts_on_rows if by_rows else is_view
        self.kept = find_stored(layout.steps, is_free, lambda step: self._cost(step))
        self.watched = [s for s in layout.steps if s.record.role.fires and watches]
        self.returns = list(dict.fromkeys(steps_in(layout.result)))
        self.results = list(dict.fromkeys((*self.returns, *self.watched)))
        self.leaves = {leaf.name: leaf for leaf in snn.spec.read_leaves}
        self.stages = find_stages(
            layout.steps, self.kept, self.results, snn.network.form
        )

    def _cost(self, step: Step) -> int:
        """What it costs to keep a row, in bytes, on the scale of the nodes."""
        if step.kind is Kind.FEATURE and not self._by_rows:
            return 1  # It is there.
        sizes = [feature.axis.find().size for feature in self.features.values()]
        share = step.axis.find().size / max(1, max(sizes, default=1))
        return max(1, round(step.row_bytes * share))

    def last_reads(self) -> list[list[Step]]:
        """What nobody reads any more after each stage."""
        last = {
            s: number for number, stage in enumerate(self.stages) for s in stage.reads
        }
        gone: list[list[Step]] = [[] for _ in self.stages]
        for step, number in last.items():
            if step not in self.results and step.kind is not Kind.FEATURE:
                gone[number].append(step)
        return gone

    def returned(self, whole: Callable[[Step], Any]) -> Any:
        """What the network returns.

        Args:
            whole (Callable): All rows of a result.
        """

        def part(value: Any) -> Any:
            if isinstance(value, Step):
                return values_of(whole(value))
            return value.value if isinstance(value, Fixed) else value

        return mapped(self.layout.result, part)

    def spikes(self, whole: Callable[[Step], Any]) -> dict[str, Any]:
        """The spikes of every population that is watched, by label."""
        return {step.record.label: whole(step) for step in self.watched}


def _acts_on_rows(step: Step) -> bool:
    return step.kind is Kind.ROWS
