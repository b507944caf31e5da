"""Features that are learned: parameters that are read as features are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import fx

from spikegraph.conversion.features.sources import is_weight
from spikegraph.conversion.operations.rules import reads_shape
from spikegraph.conversion.passes.products import contraction_of, shape_of
from spikegraph.network.graph import made_of
from spikegraph.network.naming import module_of
from spikegraph.network.ops import BILINEAR, Meaning, is_call, means
from spikegraph.nn import SpikingLayer

GRAPH_NAMES = ('adj', 'adj_t', 'edge_index')
_SUMS = (  # Over neighbours, or members of groups.
    *('scatter', 'index_add', 'scatter_add', 'scatter_reduce', 'index_put'),
)


class Learned:
    """Finds parameters that are features, not weights: a layer reads them, or a matrix
    of the graph multiplies them, alone or after weights.

    Args:
        network (torch.fx.GraphModule): The traced network.
        behind (Mapping[torch.fx.Node, frozenset[torch.fx.Node]]): The features that
            each value is made of.
        weighted (Set[torch.fx.Node]): The values made with parameters.
    """

    def __init__(
        self,
        network: fx.GraphModule,
        behind: Mapping[fx.Node, frozenset[fx.Node]],
        weighted: set[fx.Node],
    ) -> None:
        self.network = network
        self.behind = behind
        self.weighted = weighted
        self.order = {n: i for i, n in enumerate(network.graph.nodes)}
        self.constant: set[fx.Node] = set()  # Made of parameters and sizes only.
        self.plain: set[fx.Node] = set()  # Those among them that are no product.
        for node in network.graph.nodes:
            self._look_at(node)

    def _look_at(self, node: fx.Node) -> None:
        tensors = [n for n in node.all_input_nodes if shape_of(n) is not None]
        if node.op == 'get_attr':
            is_constant = str(node.target) in self.network._parameters
        else:
            is_constant = bool(tensors) and self.constant.issuperset(tensors)
            if node.op == 'call_module':
                module = module_of(self.network, node)
                is_constant &= not isinstance(module, SpikingLayer)
                is_constant &= not any(True for _ in module.parameters())
        if is_constant and shape_of(node) is not None:
            self.constant.add(node)
            if not means(node, Meaning.CONTRACTION) and self.plain.issuperset(tensors):
                self.plain.add(node)

    def find(self) -> dict[fx.Node, set[fx.Node]]:
        """The values that are features, and the operations that read them so."""
        found: dict[fx.Node, set[fx.Node]] = {}
        for node in self.order:
            if node not in self.plain or len(shape_of(node) or ()) < 2:
                continue
            readers = {user for user in node.users if user not in self.plain}
            readers = {user for user in readers if self._reads(user, node)}
            if readers:
                found[node] = readers
        for node, readers in found.items():
            readers |= {user for user in node.users if self._takes_along(user)}
        return found

    def _reads(self, user: fx.Node, node: fx.Node) -> bool:
        """Whether a value is read as features are, at once or later on."""
        queue, seen = [(user, node)], {user}
        while queue:
            user, node = queue.pop()
            kind = self._kind(user, node)
            if kind == 'features':
                return True
            if kind == 'passes':
                for after in user.users:
                    if after not in seen:
                        seen.add(after)
                        queue.append((after, user))
        return False

    def _kind(self, user: fx.Node, node: fx.Node) -> str:
        if user.op == 'call_module':
            is_first = user.args[:1] == (node,)
            is_layer = isinstance(module_of(self.network, user), SpikingLayer)
            if not is_first:
                return 'ends'
            return 'features' if is_layer else 'passes'
        if user.op == 'output' or reads_shape(user):
            return 'ends'
        others = [
            n
            for n in user.all_input_nodes
            if n is not node and not isinstance(n.meta.get('example'), (int, float))
        ]
        if not means(user, Meaning.CONTRACTION):
            others = [n for n in others if n not in self.constant]
            if not all(map(self._is_structure, others)):
                return 'ends'
            return 'features' if is_call(user, *_SUMS) else 'passes'
        found = contraction_of(user)
        if found is None or found.added is node or len(others) != 1:
            return 'ends'
        if others[0] in self.constant:
            return 'passes' if found.a is node else 'ends'
        return 'features' if self._is_graph(others[0]) else 'ends'

    def _is_graph(self, node: fx.Node) -> bool:
        """Whether a value is a matrix of the graph: sparse or square, and made by no
        weight.
        """
        shape = shape_of(node)
        if shape is None:  # A sparse matrix of another package.
            return node.op == 'placeholder'
        is_square = len(shape) >= 2 and shape[-1] == shape[-2]
        is_sparse = node.meta['example'].layout != torch.strided
        return self._is_structure(node) and (is_square or is_sparse)

    def _is_structure(self, node: fx.Node) -> bool:
        if node in self.weighted:
            return False
        is_graph = node.op == 'placeholder' and str(node.target) in GRAPH_NAMES
        return is_graph or not self.behind.get(node)

    def _takes_along(self, user: fx.Node) -> bool:
        """Whether an operation may join features with what has been made of them, as
        a mean over layers does.
        """
        calls = user.op in ('call_function', 'call_method')
        if not calls or user in self.plain or means(user, *BILINEAR):
            return False
        return not reads_shape(user)

    def name_of(self, node: fx.Node) -> str:
        """The name of a parameter, or of what is made of several."""
        names = {
            str(value.target).removeprefix('values_')
            for value in made_of(node)
            if value.op == 'get_attr' and value in self.constant
        }
        return names.pop() if len(names) == 1 else node.name


def is_table(network: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a matrix is read as features are: by a layer, or times parameters."""
    users = [u for u in node.users if not reads_shape(u)]
    return bool(users) and all(_reads_table(network, user, node) for user in users)


def _reads_table(network: fx.GraphModule, user: fx.Node, node: fx.Node) -> bool:
    if user.op == 'call_module':
        is_layer = isinstance(module_of(network, user), SpikingLayer)
        return is_layer and user.args[:1] == (node,)
    if is_call(user, 'to_dense', 'coalesce'):
        return is_call(user, 'to_dense') or is_table(network, user)
    found = contraction_of(user)
    if found is None or found.a is not node or not isinstance(found.b, fx.Node):
        return False
    return is_weight(network, found.b)
