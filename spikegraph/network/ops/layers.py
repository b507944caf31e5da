"""The rows of layers without a spiking counterpart."""

from __future__ import annotations

from spikegraph.network.ops.op import Meaning, add_ops

_WHY = {
    'gates': 'CGConv FiLMConv ResGatedGraphConv EGConv',
    'attention': (
        'GravNetConv RGATConv DNAConv FeaStConv PointTransformerConv SuperGATConv '
        'FAConv HGTConv HEATConv HANConv GPSConv'
    ),
    'recurrent': 'GatedGraphConv',
    'neighbours': 'DynamicEdgeConv XConv',
    'edge weights': 'NNConv GMMConv PDNConv SplineConv',
    'labels': 'WLConv',
    'statistics': 'PairNorm MessageNorm DiffGroupNorm GraphNorm HeteroLayerNorm',
    'aggregation': (
        'SoftmaxAggregation PowerMeanAggregation VarAggregation StdAggregation '
        'MedianAggregation QuantileAggregation SortAggregation LSTMAggregation '
        'GRUAggregation Set2Set AttentionalAggregation SetTransformerAggregation '
        'EquilibriumAggregation DeepSetsAggregation MLPAggregation '
        'GraphMultisetTransformer LCMAggregation PatchTransformerAggregation'
    ),
}
for _why, _names in _WHY.items():
    add_ops(' '.join(f'pyg.{n}' for n in _names.split()), Meaning.REFUSED, why=_why)
add_ops(
    'F.layer_norm/nn.LayerNorm/pyg.LayerNorm F.group_norm/nn.GroupNorm '
    'F.local_response_norm/nn.LocalResponseNorm',
    Meaning.REFUSED,
    why='statistics',
)
add_ops('nn.LSTM nn.GRU', Meaning.REFUSED, why='recurrent')
add_ops('nn.MultiheadAttention', Meaning.REFUSED, why='attention')
