"""Which rule an operation goes by in the very way that it is called."""

from __future__ import annotations

import inspect
import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx
from torch.utils import _pytree as pytree
from torch_geometric.utils import scatter

from spikegraph.conversion.features.sources import ends, way_to_declare
from spikegraph.conversion.operations.activations import is_activation
from spikegraph.conversion.operations.reasons import BESIDE, TRACKED
from spikegraph.conversion.operations.rules import (
    BILINEAR,
    FILLS,
    Rule,
    is_affine_call,
    rule_for,
)
from spikegraph.conversion.passes.gates import values_compared
from spikegraph.conversion.passes.products import factors_of
from spikegraph.conversion.tracing.proxies import ATTRIBUTES
from spikegraph.network.naming import (
    called,
    module_of,
    name_of,
    place_of,
)
from spikegraph.nn import Analog, SpikeGate, SpikingLayer


class CallRules:
    """The rules of operations, and why there is none for some calls.

    Args:
        network (torch.fx.GraphModule): The traced network.

    Attributes:
        signals (Set[torch.fx.Node]): Values on their way to a membrane.
        fixed (Set[torch.fx.Node]): Those among them that no spike changes.
        refusal (str): Why the last operation had no rule, empty if nothing is known.
    """

    def __init__(self, network: fx.GraphModule) -> None:
        self.network = network
        self.signals: set[fx.Node] = set()
        self.fixed: set[fx.Node] = set()
        self.refusal = ''

    def rule_of(self, node: fx.Node) -> Rule | None:
        """The rule for this very call, or None where its arguments forbid it."""
        if node.op == 'call_module':
            return self._module_rule(node)
        rule = rule_for(called(node))
        if rule is None:
            return self._allow_max(node)
        if called(node) in FILLS and self._moving((node.args[1:], node.kwargs)):
            self.refusal = 'it fills a tensor with a signal'
            return None
        if rule.kind == 'metadata' and node.args[1:] in (('T',), ('mT',)):
            return Rule('affine')
        if rule.kind == 'metadata' and node.args[1:] in (('values',), ('data',)):
            return Rule('affine')  # Of a maximum, or the tensor itself.
        if called(node) is getattr and node.args[1] not in (*ATTRIBUTES, 'layout'):
            return None
        if called(node) is scatter and self._moving((node.args, node.kwargs)):
            self.refusal = 'it scatters along another dimension, or by products'
            return None
        if called(node) is F.batch_norm:
            bound = inspect.signature(F.batch_norm).bind(*node.args, **node.kwargs)
            given = bound.arguments
            if given['running_mean'] is None or given.get('training', False):
                self.refusal = 'it normalises by the statistics of the batch'
                return None
        factors = self._moving(factors_of(node))
        if called(node) in BILINEAR and len(factors) > 1:
            way = way_to_declare(self.network, factors)
            self.refusal = f'it multiplies two signals{way}'
            return None
        if not is_affine_call(node.args, dict(node.kwargs)):
            self.refusal = 'it rounds'
            return None
        if called(node) in (operator.truediv, torch.div, 'div'):
            if self._moving((node.args[1:], node.kwargs.get('other'))):
                self.refusal = 'it divides by a signal, which is not affine'
                return None
            return rule
        if rule.kind == 'affine' and self._moves_index(node):
            self.refusal = 'its index depends on signals'
            return None
        if rule.kind == 'identity' and node.kwargs.get('training', False):
            raise ValueError(
                f'Expected {name_of(self.network, node)} to be off in evaluation (got '
                f"training=True{place_of(node, '; ')}); pass 'training=self.training'"
            )
        return self._allow_readout(node, rule)

    def _module_rule(self, node: fx.Node) -> Rule | None:
        module = module_of(self.network, node)
        rule = node.meta.get('rule') or rule_for(module)
        if isinstance(module, (SpikingLayer, SpikeGate)):
            rule = Rule('affine')
        if isinstance(module, Analog):
            return None
        if rule is not None and rule.kind in ('refused', 'attention'):
            self.refusal = rule.reason
            return None
        if rule is not None and self._moving((node.args[1:], node.kwargs)):
            self.refusal = BESIDE
            return None
        if rule is not None and rule.kind == 'norm':
            if getattr(module, 'running_mean', None) is None:
                self.refusal = TRACKED
                return None
            return rule
        return self._allow_readout(node, rule)

    def _moves_index(self, node: fx.Node) -> bool:
        is_index = called(node) is operator.getitem or 'select' in str(node.target)
        return is_index and bool(self._moving(node.args[1:]))

    def _allow_readout(self, node: fx.Node, rule: Rule | None) -> Rule | None:
        if rule is not None and rule.kind == 'readout' and not ends(node):
            return Rule('activation') if is_activation(self.network, node) else None
        return rule

    def _allow_max(self, node: fx.Node) -> Rule | None:
        values = values_compared(node)
        signals = [n for n in values if isinstance(n, fx.Node) and n in self.signals]
        return Rule('affine') if values and len(signals) == len(values) else None

    def _inputs(self, node: fx.Node) -> list[fx.Node]:
        return [n for n in node.all_input_nodes if n in self.signals]

    def _moving(self, value: Any) -> list[fx.Node]:
        """The signals in an argument that depend on spikes; one that is there
        twice counts twice.
        """
        leaves = pytree.tree_leaves(value)
        nodes = [n for n in leaves if isinstance(n, fx.Node) and n in self.signals]
        return [n for n in nodes if n not in self.fixed]
