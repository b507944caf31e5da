"""Decides what every operation of a traced network becomes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import fx

from spikegraph.calls.call import CallSpec, no_features
from spikegraph.conversion.features.finder import find_sources
from spikegraph.conversion.features.sources import (
    activations_on_weights,
    inputs_behind,
    makes_current,
    values_of_indices,
    values_weighted,
)
from spikegraph.conversion.operations.activations import (
    Activation,
    activation_of,
)
from spikegraph.conversion.operations.allowing import Call, moving
from spikegraph.conversion.operations.kinds import Affine, Refused, Rule
from spikegraph.conversion.operations.probing import find_formula, is_affine_function
from spikegraph.conversion.operations.refusals import (
    BESIDE,
    describe_refusal,
    first_refused,
    never_affine,
)
from spikegraph.conversion.operations.rules import rule_for
from spikegraph.conversion.passes.arithmetic import Arithmetic
from spikegraph.conversion.passes.channels import set_channel_dims
from spikegraph.conversion.passes.graph import Structure
from spikegraph.conversion.passes.identities import ask_for_sizes, remove_identities
from spikegraph.conversion.passes.messages import collect_members
from spikegraph.conversion.passes.order import run_passes
from spikegraph.conversion.passes.pools import replace_pool
from spikegraph.conversion.passes.populations import add_population
from spikegraph.conversion.passes.reductions import refusal_of
from spikegraph.conversion.passes.sealing import seal
from spikegraph.conversion.tracing.tracer import drop_unread_inputs
from spikegraph.network.config import ConversionConfig
from spikegraph.network.graph import Seen
from spikegraph.network.naming import (
    describe,
    module_of,
    operation_of,
)
from spikegraph.network.ops import is_call
from spikegraph.nn import (
    Analog,
    GraphFilter,
    PhaseNeuron,
)


class SignalBeside(Exception):
    """A signal that meets the features of a layer, by the path of the layer."""


class Builder:
    """Turns a traced network into populations and spiking layers, node by node.

    Args:
        network (torch.fx.GraphModule): The traced network, changed in place.
        spec (CallSpec): How it is called.
        config (ConversionConfig): Options.
        wide (FrozenSet[str], optional): See :class:`Structure`.
            (default: :obj:`frozenset()`)
        opened (FrozenSet[str], optional): The paths of layers that would have been
            refused, and were looked into instead. (default: :obj:`frozenset()`)
    """

    def __init__(
        self,
        network: fx.GraphModule,
        spec: CallSpec,
        config: ConversionConfig,
        wide: frozenset[str] = frozenset(),
        opened: frozenset[str] = frozenset(),
    ) -> None:
        self.opened = opened
        self.network = network
        self.signals: set[fx.Node] = set()  # Values on their way to a membrane.
        self.fixed: set[fx.Node] = set()  # Those among them that no spike changes.
        self.graph = network.graph
        self.config = config
        self.structure = Structure(network, spec, wide=wide)
        self.refused: dict[fx.Node, str] = {}  # Why those without a rule are.
        self.open: set[fx.Node] = set()  # They, and what is made of them.
        self.probed: set[fx.Node] = set()  # Functions found to be affine.
        self.last_input: fx.Node | None = None
        self.features = spec.features
        ask_for_sizes(network)
        self.sources = self._find_sources(spec)

    def build(self) -> None:
        for node in list(self.graph.nodes):
            if node in self.sources:
                self._enter_source(node, self.sources[node])
            elif (
                node not in self.early
                and node.op not in ('output', 'placeholder')
                and (
                    self._inputs(node)
                    or makes_current(self.network, node)
                    or self._enter(node)
                )
            ):
                self._convert_node(node)
        self._close()
        self.structure.currents += [
            *values_of_indices(self.network),
            *activations_on_weights(
                self.network, self.features, self.signals | self.early
            ),
        ]
        run_passes(self.structure, self.signals, self.config)
        self.graph.eliminate_dead_code()
        drop_unread_inputs(self.graph)  # They need not be finite, nor be there.
        names = [str(n.target) for n in self.graph.nodes if n.op == 'placeholder']
        self.structure.spec = replace(self.structure.spec, read=tuple(names))
        self.network.delete_all_unused_submodules()
        self.network.recompile()
        self.graph.lint()
        self._check_result()
        set_channel_dims(self.network)
        for module in self.network.modules():
            if isinstance(module, GraphFilter):
                module.order = self.config.order
        self.structure.network = seal(self.structure)

    def _check_result(self) -> None:
        used = {str(n.target) for n in self.graph.nodes if n.op == 'call_module'}
        for name in list(self.structure.populations):
            if name not in used:
                del self.structure.populations[name]
        self.structure.relays &= used
        self.structure.tied = [tie & used for tie in self.structure.tied]
        kept = self.structure.groups
        self.structure.groups = [[n for n in g if n in used] for g in kept]
        has_layers = any(
            n.op == 'call_module'
            and not isinstance(module_of(self.network, n), PhaseNeuron)
            for n in self.graph.nodes
        )
        if not has_layers and len(self.structure.populations) <= len(self.sources):
            raise ValueError(
                "Expected 'model' to hold layers and activations to convert (got "
                f'{type(self.network).__name__} without any); give the trained network'
            )

    # Which inputs carry features.

    def _find_sources(self, spec: CallSpec) -> dict[fx.Node, str]:
        found = find_sources(self.network, spec)
        self.structure.preprocessed += found.preprocessed
        self.early = found.early
        self.readers = found.readers
        behind = {node: inputs_behind(node) for node in found.names}
        self.beside = {  # Made of what PyG keeps of edges or places alone.
            node
            for node, names in behind.items()
            if len(names) == 1 and spec.holds_currents(names[0])
        }
        makes_currents = (makes_current(self.network, n) for n in self.graph.nodes)
        if not found.names and not any(makes_currents):
            raise no_features(spec)
        return found.names

    def _enter_source(self, source: fx.Node, name: str) -> None:
        is_current = source in self.beside and len(self.beside) < len(self.sources)
        seen = source.meta.get('example')
        if isinstance(seen, Seen) and seen.layout != torch.strided:
            with self.graph.inserting_after(source):
                made = self.graph.call_method('to_dense', (source,))
            made.meta['example'] = replace(seen, layout=torch.strided)
            source.replace_all_uses_with(made, lambda user: user is not made)
            self.early.add(made)
            source = made
        readers = self.readers.get(source)
        self.signals.add(source)
        if is_current:
            self.fixed.add(source)
            self.structure.currents.append(name)
            return
        if not self.config.encode_input:
            self.structure.currents.append(name)
            return
        placeholders = [n for n in self.graph.nodes if n.op == 'placeholder']
        behind = source
        if source.op == 'placeholder':
            behind = self.last_input or placeholders[-1]
        with self.graph.inserting_after(behind):
            what = f"input '{name}'"
            node = add_population(
                self.structure, f'input_{name}', (source,), what, 'identity', 'input'
            )
        self.signals.add(node)
        self.last_input = node if source.op == 'placeholder' else self.last_input
        if readers is not None:  # Others read it as weights.
            self.signals.discard(source)
        source.replace_all_uses_with(
            node,
            delete_user_cb=lambda user: (
                user is not node
                and user not in self.early
                and (readers is None or user in readers)
            ),
        )

    def _enter(self, node: fx.Node) -> bool:
        """Lets numbers that are no features, but read by weights, be currents."""
        for value in values_weighted(self.network, node):
            names = inputs_behind(value)
            if names:
                self.signals.add(value)
                self.fixed.add(value)
                known = self.structure.currents
                known += [name for name in names if name not in known]
        return bool(self._inputs(node))

    # One node at a time.

    def _convert_node(self, node: fx.Node) -> None:
        if node in self.signals:  # An input population.
            return
        if self._is_fixed_part(node):
            return
        why = refusal_of(node, self._moving)
        self.signals.update(replace_pool(self.network, node, self._moving))
        rule = self._call(node).rule()
        activation: Activation = 'relu'
        if rule.stands_in:
            try:
                activation = activation_of(self.network, node)
            except ValueError as error:
                rule = Refused(reason=str(error))
        found: Rule | None = rule
        if isinstance(rule, Refused):
            found = self._find_out(node, None, rule.reason or why)
        elif self._is_open(node):
            found = self._find_out(node, rule, why)
        if found is None or found.reads_shape:
            return
        self.signals.add(node)
        if not self._moving(node.all_input_nodes) and not found.makes_current:
            self.fixed.add(node)
        if found.stands_in:
            self._stand_in(node, self._inputs(node)[0], activation)
            self.graph.erase_node(node)

    def _call(self, node: fx.Node) -> Call:
        return Call(self.network, node, self.signals, self.fixed)

    def _inputs(self, node: fx.Node) -> list[fx.Node]:
        return [n for n in node.all_input_nodes if n in self.signals]

    def _moving(self, value: Any) -> list[fx.Node]:
        return moving(value, self.signals, self.fixed)

    def _find_out(self, node: fx.Node, rule: Rule | None, why: str) -> Rule | None:
        """Looks at what a function without a rule computes, by itself or together
        with those in front of it: something affine, or an activation. Until that is
        known it stays open.
        """
        is_known = node.op != 'call_module' and never_affine(node.target)
        may_be = rule is None and not is_known  # Samples may say otherwise.
        if may_be and is_affine_function(node, self._moving):
            self.probed.add(node)
            return Affine()
        if rule is None and node.op == 'call_module':  # No part of a formula.
            if self.refused and self.config.products == 'spiking':
                self.signals.add(node)  # What it is given may turn out otherwise.
                self.refused[node] = why
            else:
                self._leave_analog(node, why)
            return None
        beyond = self.open if rule is not None else ()
        found = find_formula(self.network, node, self._moving, beyond)
        if found is not None:
            activation, source = found
            self._stand_in(node, source, activation)
            return None
        self.open.add(node)
        if rule is None:
            self.signals.add(node)
            self.refused[node] = why
        return rule

    def _is_fixed_part(self, node: fx.Node) -> bool:
        """Whether a node is what an affine function returns beside numbers, such as
        a mask, which no signal changes.
        """
        seen = node.meta.get('example')
        is_part = is_call(node, 'getitem') and node.args[0] in self.probed
        return is_part and isinstance(seen, Seen) and not seen.dtype.is_floating_point

    def _is_open(self, node: fx.Node) -> bool:
        return any(n in self.open for n in node.all_input_nodes)

    def _close(self) -> None:
        """Leaves analog, or refuses, what has turned out to be nothing else."""
        self.graph.eliminate_dead_code()
        if self.refused and self.config.products == 'spiking':
            remove_identities(self.structure, self.signals)
            collect_members(self.structure, self.signals)
            parts = self.structure, self.signals, self.fixed, self.refused
            Arithmetic(*parts, self.config).run()
        nodes = set(self.graph.nodes)
        for node, why in self.refused.items():
            if node in nodes:
                self._leave_analog(node, why)
        for node in nodes:
            node.meta.pop('sample', None)

    def _leave_analog(self, node: fx.Node, why: str) -> None:
        if why == BESIDE and self.config.products == 'spiking':
            if str(node.target) not in self.opened:
                raise SignalBeside(str(node.target))
        if not self.config.allow_analog:
            node, why = first_refused(node, why, self.refused)
            has_rule = not isinstance(self._known_rule(node), (Refused, type(None)))
            refusal = describe_refusal(self.network, node, why, has_rule)
            raise NotImplementedError(refusal)
        self.signals.add(node)
        if node.op == 'call_module' and isinstance(
            module_of(self.network, node), Analog
        ):
            self.fixed.add(node)  # Coefficients that spikes are weighted by.
        self.structure.analog[node.name] = describe(self.network, node)

    def _known_rule(self, node: fx.Node) -> Rule | None:
        return node.meta.get('rule') or rule_for(operation_of(self.network, node))

    def _stand_in(self, node: fx.Node, source: fx.Node, activation: Activation) -> None:
        """Lets whoever reads an operation read a population in its place."""
        what = describe(self.network, node)
        with self.graph.inserting_after(node):
            neuron = add_population(
                self.structure, node.name, (source,), what, activation
            )
        self.signals.add(neuron)
        neuron.meta['where'] = node.meta.get('where', '')
        node.replace_all_uses_with(neuron)
