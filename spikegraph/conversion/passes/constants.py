"""Values that are made of parameters and buffers only, whatever the input."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from spikegraph.conversion.operations.rules import rule_for
from spikegraph.network.interpreter import run_node
from spikegraph.network.ops import Meaning, means


class Constants:
    """Finds out which values of a network no input changes, and evaluates them.

    Args:
        network (torch.fx.GraphModule): The network, with the parameters as trained.
        signals (Collection[torch.fx.Node]): Values on their way to a membrane: those
            made of parameters, too, such as learned features, are no constants.
    """

    def __init__(
        self, network: fx.GraphModule, signals: Collection[fx.Node] = ()
    ) -> None:
        self.network = network
        self.signals = signals
        self._values: dict[fx.Node, Any] = {}

    def knows(self, value: Any) -> bool:
        """Whether no input changes a value, of a node or as it is."""
        return all(
            self._is_constant(n)
            for n in pytree.tree_leaves(value)
            if isinstance(n, fx.Node)
        )

    def is_learned(self, node: Any) -> bool:
        """Whether parameters, not only buffers and numbers, make up a value."""
        if not isinstance(node, fx.Node):
            return False
        if node.op == 'get_attr':
            path, _, name = str(node.target).rpartition('.')
            return name in self.network.get_submodule(path)._parameters
        return any(self.is_learned(n) for n in node.all_input_nodes)

    def value(self, value: Any) -> Any:
        """What a constant is, evaluated once."""
        if not isinstance(value, fx.Node):
            return value
        if value not in self._values:
            env = {n: self.value(n) for n in value.all_input_nodes}
            with torch.no_grad():
                found = run_node(self.network, value, env)
            is_tensor = isinstance(found, Tensor)
            self._values[value] = found.detach() if is_tensor else found
        return self._values[value]

    def _is_constant(self, node: fx.Node) -> bool:
        if node in self.signals:
            return False
        if node.op == 'get_attr':
            return isinstance(self.value(node), Tensor)
        if not node.op.startswith('call') or node.is_impure():
            return False
        if node.op == 'call_module':
            module = self.network.get_submodule(str(node.target))
            rule = rule_for(module)
            kept = rule is not None and (rule.is_removed or rule.stands_in)
            if not kept and not isinstance(module, nn.Identity):
                return False
        inputs = node.all_input_nodes
        if not inputs:
            return means(node, Meaning.FACTORY)
        return all(self._is_constant(n) for n in inputs)


def as_tensor(value: Any, like: Tensor) -> Tensor | None:
    """A number, or a tensor of numbers, in the data type of another one."""
    if isinstance(value, (bool, int, float)):
        return like.new_tensor(float(value))
    if isinstance(value, Tensor) and not value.is_sparse and not value.is_complex():
        return value.detach().to(like)
    return None
