from __future__ import annotations

from typing import Any

from torch_geometric.utils._trim_to_layer import TrimToLayer

from spikegraph.nn.conv.twin import SpikingTwin
from spikegraph.nn.routing import trim_rows


class SpikingTrimToLayer(SpikingTwin):
    r"""Drops the nodes and edges of a sampled neighbourhood that only deeper
    layers needed, as models do with :obj:`num_sampled_nodes_per_hop`.
    """

    ann_type = TrimToLayer

    def build(self, conv: Any) -> None:
        """Nothing to take."""

    def forward(
        self,
        layer: int,
        num_sampled_nodes_per_hop: Any,
        num_sampled_edges_per_hop: Any,
        x: Any,
        edge_index: Any,
        edge_attr: Any = None,
    ) -> tuple[Any, Any, Any]:
        """Returns features, edges and edge features that are still needed."""
        if num_sampled_nodes_per_hop is None or num_sampled_edges_per_hop is None:
            return x, edge_index, edge_attr
        if isinstance(x, (tuple, list)):  # A bipartite graph.
            x = tuple(
                trim_rows(value, layer, num)
                for value, num in zip(x, num_sampled_nodes_per_hop, strict=True)
            )
        else:
            x = trim_rows(x, layer, num_sampled_nodes_per_hop)
        edge_index = trim_rows(edge_index, layer, num_sampled_edges_per_hop, 1)
        return x, edge_index, trim_rows(edge_attr, layer, num_sampled_edges_per_hop)
