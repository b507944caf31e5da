"""Why some of PyG's layers have no spiking counterpart."""

from __future__ import annotations

from typing import Any

import torch_geometric.nn as pyg_nn
from torch import nn

_PRODUCT = 'it multiplies features by gates that depend on features'
_ATTENTION = 'its attention coefficients depend on the features'
_STATISTICS = 'it normalises by statistics of each input, which are not affine'
_RECURRENT = 'its recurrent gates multiply features by features'
_KNN = 'its graph depends on the features'
_ORDER = 'it orders or weighs neighbours by their values'

_REASONS = {
    _PRODUCT: 'CGConv FiLMConv ResGatedGraphConv EGConv',
    _ATTENTION: (
        'GravNetConv RGATConv DNAConv FeaStConv PointTransformerConv SuperGATConv '
        'FAConv HGTConv HEATConv HANConv GPSConv'
    ),
    _RECURRENT: 'GatedGraphConv',
    _KNN: 'DynamicEdgeConv XConv',
    'its weights are computed from edge features by a network': (
        'NNConv GMMConv PDNConv SplineConv'
    ),
    'it hashes discrete labels and computes no real values': 'WLConv',
    _STATISTICS: (
        'LayerNorm GraphNorm PairNorm MessageNorm DiffGroupNorm InstanceNorm '
        'HeteroLayerNorm'
    ),
    _ORDER: (
        'SoftmaxAggregation PowerMeanAggregation VarAggregation StdAggregation '
        'MedianAggregation QuantileAggregation SortAggregation LSTMAggregation '
        'GRUAggregation Set2Set AttentionalAggregation SetTransformerAggregation '
        'EquilibriumAggregation DeepSetsAggregation MLPAggregation '
        'GraphMultisetTransformer LCMAggregation PatchTransformerAggregation'
    ),
}


def _find(name: str) -> type[nn.Module] | None:
    for place in (pyg_nn, pyg_nn.aggr):
        if isinstance(getattr(place, name, None), type):
            return getattr(place, name)
    return None  # Not in this version of PyG.


REFUSALS: dict[type[nn.Module], str] = {
    found: reason
    for reason, names in _REASONS.items()
    for name in names.split()
    if (found := _find(name)) is not None
}
REFUSALS[nn.LayerNorm] = REFUSALS[nn.GroupNorm] = _STATISTICS
REFUSALS[nn.LSTM] = REFUSALS[nn.GRU] = _RECURRENT
REFUSALS[nn.MultiheadAttention] = _ATTENTION

# Functions and methods, by name.
_FUNCTIONS = {
    'sort argsort topk kthvalue msort unique unique_consecutive nonzero searchsorted '
    'bucketize cummax cummin median quantile': (
        'it orders or selects by the values of signals, which jumps where two are equal'
    ),
    'softmax log_softmax softmin': (
        'it divides exponentials of signals by their sum, inside the network'
    ),
    'normalize norm vector_norm renorm cosine_similarity cdist std var pairwise_distance': (
        'it takes squares of signals or divides by them'
    ),
    'layer_norm group_norm instance_norm local_response_norm': _STATISTICS,
    'scaled_dot_product_attention multi_head_attention_forward': _ATTENTION,
    'eq ne lt le gt ge isclose logical_not logical_and logical_or': (
        'it compares signals, which jumps where they are equal'
    ),
    'bernoulli dropout multinomial normal poisson gumbel_softmax rand_like randn_like': (
        'it is random'
    ),
}
_BY_NAME = {
    name: reason for names, reason in _FUNCTIONS.items() for name in names.split()
}


def reason_for(target: Any) -> str:
    """Why a function without a rule has none, as far as its name tells."""
    if hasattr(target, 'scripted'):
        return 'torch.jit hides its operations'
    name = target if isinstance(target, str) else getattr(target, '__name__', '')
    return _BY_NAME.get(name.strip('_'), '')
