"""What each operation means to a converter: the registry."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg_nn
import torch_geometric.utils as pyg_utils
from torch import nn
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.conv import MessagePassing
from torch_geometric.nn.models.linkx import SparseLinear

from spikegraph.conversion.operations.activations import CLAMPS, FUNCTIONS
from spikegraph.conversion.operations.images import CONVOLUTIONS, IMAGE_OPERATIONS
from spikegraph.conversion.operations.refusals import REFUSALS
from spikegraph.conversion.passes.products import PRODUCTS
from spikegraph.network.functions import (
    check_answer,
    replace_part,
    set_items,
    write_through,
)
from spikegraph.nn import (
    ACTIVATIONS,
    Analog,
    DegreeFactor,
    EarliestInWindow,
    SpikeGate,
    SpikingAffine,
    SpikingConv,
    SpikingGCNConv,
    SpikingLayer,
    SpikingLinear,
    SpikingTwin,
)
from spikegraph.nn.conv.twin import for_each_twin
from spikegraph.nn.norm import SpikingInstanceNorm
from spikegraph.nn.pool import MAX_POOLS
from spikegraph.nn.routing import LEAF_FUNCTIONS, SHAPE_FUNCTIONS

Kind = Literal[
    'affine',
    'norm',
    'activation',
    'identity',
    'readout',
    'metadata',
    'source',
    'attention',
    'refused',
]
Convert = Callable[[Any], nn.Module]


@dataclass(frozen=True)
class Rule:
    """What to do with an operation on the way from ANN to SNN.

    Args:
        kind (str): ``'affine'`` stays between populations, ``'norm'`` is
            affine and folded into the layer before it where possible,
            ``'activation'`` becomes a population, ``'identity'`` is removed,
            ``'readout'`` may follow the last segment, ``'metadata'`` reads
            only shapes, ``'source'`` makes currents of indices (embeddings),
            ``'attention'`` needs analog coefficients, ``'refused'`` has no
            spiking counterpart.
        convert (Callable, optional): Makes the spiking twin of a module.
        reason (str, optional): Why it needs analog parts or is refused.
    """

    kind: Kind
    convert: Convert | None = None
    reason: str = ''


RULES: dict[Any, Rule] = {}

# Types of packages that are slow to import, by module and name.
NAMED_RULES = {
    ('ogb.graphproppred.mol_encoder', name): Rule('source')
    for name in ('AtomEncoder', 'BondEncoder')
}

# Overriding one of these, in a class or on one module, changes what is computed.
_DEFINING = ('forward', 'message', 'message_and_aggregate', 'aggregate', 'update')


def register_rule(
    *types: type[nn.Module], kind: Kind = 'affine', reason: str = ''
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
        kind (str, optional): See :class:`Rule`. (default: :obj:`"affine"`)
        reason (str, optional): See :class:`Rule`. (default: :obj:`""`)

    Raises:
        ValueError: If something other than a module type is given.

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

    def register(convert: Convert) -> Convert:
        RULES.update(
            {module_type: Rule(kind, convert, reason) for module_type in types}
        )
        return convert

    return register


def rule_for(target: Any) -> Rule | None:
    """The rule for a module, a function or the name of a tensor method."""
    if not isinstance(target, nn.Module):
        return RULES.get(target)
    if isinstance(target, SpikingLayer):
        return Rule('affine')
    if isinstance(target, torch.jit.ScriptModule):
        return Rule('refused', reason='torch.jit hides its operations')
    named = (type(target).__module__, type(target).__name__)
    if named in NAMED_RULES:
        return NAMED_RULES[named]
    for base in type(target).__mro__:
        if base in RULES:
            same = all(
                getattr(type(target), name, None) is getattr(base, name, None)
                and name not in vars(target)
                for name in _DEFINING
            )
            return RULES[base] if same else None
    return None


def is_leaf(module: nn.Module) -> bool:
    """Whether the tracer keeps a module whole."""
    if isinstance(module, SpikingTwin):
        return False
    whole = (MessagePassing, SpikingLayer, SpikeGate, Analog, Aggregation)
    if rule_for(module) is not None or isinstance(module, whole):
        return True
    origin = type(module).__module__
    if origin.startswith('torch_geometric.nn.norm'):
        return not isinstance(module, pyg_nn.BatchNorm)
    return origin.startswith('torch.nn') and not isinstance(
        module, (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    )


register_rule(nn.Linear, pyg_nn.Linear)(SpikingLinear.from_ann)
register_rule(pyg_nn.GCNConv)(SpikingGCNConv.from_ann)
register_rule(
    *(pyg_nn.GraphSizeNorm, pyg_nn.MeanSubtractionNorm, pyg_nn.norm.HeteroBatchNorm),
    pyg_nn.aggr.VariancePreservingAggregation,
)(SpikingAffine)
RULES.update({each: Rule('refused', reason=why) for each, why in REFUSALS.items()})


@for_each_twin
def _register_twin(twin: type[SpikingTwin]) -> None:
    kind: Kind = 'attention' if twin.needs_analog else 'affine'
    register_rule(twin.ann_type, kind=kind, reason=twin.needs_analog)(twin.from_ann)


register_rule(
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)(SpikingConv.from_ann)
register_rule(*MAX_POOLS)(EarliestInWindow.from_ann)


register_rule(
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, pyg_nn.InstanceNorm)
)(SpikingInstanceNorm.from_ann)

_TABLE: dict[Kind, tuple[Any, ...]] = {
    'norm': (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    'source': (nn.Embedding, nn.EmbeddingBag, SparseLinear),
    'activation': (*ACTIVATIONS, *FUNCTIONS, *CLAMPS),
    'identity': (
        *(nn.Identity, nn.Dropout, nn.AlphaDropout, nn.FeatureAlphaDropout),
        *(nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, F.dropout, F.alpha_dropout),
        *(F.dropout1d, F.dropout2d, F.dropout3d, F.feature_alpha_dropout),
        *('contiguous', 'clone', 'detach', 'coalesce'),
    ),
    # Those that are activations, too, become populations inside the network.
    'readout': (
        *(nn.LogSoftmax, nn.Softmax, F.log_softmax, F.softmax, torch.log_softmax),
        *(F.normalize, torch.softmax, torch.argmax, 'log_softmax', 'softmax', 'argmax'),
        *(nn.Sigmoid, torch.sigmoid, torch.sigmoid_, 'sigmoid'),
        *(nn.Tanh, torch.tanh, torch.tanh_, 'tanh', nn.LogSigmoid, F.logsigmoid),
    ),
    'metadata': (
        *('element_size', 'is_same_size', 'nelement', torch.is_same_size),
        *('size', 'dim', 'numel', 'new_zeros', 'new_ones', getattr, DegreeFactor),
        *(torch.zeros_like, torch.ones_like, torch.empty_like, torch.full_like),
        *('new_empty', 'new_full', torch.numel),
        *(*SHAPE_FUNCTIONS, check_answer),
    ),
    'affine': (
        *(operator.add, operator.sub, operator.neg, operator.mul, operator.truediv),
        *(operator.iadd, operator.isub, operator.imul, operator.itruediv),
        *(operator.getitem, torch.add, torch.sub, torch.mul),
        *(torch.div, torch.neg, torch.cat, torch.concat, torch.stack),
        *(torch.mean, torch.sum),
        *(torch.flatten, torch.reshape, torch.squeeze, torch.unsqueeze),
        torch.transpose,
        *('add', 'sub', 'mul', 'div', 'neg', 'view', 'reshape', 'flatten', 't'),
        *('squeeze', 'unsqueeze', 'transpose', 'permute', 'mean', 'sum'),
        *('index_select', 'chunk', 'split', 'expand', 'repeat', 'narrow'),
        *('expand_as', 'view_as', 'reshape_as', 'repeat_interleave', 'unbind'),
        *('flip', 'roll', 'select', torch.concatenate, 'tensor_split', 'type'),
        *(torch.index_select, torch.narrow, torch.chunk, torch.split, torch.permute),
        *(torch.unbind, torch.repeat_interleave, torch.flip),
        *(torch.t, 'float', 'double', 'to', 'type_as', *LEAF_FUNCTIONS),
        *('index_add', torch.index_add, 'scatter_add', torch.scatter_add, 'to_dense'),
        *(pyg_utils.scatter, pyg_nn.global_add_pool),
        *(pyg_nn.global_mean_pool, pyg_nn.global_max_pool),
        *(set_items, write_through, replace_part),
        *(*IMAGE_OPERATIONS, *PRODUCTS),
    ),
}
RULES.update({target: Rule(kind) for kind in _TABLE for target in _TABLE[kind]})

# Products and quotients are affine only while one factor is fixed.
BILINEAR = {
    *(operator.mul, operator.truediv, torch.mul, torch.div, 'mul', 'div'),
    *(F.batch_norm, *CONVOLUTIONS, *PRODUCTS),
}

# They read the shape of a signal, and may be given another one as the value.
FILLS = {'new_full', torch.full_like}


def is_affine_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether no argument rounds: a rounding mode, or a data type of integers."""
    for value in (*args[1:], *kwargs.values()):
        if isinstance(value, torch.dtype) and not value.is_floating_point:
            return False
    return kwargs.get('rounding_mode') is None
