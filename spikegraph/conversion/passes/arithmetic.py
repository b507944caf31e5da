"""Where signals meet: products become delays, powers other bases, softmax a ramp that
starts at the first spike, and quotients thresholds that a second potential moves.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import takewhile
from typing import Any

import torch
from torch import fx
from torch.overrides import get_testing_overrides

from spikegraph.conversion.operations.activations import activation_of
from spikegraph.conversion.operations.allowing import Call
from spikegraph.conversion.operations.kinds import (
    ActivationRule,
    ReadOut,
    Refused,
    Rule,
)
from spikegraph.conversion.operations.rules import ends
from spikegraph.conversion.passes.carrying import carry
from spikegraph.conversion.passes.graph import Structure
from spikegraph.conversion.passes.lifting import lifted
from spikegraph.conversion.passes.meeting import COMPUTED
from spikegraph.conversion.passes.postponing import postpone_weights
from spikegraph.conversion.passes.relays import Fraction, Relays
from spikegraph.conversion.passes.spelling import SPELLED_OUT
from spikegraph.conversion.passes.writer import Writer
from spikegraph.network.config import ConversionConfig
from spikegraph.network.functions import asks_length
from spikegraph.network.graph import Seen
from spikegraph.network.ops import is_call, op_of


class Arithmetic:
    """Lets operations on several signals be computed with spike times.

    Args:
        structure (Structure): The network, changed in place.
        signals (Set[torch.fx.Node]): Values on their way to a membrane.
        fixed (Set[torch.fx.Node]): Those among them that no spike changes.
        refused (Dict[torch.fx.Node, str]): The operations without a rule, and why;
            those that are computed are taken out.
        config (ConversionConfig): The options, of which it reads numbers of steps.
    """

    def __init__(
        self,
        structure: Structure,
        signals: set[fx.Node],
        fixed: set[fx.Node],
        refused: dict[fx.Node, str],
        config: ConversionConfig,
    ) -> None:
        self.structure, self.network = structure, structure.network
        self.writer = Writer(structure, signals, fixed)
        self.relays = Relays(
            structure, self.writer, config.num_steps, config.num_relay_steps
        )
        self.refused = refused
        self.known: set[fx.Node] = set()  # Parts of a result that no spike changes.

    def run(self) -> None:
        """Looks at every node in order."""
        for node in list(self.network.graph.nodes):
            self._visit(node)
        self.network.graph.eliminate_dead_code()
        postpone_weights(self.structure, self.writer)
        self.network.graph.eliminate_dead_code()

    def _visit(self, node: fx.Node) -> fx.Node:
        """Returns what is read in the place of a node."""
        self.writer.here = node
        self._forget(node)
        made: Any = None
        if node in self.refused:
            made = self._compute(node)
            if made is not None or self._has_rule(node):
                del self.refused[node]
        elif any(n in self.relays.fractions for n in node.all_input_nodes):
            made = carry(self.relays, node)
        else:
            made = lifted(self.relays, node, self.refused)
        if made is None:
            self.relays.settle(node)
            return node
        return self._replace(node, made)

    def _forget(self, node: fx.Node) -> None:
        """No spike changes what is made of nothing that spikes change."""
        signals, behind = self.writer.signals, node.all_input_nodes
        if self.known.intersection(behind) and not signals.intersection(behind):
            signals.discard(node)
            self.known.add(node)

    def _replace(self, node: fx.Node, made: fx.Node | Fraction) -> fx.Node:
        if isinstance(made, Fraction):
            self.relays.fractions[node] = made
            return node
        if made is not node:
            node.replace_all_uses_with(made)
        return made

    def _compute(self, node: fx.Node) -> Any:
        op = op_of(node)
        if op is None or any(self._never_fires(n) for n in node.all_input_nodes):
            return None
        _put_in_places(node)
        computed = COMPUTED.get(op.name)
        made = None if computed is None else computed(self.relays, node)
        if made is not None:
            return made
        spelled = SPELLED_OUT.get(node.target, SPELLED_OUT.get(op.name))
        return None if spelled is None else self._spelled_out(node, spelled)

    def _never_fires(self, value: fx.Node) -> bool:
        """Whether no population fires on a signal: on no sparse matrix, and no mask."""
        seen = value.meta.get('example')
        if not isinstance(seen, Seen) or not self.writer.is_moving(value):
            return False
        return seen.layout != torch.strided or not seen.dtype.is_floating_point

    def _spelled_out(self, node: fx.Node, function: Callable[..., Any]) -> Any:
        """Puts what an operation is made of in its place."""
        graph = fx.Graph()
        tracer = fx.proxy.GraphAppendingTracer(graph)
        lent: dict[fx.Node, fx.Node] = {}
        known: dict[fx.Node, fx.Proxy] = {}

        def proxy(value: fx.Node) -> Any:
            if value not in known:
                made = graph.placeholder(value.name)
                made.meta['example'] = value.meta.get('example')
                lent[made] = value
                known[value] = fx.Proxy(made, tracer)
            return known[value]

        args, kwargs = fx.node.map_arg((node.args, node.kwargs), proxy)
        kwargs = {k: v for k, v in kwargs.items() if (k, v) != ('out', None)}
        try:
            inspect.signature(function).bind(*args, **kwargs)
        except TypeError:  # An option that it does not have.
            return None
        try:
            out = function(*args, **kwargs)
        except NotImplementedError:
            return None
        copies = self._written(node, graph, lent)
        if not isinstance(out, tuple):
            return copies[out.node]
        if not all(
            is_call(user, 'getitem') or asks_length(user) for user in node.users
        ):
            return None
        for user in list(node.users):
            if asks_length(user):
                self.network.graph.erase_node(user)  # Its length is known.
                continue
            place: Any = user.args[1]
            part = out[place]
            made = copies[part.node] if isinstance(part, fx.Proxy) else part
            if made in self.relays.fractions:
                self.relays.fractions[user] = self.relays.fractions[made]
            else:
                user.replace_all_uses_with(made)
                if made not in self.writer.signals:
                    self.known.add(made)
        return node

    def _written(
        self, node: fx.Node, graph: fx.Graph, copies: dict[fx.Node, fx.Node]
    ) -> dict[fx.Node, fx.Node]:
        """Copies a small graph to where a node is; returns what became of its nodes."""
        for each in list(graph.nodes):
            if each in copies:
                continue
            self.writer.here = node
            made = self.writer.repeat(each, copies.__getitem__)
            may_end = not each.users and ends(node)
            if not may_end:
                self.relays.inner.add(made)
            rule = self._rule_of(made, may_end)
            if isinstance(rule, Refused):
                self.refused[made] = self.refused[node]
            if rule is not None and rule.stands_in:
                activation = activation_of(self.network, made)
                found = self.relays.population(made, made.args[0], activation)
                copies[each] = self._replace(made, found)
            else:
                copies[each] = self._visit(made)
        self.writer.here = node
        return copies

    def _call(self, node: fx.Node) -> Call:
        return Call(self.network, node, self.writer.signals, self.writer.fixed)

    def _has_rule(self, node: fx.Node) -> bool:
        """Whether a module has a rule for what it is given by now."""
        is_module = node.op == 'call_module'
        return is_module and not isinstance(self._call(node).rule(), Refused)

    def _rule_of(self, node: fx.Node, may_end: bool) -> Rule | None:
        """The rule of what has been written, and has no users yet."""
        if not self.writer.is_moving(node):
            return None
        call = self._call(node)
        rule = call.rule()
        if may_end or not isinstance(rule, ReadOut):
            return rule
        return ActivationRule() if call.is_activation else Refused()


def _put_in_places(node: fx.Node) -> None:
    """Gives what a function of PyTorch must be given by place, whatever its name is."""
    target: Any = node.target
    found = get_testing_overrides().get(target) if node.kwargs else None
    if found is None:
        return
    known = inspect.signature(found).parameters.values()
    names = [
        p.name
        for p in known
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    kwargs = dict(node.kwargs)
    named = takewhile(kwargs.__contains__, names[len(node.args) :])
    node.args = (*node.args, *(kwargs.pop(name) for name in named))
    node.kwargs = kwargs
