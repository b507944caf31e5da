"""From a traced network to the graph of populations and spiking layers."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from spikegraph.coding import PhaseCode
from spikegraph.conversion.call import CallSpec
from spikegraph.conversion.config import ConversionConfig
from spikegraph.conversion.rules import (
    BILINEAR,
    Rule,
    is_relu_clamp,
    rule_for,
)
from spikegraph.conversion.tracing import describe, module_of, trace
from spikegraph.nn import (
    DegreeFactor,
    EarliestSpike,
    PhaseNeuron,
    SpikingGCNConv,
    SpikingLayer,
)

_UNFITTED = PhaseCode(1, 2)  # Every population is calibrated before use.


@dataclass
class Structure:
    """A converted network before calibration.

    Args:
        network (torch.fx.GraphModule): The graph of spiking modules.
        populations (Dict[str, str]): Each population's module path and the
            activation or input it stands for.
        analog (List[str]): What stays analog.
        groups (List[List[str]]): Populations that must share code and scale.
        features (Tuple[str, ...]): The encoded inputs.
        num_folded (int): Normalisation layers folded into weights.
    """

    network: fx.GraphModule
    populations: dict[str, str] = field(default_factory=dict)
    analog: list[str] = field(default_factory=list)
    groups: list[list[str]] = field(default_factory=list)
    features: tuple[str, ...] = ()
    num_folded: int = 0


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
        self.potentials: set[fx.Node] = set()  # Real-valued, not coded.
        self.sources = self._find_features(features)

    def build(self) -> None:
        converted: dict[str, nn.Module] = {}
        for node in list(self.graph.nodes):
            if node in self.sources:
                self._encode_source(node)
            elif node.op != 'output' and self._inputs(node):
                self._convert_node(node, converted)
        self._remove_identities()
        self._fold_norms()
        self._insert_gates()
        self._insert_decoders()
        if self.config.fold_degree:
            self._fold_degree()
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
            if name in features and any(
                self._reads_feature(node, u) for u in node.users
            ):
                sources.append(node)
        if not sources:
            raise ValueError(
                "Expected the model to read floating point features, such as 'x' (got "
                f'{", ".join(features) or "no floating point input"})'
            )
        self.structure.features = tuple(str(node.name) for node in sources)
        return sources

    def _reads_feature(self, source: fx.Node, user: fx.Node) -> bool:
        """Edge weights and the like enter modules behind the features."""
        if user.op != 'call_module':
            graph_names = ('edge_weight', 'edge_attr', 'adj', 'adj_t', 'edge_index')
            return source.name not in graph_names and source.target not in graph_names
        return (
            bool(user.args)
            and user.args[0] is source
            or (user.kwargs.get('x') is source or user.kwargs.get('input') is source)
        )

    def _encode_source(self, source: fx.Node) -> None:
        self.signals.add(source)
        if not self.config.encode_input:
            self.potentials.add(source)
            return
        name = str(source.args[1] if source.target is getattr else source.target)
        placeholders = [n for n in self.graph.nodes if n.op == 'placeholder']
        behind = source if source.op != 'placeholder' else placeholders[-1]
        with self.graph.inserting_after(behind):
            node = self._add_neuron(f'input_{name}', (source,), f"input '{name}'")
        source.replace_all_uses_with(node, delete_user_cb=lambda user: user is not node)

    # One node at a time.

    def _inputs(self, node: fx.Node) -> list[fx.Node]:
        return [n for n in node.all_input_nodes if n in self.signals]

    def _convert_node(self, node: fx.Node, converted: dict[str, nn.Module]) -> None:
        if node in self.signals:  # An input population.
            return
        rule = self._rule(node)
        if rule is None:
            self._leave_analog(node)
            return
        if rule.kind == 'metadata':
            return
        self.signals.add(node)
        if rule.kind == 'activation':
            what = describe(self.network, node)
            with self.graph.inserting_after(node):
                neuron = self._add_neuron(node.name, (self._inputs(node)[0],), what)
            node.replace_all_uses_with(neuron)
            self.graph.erase_node(node)
        elif node.op == 'call_module' and rule.convert is not None:
            target = str(node.target)
            if target not in converted:
                converted[target] = self._convert_module(target, rule)

    def _convert_module(self, target: str, rule: Rule) -> nn.Module:
        module = self.network.get_submodule(target)
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        if hooks:
            raise ValueError(
                f"Expected '{target}' ({type(module).__name__}) to have no forward hooks, "
                f'which conversion would drop (got {hooks[0]!r}); remove them first'
            )
        assert rule.convert is not None
        spiking = rule.convert(module)
        if not isinstance(spiking, nn.Module):
            raise ValueError(
                f"Expected the rule for '{target}' ({type(module).__name__}) to return a "
                f'module (got {type(spiking).__name__})'
            )
        self.network.add_submodule(target, spiking.eval())
        return spiking

    def _rule(self, node: fx.Node) -> Rule | None:
        """The rule for this very call, or None where its arguments forbid it."""
        if node.op == 'call_module':
            module = module_of(self.network, node)
            rule = rule_for(module)
            first = (
                node.args[0] if node.args else next(iter(node.kwargs.values()), None)
            )
            if rule is not None and self._inputs(node) != [first]:
                return None  # A signal enters beside the features.
            if rule is not None and rule.kind == 'norm':
                return (
                    rule if getattr(module, 'running_mean', None) is not None else None
                )
            return self._allow_readout(node, rule)
        rule = rule_for(node.target)
        if rule is None:
            return self._allow_max(node)
        if rule.kind == 'metadata' and node.args[1:] in (('T',), ('mT',)):
            return Rule('affine')
        if node.target in BILINEAR and len(self._inputs(node)) > 1:
            return None
        if node.target in (operator.truediv, torch.div, 'div'):
            return rule if node.args[0] in self.signals else None
        if rule.kind == 'activation' and 'clamp' in str(node.target):
            return rule if is_relu_clamp(node.args, dict(node.kwargs)) else None
        if rule.kind == 'identity' and node.kwargs.get('training', False):
            raise ValueError(
                f"Expected '{node.name}' ({describe(self.network, node)}) to be off in "
                "evaluation (got training=True); pass 'training=self.training'"
            )
        return self._allow_readout(node, rule)

    def _allow_readout(self, node: fx.Node, rule: Rule | None) -> Rule | None:
        if rule is None or rule.kind != 'readout':
            return rule
        ends = {'output'}
        queue = list(node.users)
        while queue:
            user = queue.pop()
            follows = user.op == 'output' or (
                user.op != 'call_module'
                and (rule_for(user.target) or Rule('norm')).kind
                in ('readout', 'metadata', 'identity')
            )
            if not follows and user.target is not operator.getitem:
                return None
            queue += [] if user.op in ends else list(user.users)
        return rule

    def _allow_max(self, node: fx.Node) -> Rule | None:
        return Rule('affine') if _stacked(node) is not None else None

    def _leave_analog(self, node: fx.Node) -> None:
        what = describe(self.network, node)
        if not self.config.allow_analog:
            name, _, kind = what.partition(' ')
            kind = kind.strip('()')
            remedy = f"'@register_rule({kind})'"
            raise NotImplementedError(
                f"Cannot convert '{name}' ({kind}): no rule makes it affine or a phase "
                f"neuron. Add a rule with {remedy} or pass 'allow_analog=True'"
            )
        self.signals.add(node)
        node.meta['analog'] = True
        self.structure.analog.append(what)

    def _add_neuron(self, name: str, args: tuple[Any, ...], what: str) -> fx.Node:
        target = f'neurons.{name}'
        self.network.add_submodule(target, PhaseNeuron(_UNFITTED))
        node = self.graph.call_module(target, args)
        node.meta['population'] = True
        self.signals.add(node)
        self.structure.populations[target] = what
        return node

    # Passes over the whole graph.

    def _remove_identities(self) -> None:
        for node in list(self.graph.nodes):
            rule = None
            if node.op == 'call_module':
                rule = rule_for(module_of(self.network, node))
            elif node.op in ('call_function', 'call_method'):
                rule = rule_for(node.target)
            if rule is not None and rule.kind == 'identity' and node in self.signals:
                node.replace_all_uses_with(node.all_input_nodes[0])
                self.graph.erase_node(node)

    def _fold_norms(self) -> None:
        calls: dict[str, int] = {}
        for node in self.graph.nodes:
            if node.op == 'call_module':
                calls[str(node.target)] = calls.get(str(node.target), 0) + 1
        for node in list(self.graph.nodes):
            if node.op != 'call_module' or node not in self.signals:
                continue
            norm = module_of(self.network, node)
            before = node.all_input_nodes[0]
            if not isinstance(norm, nn.BatchNorm1d) or before.op != 'call_module':
                continue
            layer = module_of(self.network, before)
            alone = len(before.users) == 1 and calls[str(before.target)] == 1
            if isinstance(layer, SpikingLayer) and alone:
                assert norm.running_mean is not None and norm.running_var is not None
                gain = (norm.running_var + norm.eps).rsqrt()
                gain = gain if norm.weight is None else gain * norm.weight
                offset = -norm.running_mean * gain
                offset = offset if norm.bias is None else offset + norm.bias
                layer.fold(gain, offset)
                self.structure.num_folded += 1
                node.replace_all_uses_with(before)
                self.graph.erase_node(node)

    def _insert_gates(self) -> None:
        """``stack(populations).max(dim)`` is the earliest spike, exactly."""
        for node in list(self.graph.nodes):
            stack = _stacked(node)
            if stack is None or node not in self.signals:
                continue
            values: list[fx.Node] = list(stack.args[0])  # type: ignore[arg-type]
            if not all(value.meta.get('population') for value in values):
                found = [v for v in values if not v.meta.get('population')][0]
                raise NotImplementedError(
                    f"Cannot convert '{node.name}' (max): it compares potentials, such as "
                    f"'{found.name}', where only spikes have an earliest. Apply ReLU "
                    'before the maximum'
                )
            name = f'gates.{node.name}'
            self.network.add_submodule(name, EarliestSpike())
            with self.graph.inserting_after(node):
                gate = self.graph.call_module(name, (values,))
            gate.meta['population'] = True
            self.signals.add(gate)
            for user in list(node.users):
                picks = user.target is operator.getitem and user.args[1] == 0
                if not picks and user.target is not operator.getitem:
                    picks = node.target in (torch.amax, 'amax')
                if not picks:
                    raise NotImplementedError(
                        f"Cannot convert '{node.name}' (max): its indices are read, and "
                        'spike times do not tell them. Read only the values'
                    )
                user.replace_all_uses_with(gate)
            self._tie(values)

    def _tie(self, values: Sequence[fx.Node]) -> None:
        names = []
        for value in values:
            names += [str(value.target)]
            if str(value.target).startswith('gates.'):
                names += [str(n.target) for n in value.all_input_nodes]
        neurons = {name for name in names if name.startswith('neurons.')}
        merged = [g for g in self.structure.groups if neurons & set(g)]
        rest = [g for g in self.structure.groups if not neurons & set(g)]
        group = neurons.union(*map(set, merged))
        self.structure.groups = [*rest, sorted(group)]

    def _insert_decoders(self) -> None:
        for node in list(self.graph.nodes):
            if not node.meta.get('population'):
                continue
            readers = [u for u in node.users if not self._reads_spikes(node, u)]
            if not readers:
                continue
            with self.graph.inserting_after(node):
                decoded = self.graph.call_method('decode', (node,))
            self.signals.add(decoded)
            for reader in readers:
                reader.replace_input_with(node, decoded)

    def _reads_spikes(self, node: fx.Node, user: fx.Node) -> bool:
        if user.op != 'call_module':
            return False
        module = module_of(self.network, user)
        return isinstance(module, (SpikingLayer, EarliestSpike))

    def _fold_degree(self) -> None:
        for node in list(self.graph.nodes):
            if not node.meta.get('population') or node.op != 'call_module':
                continue
            if not isinstance(module_of(self.network, node), PhaseNeuron):
                continue
            convs = [(user, self._folding_conv(user)) for user in node.users]
            calls = {(u.args[1:], tuple(u.kwargs.items())) for u, _ in convs}
            options = {
                None
                if conv is None
                else (conv.improved, conv.add_self_loops, conv.flow)
                for _, conv in convs
            }
            if len(convs) > 0 and len(calls) == 1 and len(options) == 1:
                if None not in options:
                    self._fold_source(node, convs)
        for node in self.graph.nodes:
            conv = self._folding_conv(node)
            if conv is not None and node.users:
                conv.fold_target = all(u.meta.get('population') for u in node.users)

    def _folding_conv(self, node: fx.Node) -> SpikingGCNConv | None:
        if node.op != 'call_module':
            return None
        conv = module_of(self.network, node)
        folds = isinstance(conv, SpikingGCNConv) and conv.normalize and not conv.cached
        return conv if folds else None  # type: ignore[return-value]

    def _fold_source(self, node: fx.Node, convs: list[Any]) -> None:
        user, conv = convs[0]
        before = set(itertools.takewhile(lambda n: n is not node, self.graph.nodes))
        if not before.issuperset(set(user.all_input_nodes) - {node}):
            return  # The graph is only known once the population has fired.
        name = f'factors.{node.name}'
        self.network.add_submodule(name, DegreeFactor(conv))
        potential = node.args[0]
        with self.graph.inserting_before(node):
            arguments = (potential, *user.args[1:])
            factor = self.graph.call_module(name, arguments, dict(user.kwargs))
        node.args = (potential, factor)
        for _, each in convs:
            each.fold_source = True


def _stacked(node: fx.Node) -> fx.Node | None:
    """The stack that ``node`` takes the maximum of, along its new dimension."""
    if node.target not in ('max', 'amax', torch.max, torch.amax) or not node.args:
        return None
    stack = node.args[0]
    if not isinstance(stack, fx.Node) or stack.target is not torch.stack:
        return None
    dim = node.kwargs.get('dim', node.args[1] if len(node.args) > 1 else None)
    over = stack.kwargs.get('dim', stack.args[1] if len(stack.args) > 1 else 0)
    return stack if dim == over else None
