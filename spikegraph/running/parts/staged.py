"""A network in stages, for inputs of given shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from spikegraph.coding import Spikes
from spikegraph.network.roles import Role
from spikegraph.nn.layer import values_of
from spikegraph.nn.routing import move_spikes
from spikegraph.running.model import SpikingModel
from spikegraph.running.parts.cutting import find_depths, find_stored, is_view
from spikegraph.running.parts.layout import Layout
from spikegraph.running.parts.stages import find_stages
from spikegraph.running.parts.step import Fixed, Kind, Step, is_leaf, mapped, steps_in

_OPERATIONS = 20  # In the time in which a byte is sent.
_MOVES = 4  # Operations in the time in which a value is read and written.


class Staged:
    """A network, stage by stage: each makes what is kept for the next ones.

    Args:
        snn (SpikingModel): The network.
        inputs (Mapping[str, Any]): Its inputs; of features, the shape is enough.
        by_rows (bool): Whether what acts on single rows may be made anew for each reader
            of these, so that fewer bytes are kept.
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

    @torch.no_grad()
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
        self.kept = find_stored(layout.steps, is_free, self._cost, self._effort)
        fires = [s for s in layout.steps if s.record.role.fires and watches]
        returned = list(dict.fromkeys(steps_in(layout.result)))
        # Rows come first in all that is kept, and go where they were at the end.
        self._first = {s: _rows_first(s) for s in (*returned, *fires)}
        self.watched = [self._first[step] for step in fires]
        self.returns = [self._first[step] for step in returned]
        self.results = list(dict.fromkeys((*self.returns, *self.watched)))
        self.leaves = {leaf.name: leaf for leaf in snn.spec.read_leaves}
        self.stages = find_stages(
            list(dict.fromkeys((*layout.steps, *self.results))),
            self.kept,
            self.results,
            snn.network.form,
        )

    def _cost(self, step: Step) -> int:
        """What it costs to keep a row, in bytes, on the scale of the nodes."""
        if step.kind is Kind.FEATURE and not self._by_rows:
            return 1  # It is there.
        return max(1, round(step.row_bytes * self._share(step)))

    def _effort(self, step: Step) -> int:
        """What it costs to make a row, in bytes that could be kept meanwhile."""
        return round(operations(step) / _OPERATIONS * self._share(step))

    def _share(self, step: Step) -> float:
        sizes = [feature.axis.find().size for feature in self.features.values()]
        return step.axis.find().size / max(1, max(sizes, default=1))

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
                return values_of(self._whole(value, whole))
            return value.value if isinstance(value, Fixed) else value

        return mapped(self.layout.result, part)

    def spikes(self, whole: Callable[[Step], Any]) -> dict[str, Any]:
        """The spikes of every population, by label, if they are watched."""
        fires = [node for node in self.layout.network.nodes if node.role.fires]
        found: dict[str, Any] = {}
        for node in fires if self.watched else ():
            step = self.layout.step_of(node)
            if step is None:
                found[node.record.label] = self.layout.fixed(node).value
            else:
                found[node.record.label] = self._whole(step, whole)
        return found

    def _whole(self, step: Step, whole: Callable[[Step], Any]) -> Any:
        value = whole(self._first[step])
        return move_spikes(value, 'movedim', 0, step.dim) if step.dim else value


def operations(step: Step) -> int:
    """About how many operations make a row: a multiplication for each weight, a
    comparison for each time step, and what moves values.
    """
    leaves = pytree.tree_leaves(step.probe, is_leaf=is_leaf)
    width = sum(v.shape[1:].numel() for v in leaves if isinstance(v, (Tensor, Spikes)))
    weights = step.module.parameters() if isinstance(step.module, nn.Module) else ()
    found = sum(weight.numel() for weight in weights if weight.dim() > 1)
    if step.record.role.fires and isinstance(step.probe, Spikes):
        found += width * step.probe.code.num_steps
    return found + _MOVES * width


def _rows_first(step: Step) -> Step:
    """A step, or what it makes with rows as the first dimension."""
    if step.dim == 0:
        return step
    name, args = f'{step.name}_by_rows', (step, 'movedim', step.dim, 0)
    record = replace(
        step.record, name=name, op='call_function', target=move_spikes, role=Role.MOVE
    )
    found = Step(name, Kind.ROWS, step.axis, record, args, depth=step.depth)
    found.probe = move_spikes(step.probe, 'movedim', step.dim, 0)
    return found


def _acts_on_rows(step: Step) -> bool:
    return step.kind is Kind.ROWS
