from spikegraph.nn.conv.gcn_conv import DegreeFactor, SpikingGCNConv

__all__ = ['DegreeFactor', 'SpikingGCNConv']
