"""How operations are counted, by the names that reach PyTorch's dispatcher."""

from __future__ import annotations

from enum import Enum, auto


class Count(Enum):
    """What an operation costs, apart from what is in its arguments."""

    MOVE = auto()  # Nothing: values are elsewhere, and spikes with them.
    GATHER = auto()  # The same, by an index.
    LOOKUP = auto()  # The same, of rows of parameters.
    WRITE = auto()  # The same, unless it adds to what is there.
    MASK = auto()  # Nothing: some values are replaced.
    SHAPE = auto()  # Nothing: no value is read.
    FREE = (
        auto()
    )  # Comparisons, read-outs and activations, which are counted as neurons.
    PRODUCT = auto()  # Of matrices.
    PAIRS = auto()  # All values of one operand with all of another.
    CONVOLUTION = auto()
    ROWS = auto()  # Sums of rows, or others, by an option.
    MIX = auto()  # Sums of values with factors.
    SCALING = auto()
    NEGATION = auto()
    SUM = auto()  # Of two operands.
    TOTAL = auto()  # Of the values of one.
    MEAN = auto()
    NORM = auto()
    INTERPOLATION = auto()


#: What is moved.
MOVES = (Count.MOVE, Count.GATHER, Count.WRITE, Count.NEGATION)
#: The values that each one of an interpolation is made of.
TAPS = {
    **{'upsample_linear1d': 2, 'upsample_bilinear2d': 4, 'upsample_trilinear3d': 8},
    **{'upsample_bicubic2d': 16, '_upsample_bilinear2d_aa': 4},
}
# The second factors of products that the table does not name.
FACTORS = {
    **{'vdot': (0, 1), '_sparse_mm': (0, 1), '_sparse_mm_reduce_impl': (0, 1)},
    **{'_sparse_addmm': (1, 2), 'sspaddmm': (1, 2)},
}
# What only the dispatcher calls so, or nobody else.
_INNER = {
    Count.PRODUCT: ' '.join(FACTORS),
    Count.PAIRS: '_trilinear _euclidean_dist _cdist_forward',
    Count.CONVOLUTION: 'convolution',
    Count.ROWS: '_embedding_bag _embedding_bag_forward_only segment_reduce',
    Count.GATHER: 'index gather',
    Count.LOOKUP: 'embedding',
    Count.MASK: 'index_fill fill zero where',
    Count.SUM: 'rsub',
    Count.SHAPE: (
        'new_empty_strided rand_like randn_like _nnz sym_size sym_numel sym_stride '
        'dense_dim'
    ),
    Count.MOVE: (
        '_unsafe_view alias _to_copy copy slice split_with_sizes as_strided im2col '
        'diagonal constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d '
        'replication_pad1d replication_pad2d replication_pad3d upsample_nearest1d '
        'upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d '
        '_upsample_nearest_exact2d _upsample_nearest_exact3d slice_scatter lift_fresh '
        'native_channel_shuffle select_scatter tril triu _reshape_alias unsafe_split '
        'scatter diag_embed index_copy masked_scatter _to_dense col_indices take '
        'unsafe_chunk'
    ),
    Count.NORM: (
        'native_batch_norm _native_batch_norm_legit_no_training native_layer_norm '
        'native_group_norm cudnn_batch_norm miopen_batch_norm _batch_norm_no_update '
        '_batch_norm_with_update _fused_rms_norm'
    ),
    Count.INTERPOLATION: ' '.join(TAPS),
    Count.MEAN: '_adaptive_avg_pool2d _adaptive_avg_pool3d',
    Count.TOTAL: 'nansum col2im trace',
    Count.FREE: (
        '_softmax _log_softmax max_pool2d_with_indices max_pool3d_with_indices '
        'adaptive_max_pool2d adaptive_max_pool3d any all native_dropout isfinite equal '
        'is_nonzero _local_scalar_dense item hardtanh _prelu_kernel linalg_vector_norm '
        '_unique2 unique_dim isnan rrelu_with_noise elu log_sigmoid_forward '
        'fractional_max_pool2d max_unpool2d is_pinned bincount allclose '
        '_safe_softmax'
    ),
}
COUNTS = {name: count for count, names in _INNER.items() for name in names.split()}
