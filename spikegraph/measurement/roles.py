"""The roles of PyTorch's operations, by the names that reach the dispatcher."""

#: Matrix products, and where their operands are.
PRODUCTS = {
    **dict.fromkeys(('mm', 'bmm', 'mv', 'dot', 'vdot', '_sparse_mm'), (0, 1)),
    **dict.fromkeys(('addmm', 'baddbmm', 'addmv', 'addbmm', '_sparse_addmm'), (1, 2)),
    **{'_sparse_mm_reduce_impl': (0, 1), 'sspaddmm': (1, 2)},
}
# All values of one operand with all of another.
PAIRS = {'_trilinear', '_euclidean_dist', '_cdist_forward'}
SUMS_OF_ROWS = {
    *('index_add', 'scatter_add', '_embedding_bag', '_embedding_bag_forward_only'),
    *('scatter_reduce', 'index_reduce', 'segment_reduce'),  # Or others, by an option.
}
# Sums of values with factors.
MIXES = {'lerp', 'addcmul', 'addcdiv'}
GATHERS = {'index_select', 'index', 'embedding', 'gather'}
SHAPES = {
    *('new_zeros', 'new_ones', 'new_full', 'new_empty', 'zeros_like', 'ones_like'),
    *('full_like', 'empty_like', 'new_empty_strided', 'rand_like', 'randn_like'),
    *(
        '_nnz',
        'sym_size',
        'sym_numel',
        'sym_stride',
        'is_same_size',
        'size',
        'dense_dim',
    ),
}
MOVES = {
    *(
        'view',
        '_unsafe_view',
        'reshape',
        'alias',
        'detach',
        'clone',
        '_to_copy',
        'copy',
    ),
    *('t', 'transpose', 'permute', 'expand', 'squeeze', 'unsqueeze', 'slice', 'select'),
    *('index_select', 'index', 'gather', 'cat', 'stack', 'split', 'split_with_sizes'),
    *('unbind', 'flip', 'roll', 'repeat', 'as_strided', 'unfold', 'im2col', 'diagonal'),
    *('constant_pad_nd', 'reflection_pad1d', 'reflection_pad2d', 'reflection_pad3d'),
    *('replication_pad1d', 'replication_pad2d', 'replication_pad3d', 'movedim'),
    *('upsample_nearest1d', 'upsample_nearest2d', 'upsample_nearest3d', 'narrow'),
    *('_upsample_nearest_exact1d', '_upsample_nearest_exact2d', 'slice_scatter'),
    *('_upsample_nearest_exact3d', 'pixel_shuffle', 'pixel_unshuffle', 'lift_fresh'),
    *('channel_shuffle', 'native_channel_shuffle', 'select_scatter', 'tril', 'triu'),
    *(
        '_reshape_alias',
        'view_as',
        'unsafe_split',
        'chunk',
        'contiguous',
        'repeat_interleave',
    ),
    *(
        'repeat_interleave',
        'masked_select',
        'index_put',
        'scatter',
        'diag_embed',
        'index_copy',
        'neg',
    ),
    *('masked_scatter', '_to_dense', 'col_indices', 'take', 'unsafe_chunk', 'rot90'),
}
SCALINGS = {'mul', 'div', 'true_divide', 'multiply', 'divide'}
NORMS = {
    *('native_batch_norm', '_native_batch_norm_legit_no_training', 'native_layer_norm'),
    *('native_group_norm', 'cudnn_batch_norm', 'miopen_batch_norm', 'batch_norm'),
    *('_batch_norm_no_update', '_batch_norm_with_update', '_fused_rms_norm'),
}
TAPS = {
    **{'upsample_linear1d': 2, 'upsample_bilinear2d': 4, 'upsample_trilinear3d': 8},
    **{'upsample_bicubic2d': 16, '_upsample_bilinear2d_aa': 4},
}
MEANS = {'avg_pool1d', 'avg_pool2d', 'avg_pool3d', '_adaptive_avg_pool2d', 'mean'}
MEANS |= {'_adaptive_avg_pool3d', 'adaptive_avg_pool1d', 'adaptive_avg_pool2d'}
TOTALS = {'sum', 'nansum', 'cumsum', 'col2im', 'trace'}
# Comparisons, read-outs and activations, which are counted where they become neurons.
FREE = {
    *(
        '_softmax',
        '_log_softmax',
        'max',
        'min',
        'amax',
        'amin',
        'argmax',
        'argmin',
        'sort',
    ),
    *('max_pool2d_with_indices', 'max_pool3d_with_indices', 'adaptive_max_pool2d'),
    *(
        'adaptive_max_pool3d',
        'max_pool1d',
        'max_pool2d',
        'topk',
        'any',
        'all',
        'aminmax',
    ),
    *('native_dropout', 'softmax', 'log_softmax', 'isfinite', 'equal', 'is_nonzero'),
    *('_local_scalar_dense', 'nonzero', 'item', 'glu', 'hardtanh', 'prelu', 'norm'),
    *(
        '_prelu_kernel',
        'linalg_vector_norm',
        'unique',
        '_unique2',
        'unique_dim',
        'isnan',
    ),
    *('rrelu_with_noise', 'elu', 'log_sigmoid_forward', 'logsumexp', 'std', 'var'),
    *(
        'fractional_max_pool2d',
        'max_unpool2d',
        'std_mean',
        'var_mean',
        'sinc',
        'median',
    ),
    *('is_pinned', 'is_same_size'),
    *('histc', 'bincount', 'searchsorted', 'argsort', 'allclose', 'mode', 'kthvalue'),
}
