"""Inference over several processes, each of which owns a part of the nodes."""

from spikegraph.running.distributed.infer import DistributedModel
from spikegraph.running.distributed.peers import PeerError

__all__ = ['DistributedModel', 'PeerError']
