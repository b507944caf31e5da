"""From a traced network to the graph of populations and spiking layers."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from spikegraph.coding import PhaseCode
from spikegraph.conversion.activations import (
    Activation,
    activation_of,
    check_hooks,
    is_activation,
)
from spikegraph.conversion.call import CallSpec
from spikegraph.conversion.config import ConversionConfig
from spikegraph.conversion.passes import (
    Structure,
    fold_degree,
    fold_norms,
    insert_decoders,
    insert_gates,
    remove_identities,
    stacked,
)
from spikegraph.conversion.rules import (
    BILINEAR,
    Rule,
    is_affine_call,
    rule_for,
)
from spikegraph.conversion.tracing import describe, module_of, trace
from spikegraph.nn import PhaseNeuron

GRAPH_NAMES = ('edge_weight', 'edge_attr', 'adj', 'adj_t', 'edge_index')
_UNFITTED = PhaseCode(1, 2)  # Every population is calibrated before use.


def build_structure(
    model: nn.Module,
    spec: CallSpec,
    features: Sequence[str],
    config: ConversionConfig,
) -> Structure:
    r"""Replaces every operation of a traced copy by its spiking twin.

    Args:
        model (torch.nn.Module): The trained model; it is not changed.
        spec (CallSpec): How it is called.
        features (Sequence[str]): The arguments, or attributes of a PyG data
            argument, that may carry features (floating point tensors).
        config (ConversionConfig): Options.

    Raises:
        NotImplementedError: If an operation has no rule and may not stay
            analog.
        ValueError: If the model has nothing to convert.
    """
    builder = _Builder(trace(model, spec), features, config)
    builder.build()
    return builder.structure


class _Builder:
    def __init__(
        self,
        network: fx.GraphModule,
        features: Sequence[str],
        config: ConversionConfig,
    ) -> None:
        self.network = network
        self.graph = network.graph
        self.config = config
        self.structure = Structure(network)
        self.signals: set[fx.Node] = set()
        self.rules: dict[str, Rule | None] = {}  # Of modules before conversion.
        self.converted: set[str] = set()
        self.refusal = ''
        self.last_input: fx.Node | None = None
        self.sources = self._find_features(features)

    def build(self) -> None:
        for node in list(self.graph.nodes):
            if node in self.sources:
                self._encode_source(node)
            elif node.op != 'output' and self._inputs(node):
                self._convert_node(node)
        remove_identities(self.structure, self.signals)
        fold_norms(self.structure, self.signals)
        insert_gates(self.structure, self.signals)
        insert_decoders(self.structure)
        if self.config.fold_degree:
            fold_degree(self.structure)
        self.graph.eliminate_dead_code()
        self.network.delete_all_unused_submodules()
        self.network.recompile()
        self.graph.lint()
        used = {str(n.target) for n in self.graph.nodes if n.op == 'call_module'}
        for name in list(self.structure.populations):
            if name not in used:
                del self.structure.populations[name]
        has_layers = any(
            n.op == 'call_module'
            and not isinstance(module_of(self.network, n), PhaseNeuron)
            for n in self.graph.nodes
        )
        if not has_layers and len(self.structure.populations) <= len(self.sources):
            raise ValueError(
                "Expected 'model' to hold layers and activations to convert (got "
                f'{type(self.network).__name__} without any)'
            )

    # Which inputs carry features.

    def _find_features(self, features: Sequence[str]) -> list[fx.Node]:
        sources = []
        for node in self.graph.nodes:
            name = None
            if node.op == 'placeholder':
                name = node.target
            elif node.target is getattr and node.args[0].op == 'placeholder':
                name = node.args[1]
            if name in features and self._is_feature(node, str(name)):
                sources.append(node)
        if not sources:
            raise ValueError(
                "Expected the model to read floating point features, such as 'x' (got "
                f'{", ".join(features) or "no floating point input"})'
            )
        return sources

    def _is_feature(self, source: fx.Node, name: str) -> bool:
        """Whether a value ends up as the first argument of a layer or as the
        output, not behind the features as edge weights do.
        """
        queue, seen = [source], {source}
        while queue:
            node = queue.pop()
            for user in node.users:
                if user.op == 'call_module':
                    if user.args and user.args[0] is node:
                        return True
                elif user.op == 'output':
                    return True
                elif user not in seen and (
                    node is not source or name not in GRAPH_NAMES
                ):
                    seen.add(user)
                    queue.append(user)
        return False

    def _encode_source(self, source: fx.Node) -> None:
        self.signals.add(source)
        if not self.config.encode_input:
            return
        name = str(source.args[1] if source.target is getattr else source.target)
        placeholders = [n for n in self.graph.nodes if n.op == 'placeholder']
        behind = self.last_input or placeholders[-1]
        if source.op != 'placeholder':
            behind = source
        with self.graph.inserting_after(behind):
            what = f"input '{name}'"
            node = self._add_neuron(f'input_{name}', (source,), what, 'identity')
        self.last_input = node if source.op == 'placeholder' else None
        source.replace_all_uses_with(node, delete_user_cb=lambda user: user is not node)

    # One node at a time.

    def _inputs(self, node: fx.Node) -> list[fx.Node]:
        return [n for n in node.all_input_nodes if n in self.signals]

    def _num_signals(self, node: fx.Node) -> int:
        """Like :meth:`_inputs`, but ``x * x`` counts twice."""
        flat = pytree.tree_leaves((node.args, node.kwargs))
        return sum(isinstance(a, fx.Node) and a in self.signals for a in flat)

    def _convert_node(self, node: fx.Node) -> None:
        if node in self.signals:  # An input population.
            return
        self.refusal = ''
        rule = self._rule(node)
        activation: Activation = 'relu'
        if rule is not None and rule.kind == 'activation':
            try:
                activation = activation_of(self.network, node)
            except ValueError as error:
                self.refusal, rule = str(error), None
        if rule is None:
            self._leave_analog(node)
            return
        if rule.kind == 'metadata':
            return
        self.signals.add(node)
        if rule.kind == 'activation':
            what = describe(self.network, node)
            with self.graph.inserting_after(node):
                args = (self._inputs(node)[0],)
                neuron = self._add_neuron(node.name, args, what, activation)
            node.replace_all_uses_with(neuron)
            self.graph.erase_node(node)
        elif node.op == 'call_module' and rule.convert is not None:
            self._convert_module(str(node.target), rule)

    def _convert_module(self, target: str, rule: Rule) -> None:
        if target in self.converted:
            return
        self.converted.add(target)
        module = self.network.get_submodule(target)
        check_hooks(target, module)
        assert rule.convert is not None
        try:
            spiking = rule.convert(module)
        except (ValueError, NotImplementedError) as error:
            raise type(error)(f"Cannot convert '{target}': {error}") from error
        if not isinstance(spiking, nn.Module):
            raise ValueError(
                f"Expected the rule for '{target}' ({type(module).__name__}) to return a "
                f'module (got {type(spiking).__name__})'
            )
        self.network.add_submodule(target, spiking.eval())

    def _rule(self, node: fx.Node) -> Rule | None:
        """The rule for this very call, or None where its arguments forbid it."""
        if node.op == 'call_module':
            target, module = str(node.target), module_of(self.network, node)
            rule = self.rules.setdefault(target, rule_for(module))
            if rule is not None and self._inputs(node) != [node.args[0]]:
                beside = [n.name for n in self._inputs(node) if n is not node.args[0]]
                self.refusal = f"'{', '.join(beside)}' enters beside its features"
                return None
            if rule is not None and rule.kind == 'norm':
                tracked = getattr(module, 'running_mean', None) is not None
                return rule if tracked else None
            return self._allow_readout(node, rule)
        rule = rule_for(node.target)
        if rule is None:
            return self._allow_max(node)
        if rule.kind == 'metadata' and node.args[1:] in (('T',), ('mT',)):
            return Rule('affine')
        if rule.kind == 'metadata' and node.args[1:] == ('values',):
            return Rule('affine')  # Of a maximum.
        if node.target in BILINEAR and self._num_signals(node) > 1:
            self.refusal = 'it multiplies two signals'
            return None
        if not is_affine_call(node.args, dict(node.kwargs)):
            self.refusal = 'it rounds'
            return None
        if node.target in (operator.truediv, torch.div, 'div'):
            return rule if node.args[0] in self.signals else None
        if rule.kind == 'identity' and node.kwargs.get('training', False):
            raise ValueError(
                f"Expected '{node.name}' ({describe(self.network, node)}) to be off in "
                "evaluation (got training=True); pass 'training=self.training'"
            )
        return self._allow_readout(node, rule)

    def _allow_readout(self, node: fx.Node, rule: Rule | None) -> Rule | None:
        if rule is not None and rule.kind == 'readout' and not self._ends(node):
            return Rule('activation') if is_activation(self.network, node) else None
        return rule

    def _ends(self, node: fx.Node) -> bool:
        """Whether only read-outs follow, no layer and no activation."""
        return all(
            user.op == 'output' or (_reads_out(user) and self._ends(user))
            for user in node.users
        )

    def _allow_max(self, node: fx.Node) -> Rule | None:
        return Rule('affine') if stacked(node) is not None else None

    def _leave_analog(self, node: fx.Node) -> None:
        what = describe(self.network, node)
        if not self.config.allow_analog:
            name, _, kind = what.partition(' ')
            kind = kind.strip('()')
            why = self.refusal or 'no rule makes it affine or a phase neuron'
            remedy = 'Put it into a module with a rule of its own'
            if node.op == 'call_module':
                remedy = f"Add a rule with '@register_rule({kind})'"
            raise NotImplementedError(
                f"Cannot convert '{name}' ({kind}): {why}. {remedy} or pass "
                "'allow_analog=True'"
            )
        self.signals.add(node)
        self.structure.analog[node.name] = what

    def _add_neuron(
        self, name: str, args: tuple[Any, ...], what: str, activation: Activation
    ) -> fx.Node:
        target = f'neurons.{name}'
        neuron = PhaseNeuron(_UNFITTED, activation=activation)
        self.network.add_submodule(target, neuron)
        node = self.graph.call_module(target, args)
        node.meta['population'] = True
        self.signals.add(node)
        self.structure.populations[target] = what
        return node


def _reads_out(node: fx.Node) -> bool:
    rule = None if node.op == 'call_module' else rule_for(node.target)
    kinds = ('readout', 'metadata', 'identity')
    return node.target is operator.getitem or (rule is not None and rule.kind in kinds)
