"""The rows of layers without a spiking counterpart."""

from __future__ import annotations

from spikegraph.network.ops.op import Meaning, add_ops

_WHY = {
    'neighbours': 'DynamicEdgeConv XConv',
    'labels': 'WLConv',
    'aggregation': (
        'SortAggregation SetTransformerAggregation '
        'EquilibriumAggregation MLPAggregation '
        'GraphMultisetTransformer LCMAggregation PatchTransformerAggregation'
    ),
}
for _why, _names in _WHY.items():
    add_ops(' '.join(f'pyg.{n}' for n in _names.split()), Meaning.REFUSED, why=_why)
add_ops(
    'F.layer_norm F.group_norm F.local_response_norm F.instance_norm',
    Meaning.REFUSED,
    why='statistics',
)
