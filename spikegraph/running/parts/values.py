"""What a network is given, and what no feature changes."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.network.graph import Node, called, made_of
from spikegraph.network.interpreter import run_node
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.running.parts.step import Axis, Fixed, Kind, Step, mapped, take


class Values:
    """The inputs of a network that have rows, and the values that have none.

    Args:
        network (Network): The network.
        inputs (Mapping[str, Any]): Its inputs; of features, the shape is enough.
        currents (Collection[str]): Inputs whose rows are values that enter as they are.

    Attributes:
        steps (List[Step]): The steps, in order.
        features (Dict[str, Step]): The inputs that have rows, by name.
    """

    def __init__(
        self, network: Network, inputs: Mapping[str, Any], currents: Any
    ) -> None:
        self.network, self.inputs = network, inputs
        self.steps: list[Step] = []
        self.features: dict[str, Step] = {}
        self._found: dict[Node, Step] = {}
        self._sizes: dict[Node, Step] = {}  # What they answer for a few rows.
        self._fixed: dict[Node, Fixed] = {}
        self._probes: dict[int, int] = {}
        self._random = torch.Generator().manual_seed(0)
        for node in self._find_features(currents):
            self._add_feature(node)

    def fixed_input(self, step: Step) -> Any:
        """All rows of an input."""
        return next(v.value for n, v in self._fixed.items() if n.name == step.name)

    def step_of(self, node: Node) -> Step | None:
        """What a node of the network is as a step; nothing if no feature changes it."""
        return self._found.get(node)

    def _find_features(self, currents: Any) -> list[Node]:
        """The inputs, or parts of them, that have a row for each of something."""
        found: dict[Node, None] = {}
        for node in self.network.nodes:
            if node.op == 'placeholder' and node.target in currents:
                found[node] = None
            elif node.record.encodes:
                for source in node.all_input_nodes[:1]:
                    found.update(dict.fromkeys(self._rows_behind(source)))
        return list(found)

    def _rows_behind(self, node: Node) -> list[Node]:
        if _is_access(node):
            return [node] if _has_rows(self.fixed(node).value) else []
        inside = made_of(node, lambda n: not _is_access(n) and n.role is not Role.SIZE)
        return [n for n in inside if _is_access(n) and _has_rows(self.fixed(n).value)]

    def _add_feature(self, node: Node) -> None:
        value = self.fixed(node).value
        axis = Axis(len(value), _path(node))
        axis = next(
            (
                step.axis
                for step in self.features.values()
                if step.axis.name == axis.name
            ),
            axis,
        )
        step = Step(node.name, Kind.FEATURE, axis, node.record)
        step.probe = self._sample(value, self._num_probed(axis))
        self.features[node.name] = step
        self._keep(node, step)

    def _sample(self, value: Tensor, num: int) -> Tensor:
        """A few rows like those of a value."""
        shape = (num, *value.shape[1:])
        if value.is_floating_point():
            found = torch.rand(shape, generator=self._random, dtype=torch.float64)
            return found.to(value.dtype)
        rows = torch.arange(num) % max(1, len(value))
        return take(value, rows) if len(value) else value.new_zeros(shape)

    def _num_probed(self, axis: Axis) -> int:
        """How many rows are tried: another number for each size."""
        if axis.size == 1:
            return 1
        return self._probes.setdefault(axis.size, 5 + 2 * len(self._probes))

    def _keep(self, node: Node, step: Step) -> Step:
        self._found[node] = step
        if step not in self.steps:
            self.steps.append(step)
        return step

    def fixed(self, node: Node) -> Fixed:
        """The value of a node that no feature changes."""
        if node not in self._fixed:
            env: dict[Node, Any] = {}
            for source in node.all_input_nodes:
                if source in self._found:
                    env[source] = self._like(self._found[source])
                else:
                    env[source] = self.fixed(source).value
            if node.op == 'placeholder':
                value = self.inputs[node.target]
            else:
                value = run_node(self.network, node, env)
            self._fixed[node] = Fixed(node.name, value)
        return self._fixed[node]

    def _like(self, step: Step, size: int | None = None) -> Any:
        """Has the shape of what a step makes, and nothing in it."""
        size = step.axis.find().size if size is None else size

        def part(value: Any) -> Any:
            if not isinstance(value, (Spikes, Tensor)):
                return value
            shape = list(value.shape)
            shape[step.dim] = size
            one = value.spike_time if isinstance(value, Spikes) else value
            return one.new_zeros(1, dtype=value.dtype).expand(shape)

        return mapped(step.probe, part)

    def _value(self, node: Node) -> Any:
        return self._found[node] if node in self._found else self.fixed(node)

    def _local(self, node: Node) -> Any:
        return self._sizes[node] if node in self._sizes else self._value(node)


def _is_access(node: Node) -> bool:
    """Whether a node is an input, or a part of one."""
    if node.op == 'placeholder':
        return True
    is_part = called(node) in (operator.getitem, getattr, 'get')
    first = node.args[0] if node.args else None
    plain = all(isinstance(a, (str, int, tuple)) for a in node.args[1:])
    return is_part and plain and isinstance(first, Node) and _is_access(first)


def _path(node: Node) -> str:
    """Where an input lies among the arguments."""
    if node.op == 'placeholder':
        return str(node.target)
    return f'{_path(node.args[0])}.{node.args[1]}'


def _has_rows(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0
