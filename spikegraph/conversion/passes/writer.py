"""Writes operations into a graph that is being converted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from spikegraph.conversion.operations.rules import reads_shape
from spikegraph.conversion.passes.graph import Structure
from spikegraph.network.graph import Seen
from spikegraph.network.naming import keep_value, operation_of, place
from spikegraph.nn import GraphFilter


class Writer:
    """Writes operations into a graph, with the shapes of what they make.

    Args:
        structure (Structure): The network.
        signals (Set[torch.fx.Node]): Values on their way to a membrane.
        fixed (Set[torch.fx.Node]): Those among them that no spike changes.
    """

    def __init__(
        self, structure: Structure, signals: set[fx.Node], fixed: set[fx.Node]
    ) -> None:
        self.structure, self.network = structure, structure.network
        self.graph: fx.Graph = structure.network.graph
        self.signals, self.fixed = signals, fixed
        self.here: fx.Node | None = None  # What is written comes in front of it.

    def is_moving(self, value: Any) -> bool:
        """Whether spikes change a value."""
        is_node = isinstance(value, fx.Node)
        return is_node and value in self.signals and value not in self.fixed

    def write(self, function: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """Adds a call of a function."""
        assert self.here is not None
        with self.graph.inserting_before(self.here):
            node = self.graph.call_function(function, args, kwargs)
        return self._noted(node, function)

    def call(self, name: str, module: nn.Module, *args: Any, **kwargs: Any) -> fx.Node:
        """Adds a module of ours, and a call of it."""
        assert self.here is not None
        path = place(self.network, name, module)
        with self.graph.inserting_before(self.here):
            node = self.graph.call_module(path, args, kwargs)
        node.meta['made'] = name.partition('.')[0]
        return self._noted(node, getattr(module, 'analog', None))

    def constant(self, name: str, value: Tensor) -> fx.Node:
        """Adds a tensor that is no input."""
        assert self.here is not None
        path = keep_value(self.network, name, value)
        with self.graph.inserting_before(self.here):
            node = self.graph.get_attr(path)
        node.meta['example'] = Seen(tuple(value.shape), value.dtype, value.layout)
        return node

    def repeat(self, node: fx.Node, place: Callable[[fx.Node], fx.Node]) -> fx.Node:
        """Adds a node of another graph."""
        assert self.here is not None
        with self.graph.inserting_before(self.here):
            made = self.graph.node_copy(node, place)
        operation: Any = node.target
        if node.op == 'call_method':
            operation = getattr(Tensor, str(node.target))
        return self._noted(made, operation)

    def copy(self, node: fx.Node, old: fx.Node, new: fx.Node) -> fx.Node:
        """Adds what a node calls once more, with one of its values replaced."""
        assert self.here is not None
        with self.graph.inserting_before(self.here):
            made = self.graph.node_copy(node, lambda n: new if n is old else n)
        operation = operation_of(self.network, node)
        if isinstance(operation, GraphFilter):  # As many rows, as wide as they are.
            rows, seen = node.meta.get('example'), new.meta.get('example')
            if isinstance(rows, Seen) and isinstance(seen, Seen):
                shape = (*rows.shape[:1], *seen.shape[1:])
                made.meta['example'] = replace(seen, shape=shape)
            return self._noted(made, None)
        seen = [n.meta.get('example') for n in (node, old, new)]
        if all(isinstance(s, Seen) for s in seen) and seen[1].shape == seen[2].shape:
            return self._noted(made, None)  # What is made keeps its shape, too.
        made.meta.pop('example', None)
        if node.op == 'call_method':
            operation = getattr(torch.Tensor, str(node.target))
        return self._noted(made, operation)

    def _noted(self, node: fx.Node, function: Any) -> fx.Node:
        assert self.here is not None
        if reads_shape(node):
            pass
        elif any(self.is_moving(n) for n in node.all_input_nodes):
            self.signals.add(node)
        elif any(n in self.signals for n in node.all_input_nodes):
            self.signals.add(node)
            self.fixed.add(node)
        node.meta['where'] = self.here.meta.get('where', '')
        stack = self.here.meta.get('nn_module_stack')
        if stack is not None:
            node.meta['nn_module_stack'] = stack
        if function is not None:
            self.note_shape(node, function)
        return node

    def note_shape(self, node: fx.Node, function: Any) -> None:
        """Finds the shape of a value by those of what it is made of."""

        def empty(value: fx.Node) -> Any:
            return pytree.tree_map_only(
                Seen,
                lambda s: torch.empty(s.shape, dtype=s.dtype, device='meta'),
                value.meta.get('example'),
            )

        args, kwargs = fx.node.map_arg((node.args, node.kwargs), empty)
        try:
            made = function(*args, **kwargs)
        except Exception:  # Whatever cannot do without numbers: it stays unknown.
            return
        if isinstance(made, (Tensor, tuple, list, int, float)):
            node.meta['example'] = pytree.tree_map_only(
                Tensor, lambda t: Seen(tuple(t.shape), t.dtype, t.layout), made
            )
