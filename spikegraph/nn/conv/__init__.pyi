"""Written by `python -m tests.pages`."""

from spikegraph.nn.conv.agnn_conv import (
    SpikingAGNNConv as SpikingAGNNConv,
)
from spikegraph.nn.conv.appnp import (
    SpikingAPPNP as SpikingAPPNP,
)
from spikegraph.nn.conv.arma_conv import (
    SpikingARMAConv as SpikingARMAConv,
)
from spikegraph.nn.conv.cheb_conv import (
    SpikingChebConv as SpikingChebConv,
)
from spikegraph.nn.conv.cluster_gcn_conv import (
    SpikingClusterGCNConv as SpikingClusterGCNConv,
)
from spikegraph.nn.conv.dir_gnn_conv import (
    SpikingDirGNNConv as SpikingDirGNNConv,
)
from spikegraph.nn.conv.edge_conv import (
    SpikingEdgeConv as SpikingEdgeConv,
)
from spikegraph.nn.conv.gat_conv import (
    SpikingGATConv as SpikingGATConv,
)
from spikegraph.nn.conv.gatv2_conv import (
    SpikingGATv2Conv as SpikingGATv2Conv,
)
from spikegraph.nn.conv.gcn2_conv import (
    SpikingGCN2Conv as SpikingGCN2Conv,
)
from spikegraph.nn.conv.gcn_conv import (
    DegreeFactor as DegreeFactor,
)
from spikegraph.nn.conv.gcn_conv import (
    SpikingGCNConv as SpikingGCNConv,
)
from spikegraph.nn.conv.gin_conv import (
    SpikingGINConv as SpikingGINConv,
)
from spikegraph.nn.conv.gine_conv import (
    SpikingGINEConv as SpikingGINEConv,
)
from spikegraph.nn.conv.graph_conv import (
    SpikingGraphConv as SpikingGraphConv,
)
from spikegraph.nn.conv.hypergraph_conv import (
    SpikingHypergraphConv as SpikingHypergraphConv,
)
from spikegraph.nn.conv.le_conv import (
    SpikingLEConv as SpikingLEConv,
)
from spikegraph.nn.conv.lg_conv import (
    SpikingLGConv as SpikingLGConv,
)
from spikegraph.nn.conv.mf_conv import (
    SpikingMFConv as SpikingMFConv,
)
from spikegraph.nn.conv.mixhop_conv import (
    SpikingMixHopConv as SpikingMixHopConv,
)
from spikegraph.nn.conv.pointnet_conv import (
    SpikingPointNetConv as SpikingPointNetConv,
)
from spikegraph.nn.conv.ppf_conv import (
    SpikingPPFConv as SpikingPPFConv,
)
from spikegraph.nn.conv.rgcn_conv import (
    SpikingFastRGCNConv as SpikingFastRGCNConv,
)
from spikegraph.nn.conv.rgcn_conv import (
    SpikingRGCNConv as SpikingRGCNConv,
)
from spikegraph.nn.conv.sage_conv import (
    SpikingSAGEConv as SpikingSAGEConv,
)
from spikegraph.nn.conv.sg_conv import (
    SpikingSGConv as SpikingSGConv,
)
from spikegraph.nn.conv.simple_conv import (
    SpikingSimpleConv as SpikingSimpleConv,
)
from spikegraph.nn.conv.ssg_conv import (
    SpikingSSGConv as SpikingSSGConv,
)
from spikegraph.nn.conv.tag_conv import (
    SpikingTAGConv as SpikingTAGConv,
)
from spikegraph.nn.conv.transformer_conv import (
    SpikingTransformerConv as SpikingTransformerConv,
)
from spikegraph.nn.conv.twin import (
    SpikingTwin as SpikingTwin,
)
