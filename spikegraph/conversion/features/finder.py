"""Which values are features, to be sent as spikes, and which are structure."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import fx
from torch.utils import _pytree as pytree

from spikegraph.calls.call import CallSpec
from spikegraph.conversion.features.gains import take_gains_apart
from spikegraph.conversion.features.learned import GRAPH_NAMES, Learned, is_table
from spikegraph.conversion.features.sources import makes_current, values_weighted
from spikegraph.conversion.operations.activations import is_activation
from spikegraph.conversion.operations.kinds import Norm, rounds, tracks_statistics
from spikegraph.conversion.operations.probing import is_affine_function
from spikegraph.conversion.operations.rules import reads_shape, rule_at, rule_for
from spikegraph.conversion.passes.products import factors_of, shape_of
from spikegraph.network.graph import Seen, made_of
from spikegraph.network.naming import describe, module_of
from spikegraph.network.ops import BILINEAR, Meaning, means
from spikegraph.nn import SpikeGate, SpikingLayer, SpikingTwin


@dataclass
class Sources:
    """Where features come from.

    Args:
        names (Dict[torch.fx.Node, str]): The values to be sent as spikes: inputs,
            what is computed of them before any weight, or parameters that are read
            like features; with the names of their populations.
        preprocessed (List[str]): What is computed of inputs in front of them, because
            spikes could not.
        early (Set[torch.fx.Node]): The operations that do so, on real values.
        readers (Dict[torch.fx.Node, Set[torch.fx.Node]]): Of what is made of
            parameters, those that read it as features; others read weights.
    """

    names: dict[fx.Node, str] = field(default_factory=dict)
    preprocessed: list[str] = field(default_factory=list)
    early: set[fx.Node] = field(default_factory=set)
    readers: dict[fx.Node, set[fx.Node]] = field(default_factory=dict)


def find_sources(network: fx.GraphModule, spec: CallSpec) -> Sources:
    """Finds the features of a traced network, by what is done with its inputs."""
    finder = _Finder(network, spec)
    if take_gains_apart(network, finder.behind, finder.weighted):
        finder = _Finder(network, spec)
    finder.find_early()
    found = Sources(preprocessed=finder.describe_early())
    finder.split()
    found.early = finder.early
    for node in network.graph.nodes:
        if finder.is_source(node):
            found.names[node] = finder.name_of(node, found)
    learned = Learned(network, finder.behind, finder.weighted)
    for node, readers in learned.find().items():
        if node not in finder.early:
            found.names[node] = _own_name(learned.name_of(node), node, found)
            found.readers[node] = readers
    if not found.names:
        for node in finder.values_alone():
            found.names[node] = finder.name_of(node, found)
            found.preprocessed += finder.describe_in_front(node)
    return found


class _Finder:
    def __init__(self, network: fx.GraphModule, spec: CallSpec) -> None:
        self.network = network
        self.nodes = list(network.graph.nodes)
        self.inputs = {
            n for n in self.nodes if n.op == 'placeholder' and n.target in spec.features
        }
        self.declared = {  # To be no features.
            leaf.name
            for leaf in spec.leaves
            if {leaf.name, leaf.argument} & set(spec.static)
        }
        self.inputs |= {n for n in self.nodes if self._is_sparse_table(n)}
        self.behind: dict[fx.Node, frozenset[fx.Node]] = {}  # Which features.
        self.weighted: set[fx.Node] = set()  # Made with parameters, or by layers.
        self.made: set[fx.Node] = set()  # Those among them that are no weights.
        self.constant: set[fx.Node] = set()  # Made of no input, by no module.
        for node in self.nodes:
            self._look_behind(node)
        self.early: set[fx.Node] = set()  # To be computed before any spike.
        self.multiplied: set[fx.Node] = set()  # Products of inputs alone.

    def _is_sparse_table(self, node: fx.Node) -> bool:
        """Whether a sparse input is no matrix of the graph: it is not square, and
        nothing but a layer, or parameters, reads it.
        """
        seen = node.meta.get('example')
        if node.op != 'placeholder' or not isinstance(seen, Seen):
            return False
        if seen.layout == torch.strided or not self.is_number(node):
            return False
        is_square = len(seen.shape) != 2 or seen.shape[0] == seen.shape[1]
        return not is_square and is_table(self.network, node)

    def _look_behind(self, node: fx.Node) -> None:
        before = [] if reads_shape(node) else node.all_input_nodes
        features = frozenset().union(*(self.behind[n] for n in before))
        self.behind[node] = features | ({node} & self.inputs)
        is_weighted = any(n in self.weighted for n in before)
        if node.op == 'get_attr':
            is_weighted = str(node.target) in self.network._parameters
        elif node.op == 'call_module':
            module = module_of(self.network, node)
            is_weighted |= isinstance(module, SpikingLayer)
            is_weighted |= any(True for _ in module.parameters())
        if is_weighted:
            self.weighted.add(node)
        is_own = node.op not in ('placeholder', 'call_module')
        if is_own and self.constant.issuperset(node.all_input_nodes):
            self.constant.add(node)
        elif is_weighted:  # Weights that are gathered are still weights.
            multiplies = node.op == 'call_module' or means(node, Meaning.CONTRACTION)
            if multiplies or features or any(n in self.made for n in before):
                self.made.add(node)

    def is_number(self, node: fx.Node) -> bool:
        """Whether a value is a tensor of floating point numbers."""
        seen = node.meta.get('example')
        return isinstance(seen, Seen) and seen.dtype.is_floating_point

    # What is computed of inputs alone.

    def find_early(self) -> None:
        """Finds what spikes cannot compute, of inputs and without weights, and all
        that it is made of. What is left may multiply two inputs; neither of them is
        sent, then, but their product.
        """
        known = -1
        while known < len(self.early) + len(self.multiplied):
            known = len(self.early) + len(self.multiplied)
            for node in self.nodes:  # In order: what reads a mask comes after it.
                if node not in self.early and self._needs_values(node):
                    self._compute_early(node)
            sent = frozenset(n for n in self.inputs if self.is_source(n))
            self.multiplied |= {n for n in self.nodes if self._multiplies(n, sent)}

    def _compute_early(self, node: fx.Node) -> None:
        self.early.add(node)
        queue = [node]
        while queue:
            for before in queue.pop().all_input_nodes:
                if self.behind[before] and before not in self.early | self.inputs:
                    self.early.add(before)
                    queue.append(before)

    def _multiplies(self, node: fx.Node, sent: frozenset[fx.Node]) -> bool:
        """Whether an operation multiplies two values of inputs that are sent."""
        if not means(node, *BILINEAR) or node in self.weighted or self._ends(node):
            return False
        return sum(bool(self.behind[n] & sent) for n in factors_of(node)) > 1

    def is_source(self, node: fx.Node) -> bool:
        """Whether a value of inputs alone is sent as spikes."""
        if node not in self.inputs and node not in self.early:
            return False
        leaves = any(self.reads_value(u) for u in node.users)
        return leaves and self.is_number(node) and self.is_feature(node)

    def split(self) -> None:
        """Gives affine operations that are read by spiking layers, too, a copy for
        real values: the original reads spikes.
        """
        needing: set[fx.Node] = set()  # Made of what spikes cannot compute.
        copies: dict[fx.Node, fx.Node] = {}
        for node in [n for n in self.nodes if n in self.early]:
            for before, copied in copies.items():
                node.replace_input_with(before, copied)
            before = node.all_input_nodes
            if self._needs_values(node) or any(n in needing for n in before):
                needing.add(node)
            elif any(u not in self.early for u in node.users):
                with self.network.graph.inserting_after(node):
                    copied = self.network.graph.node_copy(node)
                copied.meta = dict(node.meta)
                for n, old in copies.items():  # The original reads originals.
                    node.replace_input_with(old, n)
                self.behind[copied] = self.behind[node]
                self.early.remove(node)
                self.early.add(copied)
                copies[node] = copied

    def _needs_values(self, node: fx.Node) -> bool:
        if not self.behind[node] or node in self.weighted:
            return False
        if node.op == 'call_module':
            return self._module_needs_values(node)
        moving = self._moving(node)
        if node.op not in ('call_function', 'call_method') or not moving:
            return False
        if self._ends(node) or reads_shape(node):
            return False
        if any(n in self.early and not self.is_number(n) for n in moving):
            return True  # Of such as a mask, or what sorts.
        rule = rule_at(node)
        if rule is None:
            return not is_affine_function(node, lambda _: moving)
        if rule.is_open or is_activation(self.network, node):
            return False
        if rule.on_values or rounds(node.args, dict(node.kwargs)):
            return True
        factors = [n for n in factors_of(node) if n in moving]
        same = [n for n in factors if self.behind[n] & self.behind[factors[0]]]
        is_product = means(node, *BILINEAR) and len(same) > 1
        below = node.args[1:2] if means(node, Meaning.QUOTIENT) else ()
        is_product |= node in self.multiplied
        return is_product or any(n in moving for n in below)

    def _module_needs_values(self, node: fx.Node) -> bool:
        """Whether a module without parameters does what spikes cannot do."""
        module = module_of(self.network, node)
        if isinstance(module, (SpikingLayer, SpikingTwin, SpikeGate)):
            return False
        if self._ends(node) or is_activation(self.network, node):
            return False
        rule = node.meta.get('rule') or rule_for(module)
        if isinstance(rule, Norm):
            return not tracks_statistics(module)
        return rule is None or rule.on_values

    def _moving(self, node: fx.Node) -> list[fx.Node]:
        leaves = pytree.tree_leaves((node.args, node.kwargs))
        return [n for n in leaves if isinstance(n, fx.Node) and self.behind[n]]

    def _ends(self, node: fx.Node) -> bool:
        """Whether nothing but the output follows."""
        return all(u.op == 'output' for u in node.users)

    def describe_early(self) -> list[str]:
        """What is computed in front of the populations of inputs."""
        return [
            f'{describe(self.network, n)} of '
            + ', '.join(sorted(str(p.target) for p in self.behind[n]))
            for n in self.nodes
            if n in self.early and self._needs_values(n)
        ]

    # What is done with a value.

    def reads_value(self, user: fx.Node) -> bool:
        """Whether an operation is of the network, and reads more than a shape."""
        return user not in self.early and not reads_shape(user)

    def is_feature(self, source: fx.Node) -> bool:
        """Whether a value ends up as the first argument of a layer, in an activation
        or as the output: not beside features, as weights of edges do, nor as a
        factor of what layers have made, or of larger inputs.
        """
        queue, seen = [source], {source}
        while queue:
            node = queue.pop()
            for user in node.users:
                if user in self.early or user in seen:
                    continue
                if user.op == 'call_module':
                    first = pytree.tree_leaves(user.args[:1])
                    if any(value is node for value in first):
                        return True
                elif user.op == 'output' or self._meets_weights(user, node):
                    return True
                elif not reads_shape(user) and not self._is_beside(user, node, source):
                    seen.add(user)
                    queue.append(user)
        return False

    def _meets_weights(self, user: fx.Node, node: fx.Node) -> bool:
        """Whether a value is multiplied by a matrix that is made of parameters, such as
        one for each type of edge, and by nothing else.
        """
        others = [n for n in factors_of(user) if n is not node]
        is_weight = [n in self.weighted and not self.behind[n] for n in others]
        return means(user, Meaning.CONTRACTION) and any(is_weight) and all(is_weight)

    def _is_beside(self, user: fx.Node, node: fx.Node, source: fx.Node) -> bool:
        """Whether a value only multiplies features."""
        factors = factors_of(user)
        if not means(user, *BILINEAR) or node not in factors:
            return False
        is_argument = node is source and node.op == 'placeholder'
        if is_argument and str(node.target) in GRAPH_NAMES:
            return True
        others = [n for n in factors if n is not node]
        if any(n in self.made for n in others):
            return True
        others, own = [n for n in others if self.behind[n]], self.behind[source]
        others = [n for n in others if not own & self.behind[n]]
        return any(self._is_smaller(user, node, n) for n in others)

    def _is_smaller(self, user: fx.Node, node: fx.Node, other: fx.Node) -> bool:
        shape, against = shape_of(node), shape_of(other)
        if shape is None or against is None:
            return False
        if means(user, Meaning.CONTRACTION):  # A square matrix times features.
            is_square = len(shape) >= 2 and shape[-1] == shape[-2]
            first = factors_of(user)[0] is node
            return is_square and (first or against[-1:] != against[-2:-1])
        return torch.Size(shape).numel() < torch.Size(against).numel()

    # Where no input holds features.

    def values_alone(self) -> list[fx.Node]:
        """Numbers made of other inputs that weights multiply, such as a one-hot code
        of integers: features, if there are no others, and no embeddings.
        """
        nodes = list(self.network.graph.nodes)
        if any(makes_current(self.network, n) for n in nodes):
            return []
        values = [v for n in nodes for v in values_weighted(self.network, n)]
        return [
            value
            for value in dict.fromkeys(values)
            if self._placeholders(value)
            and not any(n.target in self.declared for n in self._placeholders(value))
            and value not in self.weighted
            and self._is_dense(value)
        ]

    def _is_dense(self, node: fx.Node) -> bool:
        seen = node.meta.get('example')
        is_dense = isinstance(seen, Seen) and seen.layout == torch.strided
        return is_dense and self.is_number(node)

    def _placeholders(self, node: fx.Node) -> list[fx.Node]:
        """The inputs that a value is made of, if only by their size."""
        found = {n for n in made_of(node) if n.op == 'placeholder'}
        return [n for n in self.network.graph.nodes if n in found]

    def describe_in_front(self, node: fx.Node) -> list[str]:
        """What is computed in front of a value, of no features."""
        if node.op == 'placeholder':
            return []
        names = ', '.join(str(n.target) for n in self._placeholders(node))
        return [f'{describe(self.network, node)} of {names}']

    def name_of(self, node: fx.Node, found: Sources) -> str:
        """The name of a source: that of the input that it is made of."""
        inputs = self.behind[node] or self._placeholders(node)
        names = sorted(str(p.target) for p in inputs)
        return _own_name(names[0] if len(names) == 1 else node.name, node, found)


def _own_name(name: str, node: fx.Node, found: Sources) -> str:
    """A name that no other source has."""
    return name if name not in found.names.values() else f'{name}_{node.name}'
