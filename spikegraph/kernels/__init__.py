"""Operations on spike times and sparse adjacency."""

from spikegraph.kernels.adjacency import Adjacency, own_adjacency
from spikegraph.kernels.aggregation import (
    aggregate,
    earliest,
    late,
    propagate,
    send,
    sent_size,
)
from spikegraph.kernels.csr import CSR
from spikegraph.kernels.dispatch import info
from spikegraph.kernels.events import encode_transform, row_peaks, transform_spikes
from spikegraph.kernels.images import Filters, convolve, convolve_decode
from spikegraph.kernels.memory import empty_cache
from spikegraph.kernels.messages import Messages
from spikegraph.kernels.neurons import (
    decode_spikes,
    encode_decode,
    encode_rows,
    encode_spikes,
    first_spike,
    look_up,
)
from spikegraph.kernels.preparation import (
    gcn_adjacency,
    matrix_adjacency,
    member_adjacency,
    neighbor_adjacency,
)
from spikegraph.kernels.rows import Weights, multiply_rows

__all__ = [
    'CSR',
    'Adjacency',
    'Filters',
    'Messages',
    'Weights',
    'aggregate',
    'convolve',
    'convolve_decode',
    'decode_spikes',
    'earliest',
    'empty_cache',
    'encode_decode',
    'encode_rows',
    'encode_spikes',
    'encode_transform',
    'first_spike',
    'gcn_adjacency',
    'info',
    'late',
    'look_up',
    'matrix_adjacency',
    'member_adjacency',
    'multiply_rows',
    'neighbor_adjacency',
    'own_adjacency',
    'propagate',
    'row_peaks',
    'send',
    'sent_size',
    'transform_spikes',
]
