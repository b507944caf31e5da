"""Why some of PyG's layers have no spiking counterpart."""

from __future__ import annotations

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
REFUSALS[nn.LocalResponseNorm] = _STATISTICS
REFUSALS[nn.LSTM] = REFUSALS[nn.GRU] = _RECURRENT
REFUSALS[nn.MultiheadAttention] = _ATTENTION
