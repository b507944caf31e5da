"""What a network computes of graphs alone, such as degrees and the weights of edges,
kept for as long as a graph is there and holds the same.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Hashable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakTensorKeyDictionary

from spikegraph.kernels.contents import state_of
from spikegraph.kernels.forms import is_foreign, parts_of
from spikegraph.network.functions import check_answer
from spikegraph.network.graph import Node, called
from spikegraph.network.interpreter import run_node
from spikegraph.network.network import Network
from spikegraph.network.ops import Meaning, means

_MOST_KEPT = 4  # Companions of a graph, such as edge weights.
_KNOWN = ('torch', 'torch_geometric', 'spikegraph', '_operator', 'builtins')
_RANDOM = ('rand', 'bernoulli', 'dropout', 'multinomial', 'normal_', 'sampling')
_PLAIN = (int, float, str, torch.dtype, torch.device, type(None))


class GraphValues:
    """Keeps what operations return that neither features nor parameters change.

    Args:
        network (Network): The converted network.
        keeps (bool, optional): Whether anything is. (default: :obj:`True`)

    Attributes:
        kept (Set[Node]): The operations whose values are kept.
        idle (Set[Node]): Those that are only run where they are not.
    """

    def __init__(self, network: Network, keeps: bool = True) -> None:
        self.network = network
        self.kept: set[Node] = set()
        self.idle: set[Node] = set()
        self._values: Any = WeakTensorKeyDictionary()  # Of each graph.
        self._behind: dict[Node, tuple[Node, ...]] = {}
        self._is_random = False
        nodes = list(network.nodes) if keeps else []
        fixed = self._find_fixed(nodes)
        costly: set[Node] = set()
        for node in nodes:
            if node not in fixed or not self._owners(node):
                continue  # Without a graph to keep it with.
            if not _is_view(node) or costly.intersection(node.all_input_nodes):
                costly.add(node)
        for node in reversed(nodes):
            users = list(node.users)
            if node not in fixed:
                continue
            served = bool(users) and all(u in self.kept | self.idle for u in users)
            if served and called(node) is not check_answer:
                self.idle.add(node)
            elif node in costly:
                self.kept.add(node)

    def _find_fixed(self, nodes: list[Node]) -> set[Node]:
        """The operations on graphs and numbers, without what is returned."""
        moving, behind = _features(nodes), self._behind
        for node in nodes:
            before = node.all_input_nodes
            if node.op == 'placeholder':
                if node not in moving:
                    behind[node] = (node,)
            elif _asks(node) and before[0] not in behind:
                behind[node] = (node,)  # Its answer, as of another input.
            elif _is_known(node) and all(n in behind for n in before):
                leaves = dict.fromkeys(leaf for n in before for leaf in behind[n])
                behind[node] = tuple(leaves)
        returned: set[Node] = set()
        for node in reversed(nodes):  # Users may write into these.
            if any(u.op == 'output' or u in returned for u in node.users):
                if node in behind:
                    returned.add(node)
        return {
            node for node, leaves in behind.items() if node not in (*leaves, *returned)
        }

    def _owners(self, node: Node) -> list[Node]:
        return [n for n in self._behind[node] if n.op == 'placeholder']

    def reads(self, node: Node) -> list[Node]:
        """The values that running an operation may take, idle ones included."""
        found = dict.fromkeys(node.all_input_nodes)
        queue = [n for n in found if n in self.idle]
        while queue:
            for n in queue.pop().all_input_nodes:
                if n in self.idle and n not in found:
                    queue.append(n)
                found[n] = None
        if node in self.kept:
            found.update(dict.fromkeys(self._behind[node]))
        return list(found)

    def run(self, node: Node, env: dict[Node, Any]) -> Any:
        """The value of an operation, as it was kept, or made anew."""
        if self._is_random or torch.compiler.is_compiling():
            return self._make(node, env)
        key, owner = self._key(node, env)
        if owner is None:
            return self._make(node, env)
        values = self._values.get(owner)
        if values is None:
            self._values[owner] = values = {}
        found = values.pop(key, {})
        values[key] = found  # The last in use is the last to go.
        while len(values) > _MOST_KEPT * len(self.kept):
            values.pop(next(iter(values)), None)
        if node in found:
            return found[node]
        before = _random_state()
        value = self._make(node, env)
        if before != _random_state():
            self._is_random = True
        elif not self._holds_inputs(value, node, env):
            found[node] = value
        return value

    def _make(self, node: Node, env: dict[Node, Any]) -> Any:
        for n in node.all_input_nodes:
            if n in self.idle and n not in env:
                env[n] = self._make(n, env)
        return run_node(self.network, node, env)

    def _key(self, node: Node, env: dict[Node, Any]) -> tuple[Hashable, Tensor | None]:
        """What a value depends on, and the graph that it is kept with."""
        states: list[Hashable] = []
        owner: Tensor | None = None
        for leaf in self._behind[node]:
            value = env[leaf]
            if _is_graph(value):
                if owner is None:
                    is_tensor = isinstance(value, Tensor)
                    owner = value if is_tensor else parts_of(value)[-1]
                states.append(state_of(value))
            elif isinstance(value, (*_PLAIN, torch.Size)):
                states.append((type(value), value))
            else:
                return None, None
        return tuple(states), owner

    def _holds_inputs(self, value: Any, node: Node, env: dict[Node, Any]) -> bool:
        """Whether a value is a part of an input, which would live as long as it."""
        leaves = [env[leaf] for leaf in self._behind[node]]
        inputs = {place for v in leaves if _is_graph(v) for place in _places(v)}
        for item in pytree.tree_leaves(value):
            if isinstance(item, Tensor) or is_foreign(item):
                if not inputs.isdisjoint(_places(item)):
                    return True
            elif not isinstance(item, _PLAIN):
                return True
        return False


def _features(nodes: list[Node]) -> set[Node]:
    """What populations of inputs are made of."""
    found: set[Node] = set()
    for node in reversed(nodes):
        if node in found or node.record.encodes:
            found.update(node.all_input_nodes)
    return found


def _asks(node: Node) -> bool:
    """Whether a node reads a size or a type of another one only."""
    if not node.args or not isinstance(node.args[0], Node):
        return False
    return means(node, Meaning.SIZE) and node.target is not check_answer


def _is_view(node: Node) -> bool:
    """Whether a node takes no time: it asks, or takes a part."""
    return _asks(node) or called(node) in (operator.getitem, getattr, check_answer)


def _is_known(node: Node) -> bool:
    """Whether a node calls what depends on its arguments only."""
    name = str(getattr(node.target, '__name__', node.target))
    if not node.all_input_nodes or any(word in name for word in _RANDOM):
        return False
    if node.op == 'call_method':
        return True
    module = getattr(node.target, '__module__', None) or 'torch'
    return node.op == 'call_function' and module.partition('.')[0] in _KNOWN


def _is_graph(value: Any) -> bool:
    """Whether a value is a graph, an index or weights of edges: no rows of numbers."""
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        return isinstance(value, Tensor) or is_foreign(value)
    is_flat = value.dim() < 2 or (value.dim() == 2 and value.size(1) == 1)
    return is_flat or not value.is_floating_point()


def _places(value: Any) -> set[int]:
    return {part.untyped_storage().data_ptr() for part in parts_of(value)}


def _random_state() -> Hashable:
    numbers: Any = np.random.get_state()
    ours = torch.get_rng_state().numpy().tobytes()
    return ours, random.getstate(), numbers[1].tobytes(), numbers[2]
