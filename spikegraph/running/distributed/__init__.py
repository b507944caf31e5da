"""Inference over several processes, each of which owns a part of the nodes."""

from spikegraph.running.distributed.infer import DistributedModel
from spikegraph.running.distributed.peers import PeerError, Peers
from spikegraph.running.distributed.reports import PartResult, StageReport
from spikegraph.running.distributed.results import (
    OutputRows,
    rows_of,
    rows_of_part,
    summed,
)

__all__ = [
    'DistributedModel',
    'OutputRows',
    'PartResult',
    'PeerError',
    'Peers',
    'StageReport',
    'rows_of',
    'rows_of_part',
    'summed',
]
