"""Spiking graph convolutions, one per file, with the signatures of PyG."""

from spikegraph.nn.conv.agnn_conv import SpikingAGNNConv
from spikegraph.nn.conv.appnp import SpikingAPPNP
from spikegraph.nn.conv.arma_conv import SpikingARMAConv
from spikegraph.nn.conv.cheb_conv import SpikingChebConv
from spikegraph.nn.conv.cluster_gcn_conv import SpikingClusterGCNConv
from spikegraph.nn.conv.dir_gnn_conv import SpikingDirGNNConv
from spikegraph.nn.conv.edge_conv import SpikingEdgeConv
from spikegraph.nn.conv.gat_conv import SpikingGATConv
from spikegraph.nn.conv.gatv2_conv import SpikingGATv2Conv
from spikegraph.nn.conv.gcn2_conv import SpikingGCN2Conv
from spikegraph.nn.conv.gcn_conv import DegreeFactor, SpikingGCNConv
from spikegraph.nn.conv.gin_conv import SpikingGINConv
from spikegraph.nn.conv.gine_conv import SpikingGINEConv
from spikegraph.nn.conv.graph_conv import SpikingGraphConv
from spikegraph.nn.conv.hypergraph_conv import SpikingHypergraphConv
from spikegraph.nn.conv.le_conv import SpikingLEConv
from spikegraph.nn.conv.lg_conv import SpikingLGConv
from spikegraph.nn.conv.mf_conv import SpikingMFConv
from spikegraph.nn.conv.mixhop_conv import SpikingMixHopConv
from spikegraph.nn.conv.pointnet_conv import SpikingPointNetConv
from spikegraph.nn.conv.ppf_conv import SpikingPPFConv
from spikegraph.nn.conv.rgcn_conv import SpikingFastRGCNConv, SpikingRGCNConv
from spikegraph.nn.conv.sage_conv import SpikingSAGEConv
from spikegraph.nn.conv.sg_conv import SpikingSGConv
from spikegraph.nn.conv.simple_conv import SpikingSimpleConv
from spikegraph.nn.conv.ssg_conv import SpikingSSGConv
from spikegraph.nn.conv.tag_conv import SpikingTAGConv
from spikegraph.nn.conv.transformer_conv import SpikingTransformerConv
from spikegraph.nn.conv.twin import SpikingTwin

#: The twins of layers that are affine between activations.
TWINS = (
    SpikingSAGEConv,
    SpikingGraphConv,
    SpikingGINConv,
    SpikingGINEConv,
    SpikingSGConv,
    SpikingSSGConv,
    SpikingTAGConv,
    SpikingLGConv,
    SpikingAPPNP,
    SpikingChebConv,
    SpikingARMAConv,
    SpikingClusterGCNConv,
    SpikingLEConv,
    SpikingMixHopConv,
    SpikingGCN2Conv,
    SpikingSimpleConv,
    SpikingHypergraphConv,
    SpikingDirGNNConv,
    SpikingEdgeConv,
    SpikingPointNetConv,
    SpikingPPFConv,
    SpikingRGCNConv,
    SpikingFastRGCNConv,
    SpikingMFConv,
)
#: Those whose coefficients stay analog.
ATTENTION_TWINS = (
    SpikingGATConv,
    SpikingGATv2Conv,
    SpikingTransformerConv,
    SpikingAGNNConv,
)

__all__ = [
    'ATTENTION_TWINS',
    'DegreeFactor',
    'SpikingAPPNP',
    'SpikingARMAConv',
    'SpikingChebConv',
    'SpikingClusterGCNConv',
    'SpikingDirGNNConv',
    'SpikingEdgeConv',
    'SpikingFastRGCNConv',
    'SpikingGCN2Conv',
    'SpikingGCNConv',
    'SpikingGINConv',
    'SpikingGINEConv',
    'SpikingGraphConv',
    'SpikingHypergraphConv',
    'SpikingLEConv',
    'SpikingLGConv',
    'SpikingMFConv',
    'SpikingMixHopConv',
    'SpikingPPFConv',
    'SpikingPointNetConv',
    'SpikingRGCNConv',
    'SpikingSAGEConv',
    'SpikingSGConv',
    'SpikingSSGConv',
    'SpikingSimpleConv',
    'SpikingTAGConv',
    'SpikingTwin',
    'SpikingGATConv',
    'SpikingGATv2Conv',
    'SpikingTransformerConv',
    'SpikingAGNNConv',
    'TWINS',
]
