"""Graphs in parts: who owns which node, what is cut, and where the parts lie."""

from spikegraph.partitioning.cutting import EdgeCut, edge_cut
from spikegraph.partitioning.edges import read_edges
from spikegraph.partitioning.loading import LoadedGraph, load_graph
from spikegraph.partitioning.methods import METHODS, partition_graph
from spikegraph.partitioning.partition import Partition
from spikegraph.partitioning.pyg import is_pyg_partition, read_pyg_partition
from spikegraph.partitioning.reading import (
    PartitionedData,
    is_partition,
    load_partition,
)
from spikegraph.partitioning.relations import graph_digest
from spikegraph.partitioning.writing import save_partition

__all__ = [
    'EdgeCut',
    'LoadedGraph',
    'METHODS',
    'Partition',
    'PartitionedData',
    'edge_cut',
    'graph_digest',
    'is_partition',
    'is_pyg_partition',
    'load_graph',
    'load_partition',
    'partition_graph',
    'read_edges',
    'read_pyg_partition',
    'save_partition',
]
