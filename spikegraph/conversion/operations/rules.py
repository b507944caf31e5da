"""What each operation means to a converter: the registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch_geometric.nn as pyg_nn
from torch import fx, nn
from torch_geometric.nn.conv import MessagePassing

from spikegraph.conversion.operations.kinds import (
    KINDS,
    RULES_OF,
    ActivationRule,
    Affine,
    Convert,
    Refused,
    Rule,
    Source,
)
from spikegraph.conversion.operations.refusals import DEFINING, HIDDEN, REASONS
from spikegraph.network.ops import Op, is_call, op_for, op_of
from spikegraph.nn import (
    Analog,
    EarliestInWindow,
    SpikeGate,
    SpikingAffine,
    SpikingConv,
    SpikingGCNConv,
    SpikingLayer,
    SpikingLinear,
    SpikingTwin,
)
from spikegraph.nn.activation import Formula
from spikegraph.nn.conv.twin import for_each_twin
from spikegraph.nn.norm import SpikingInstanceNorm
from spikegraph.nn.pool import MAX_POOLS

#: Of types of modules; whatever else there is, the table of operations tells.
RULES: dict[Any, Rule] = {}

#: Modules of PyTorch that call one function, which is looked at instead.
CALLING = (
    *(nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm, nn.GLU),
    *(nn.Softmax, nn.Softmax2d, nn.Softmin, nn.LogSoftmax),
    *(nn.Bilinear, nn.CosineSimilarity, nn.PairwiseDistance),
)

# Types of packages that are slow to import, by module and name.
NAMED_RULES = {
    ('ogb.graphproppred.mol_encoder', name): Source()
    for name in ('AtomEncoder', 'BondEncoder')
}


def register_rule(
    *types: type[nn.Module], kind: str = 'affine', reason: str = ''
) -> Callable[[Convert], Convert]:
    r"""Registers how modules of a type are converted.

    .. code-block:: python

        @register_rule(MyConv)
        def convert_my_conv(conv: MyConv) -> nn.Module:
            return SpikingMyConv.from_ann(conv)

    The function gets a copy of the trained module and returns a
    :class:`~spikegraph.nn.SpikingTwin`, which the converter looks into; or an
    operator that is affine in its first argument: a
    :class:`~spikegraph.nn.SpikingLayer`, which reads spikes, or any other
    module, which is given decoded values.

    Args:
        *types (type): The module types. Subclasses are included as long as
            they do not override what the module computes.
        kind (str, optional): ``'affine'`` stays between populations, ``'norm'`` is
            affine and folded into the layer before it where possible,
            ``'activation'`` becomes a population, ``'identity'`` is removed,
            ``'readout'`` may follow the last segment, ``'metadata'`` reads
            only shapes, ``'source'`` makes currents of indices (embeddings),
            ``'attention'`` needs analog coefficients, ``'refused'`` has no
            spiking counterpart. (default: :obj:`"affine"`)
        reason (str, optional): Why it needs analog parts or is refused.
            (default: :obj:`""`)

    Raises:
        ValueError: If something other than a module type is given, or the kind is
            not known.

    Example:
        >>> class Doubled(nn.Linear):
        ...     def forward(self, x):
        ...         return 2 * super().forward(x)
        >>> @register_rule(Doubled)
        ... def convert_doubled(layer):
        ...     twin = SpikingLinear.from_ann(layer)
        ...     twin.fold(torch.tensor(2.0), None)
        ...     return twin
        >>> rule_for(Doubled(3, 2)).kind
        'affine'
        >>> _ = RULES.pop(Doubled)
    """
    for module_type in types:
        if not (isinstance(module_type, type) and issubclass(module_type, nn.Module)):
            raise ValueError(
                "Expected 'types' to be subclasses of torch.nn.Module "
                f'(got {module_type!r})'
            )
    if kind not in KINDS:
        known = ', '.join(repr(name) for name in KINDS)
        raise ValueError(f"Expected 'kind' to be one of {known} (got {kind!r})")

    def register(convert: Convert) -> Convert:
        RULES.update(dict.fromkeys(types, KINDS[kind](convert, reason)))
        return convert

    return register


def rule_for(target: Any) -> Rule | None:
    """The rule for a module, a function or the name of a tensor method."""
    if not isinstance(target, nn.Module):
        return _rule_of_op(op_for(target))
    if isinstance(target, (SpikingLayer, SpikeGate)):
        return Affine()
    if isinstance(target, torch.jit.ScriptModule):
        return Refused(reason=HIDDEN)
    named = (type(target).__module__, type(target).__name__)
    if named in NAMED_RULES:
        return NAMED_RULES[named]
    for base in type(target).__mro__:
        rule = _rule_of_type(base)
        if rule is not None:
            same = all(
                getattr(type(target), name, None) is getattr(base, name, None)
                and name not in vars(target)
                for name in DEFINING
            )
            return rule if same else None
    return None


def rule_at(node: fx.Node) -> Rule | None:
    """The rule for what a node calls, unless that is a module."""
    return _rule_of_op(op_of(node))


def _rule_of_type(base: type) -> Rule | None:
    op = None if base in RULES else op_for(base)
    if op is not None and base in op.spellings:
        return _rule_of_op(op)
    return RULES.get(base)


def _rule_of_op(op: Op | None) -> Rule | None:
    if op is None or op.meaning not in RULES_OF:
        return None
    rule = RULES_OF[op.meaning]
    return Refused(reason=REASONS[op.why]) if rule is Refused else rule()


def reads_shape(node: fx.Node) -> bool:
    """Whether a function or a method reads the shape of what it is given only."""
    rule = rule_at(node)
    return rule is not None and rule.reads_shape


def ends(node: fx.Node) -> bool:
    """Whether only read-outs follow, no layer and no activation."""
    return all(
        user.op == 'output' or (reads_out(user) and ends(user)) for user in node.users
    )


def reads_out(node: fx.Node) -> bool:
    """Whether an operation may follow the last layer."""
    rule = rule_at(node)
    return is_call(node, 'getitem') or (rule is not None and rule.may_end)


def is_leaf(module: nn.Module) -> bool:
    """Whether the tracer keeps a module whole."""
    if isinstance(module, SpikingTwin) or type(module) in CALLING:
        return False
    whole = (MessagePassing, SpikingLayer, SpikeGate, Analog)
    if rule_for(module) is not None or isinstance(module, whole):
        return True
    origin = type(module).__module__
    return origin.startswith('torch.nn') and not isinstance(
        module, (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    )


register_rule(nn.Linear, pyg_nn.Linear)(SpikingLinear.from_ann)
register_rule(pyg_nn.GCNConv)(SpikingGCNConv.from_ann)
register_rule(
    *(pyg_nn.GraphSizeNorm, pyg_nn.MeanSubtractionNorm, pyg_nn.norm.HeteroBatchNorm),
    pyg_nn.aggr.VariancePreservingAggregation,
)(SpikingAffine)


@for_each_twin
def _register_twin(twin: type[SpikingTwin]) -> None:
    kind = 'attention' if twin.needs_analog else 'affine'
    register_rule(twin.ann_type, kind=kind, reason=twin.needs_analog)(twin.from_ann)


register_rule(
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)(SpikingConv.from_ann)
register_rule(*MAX_POOLS)(EarliestInWindow.from_ann)
register_rule(
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, pyg_nn.InstanceNorm)
)(SpikingInstanceNorm.from_ann)
RULES[Formula] = ActivationRule()
