"""Finds out what a network does to rows: which it reads for each that it makes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from spikegraph.network.graph import Node, map_nodes
from spikegraph.network.network import Network
from spikegraph.network.ops import Meaning, means
from spikegraph.network.roles import Role
from spikegraph.nn import DegreeFactor, EarliestMember, EarliestNeighbor, GraphFilter
from spikegraph.nn.members import ProductMember
from spikegraph.nn.relative import Leading
from spikegraph.nn.shift import MemberShift
from spikegraph.running.parts.probing import FAILURES
from spikegraph.running.parts.sites import Sites
from spikegraph.running.parts.step import Kind, Step, steps_in


class Layout(Sites):
    """The steps of a network on the rows of given inputs.

    Each operation on rows is tried on a few of them, to see whether it acts on each by
    itself. What no feature changes is computed for all rows, as ever.

    Args:
        network (Network): The network.
        inputs (Mapping[str, Any]): Its inputs; of features, the shape is enough.
        currents (Collection[str]): Inputs whose rows are values that enter as they are.

    Attributes:
        steps (List[Step]): The steps, in order.
        features (Dict[str, Step]): The inputs that have rows, by name.
        result (Any): The structure that is returned, of steps and fixed values.

    Raises:
        NotImplementedError: If an operation mixes rows otherwise than along edges, in
            groups, or by an index.
        ValueError: If the network asks again what has another answer.
    """

    def __init__(
        self, network: Network, inputs: Mapping[str, Any], currents: Any
    ) -> None:
        super().__init__(network, inputs, currents)
        self.result: Any = None
        for node in network.nodes:
            self._read(node)

    def _read(self, node: Node) -> None:
        if node in self._found:
            return
        if node.op == 'output':
            self.result = map_nodes(node.args[0], self._value)
        elif any(n in self._found for n in node.all_input_nodes):
            if not self._is_about_shape(node):
                self._add(node)
        elif node.role is Role.CHECK:
            self.fixed(node)
        elif any(n in self._sizes for n in node.all_input_nodes):
            self._try_size(node)

    def _is_about_shape(self, node: Node) -> bool:
        """Whether an operation reads the shape of rows only."""
        target = self.network.operation(node)
        if node.role is Role.SIZE or node.role is Role.CHECK:
            self.fixed(node)
            self._try_size(node)
            return True
        if isinstance(target, DegreeFactor):
            return True
        if means(node, Meaning.LIKE, Meaning.FILL):
            return self._rows(node) is None
        return False

    def _try_size(self, node: Node) -> None:
        """Keeps what a question is answered for a few rows, where it asks for shapes."""
        args, kwargs = map_nodes((node.args, node.kwargs), self._local)
        sources = list(steps_in((args, kwargs)))
        if sources and node.op in ('call_function', 'call_method'):
            axis = sources[0].axis
            step = Step(node.name, Kind.SIZE, axis, node.record, args, kwargs)
            with contextlib.suppress(*FAILURES):  # It counts what all rows belong to.
                step.probe = self._call(step, {})
                self._sizes[node] = step

    def _add(self, node: Node) -> None:
        """Adds what a node does as steps."""
        target = self.network.operation(node)
        step: Step | None
        if isinstance(target, GraphFilter) and not isinstance(
            target.shift, MemberShift
        ):
            step = self._filter(node, target)
        elif isinstance(target, EarliestNeighbor):
            step = self._neighbors(node, target)
        elif isinstance(target, (GraphFilter, EarliestMember, ProductMember)):
            step = self._members(node, target)
        elif isinstance(target, Leading) and target.dim is None:
            step = self._groups(node, target)
        else:
            step = self._gather(node) or self._rows(node) or self._pick(node)
        if step is None:
            raise NotImplementedError(
                f"Cannot run '{node.record.stands_for or node.name}' layer by layer: it "
                "may mix nodes that are not neighbours; use 'forward', or a loader"
            )
        self._keep(node, step)
