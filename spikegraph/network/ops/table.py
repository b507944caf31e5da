"""The table of operations: one row for each, whatever it is called."""

from __future__ import annotations

from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.nn.models.linkx import SparseLinear

from spikegraph.network.functions import (
    check_answer,
    replace_part,
    set_items,
    write_through,
)
from spikegraph.network.ops.counting import Count
from spikegraph.network.ops.op import ARRANGED, Meaning, add_ops
from spikegraph.nn import DegreeFactor
from spikegraph.nn.layer import values_of
from spikegraph.nn.products import quotient, relative_exponentials
from spikegraph.nn.routing import LEAF_FUNCTIONS, SHAPE_FUNCTIONS

# Sums and products.
add_ops('add sub/subtract', Meaning.AFFINE, count=Count.SUM, by_rows=True)
add_ops('neg/negative', Meaning.AFFINE, count=Count.NEGATION, by_rows=True)
add_ops('values_of', Meaning.AFFINE, (values_of,), by_rows=True)
add_ops('mul/multiply', Meaning.PRODUCT, count=Count.SCALING, by_rows=True)
add_ops(
    'div/divide/true_divide/truediv',
    Meaning.QUOTIENT,
    count=Count.SCALING,
    by_rows=True,
)
add_ops(
    'matmul/mm/spmm/smm/linalg.matmul sparse.mm mv/dot/inner bmm',
    Meaning.CONTRACTION,
    count=Count.PRODUCT,
)
add_ops(
    'addmm/sparse.addmm addmv baddbmm addbmm',
    Meaning.CONTRACTION,
    count=Count.PRODUCT,
    first_factor=1,
)
add_ops(
    'F.linear tensordot einsum linalg.multi_dot/chain_matmul linalg.vecdot',
    Meaning.CONTRACTION,
)
add_ops('outer/ger kron F.bilinear addr', Meaning.CONTRACTION, why='factors')
for num in (1, 2, 3):
    add_ops(
        f'conv{num}d/nn.Conv{num}d conv_transpose{num}d/nn.ConvTranspose{num}d',
        Meaning.PRODUCT,
        count=Count.CONVOLUTION,
        channels=num,
    )
    add_ops(
        f'avg_pool{num}d/nn.AvgPool{num}d '
        f'adaptive_avg_pool{num}d/nn.AdaptiveAvgPool{num}d',
        Meaning.AFFINE,
        count=Count.MEAN,
        channels=num,
    )
add_ops('F.batch_norm', Meaning.BATCH_NORM, count=Count.NORM)
add_ops('nn.BatchNorm1d nn.SyncBatchNorm', Meaning.NORM)
add_ops('nn.BatchNorm2d', Meaning.NORM, channels=2)
add_ops('nn.BatchNorm3d', Meaning.NORM, channels=3)

# Sums and means over dimensions, and over groups of rows.
add_ops('sum', Meaning.AFFINE, channels=ARRANGED, count=Count.TOTAL)
add_ops('mean', Meaning.AFFINE, channels=ARRANGED, count=Count.MEAN)
add_ops('cumsum', Meaning.OPEN, count=Count.TOTAL)
add_ops('index_add scatter_add', Meaning.AFFINE, count=Count.ROWS)
add_ops('scatter_reduce index_reduce', Meaning.OPEN, count=Count.ROWS)
add_ops('index_put', Meaning.OPEN, count=Count.WRITE)
add_ops('gcn_norm', Meaning.OPEN, (gcn_norm,))
add_ops('utils.scatter', Meaning.GROUPS)
add_ops('pyg.global_add_pool pyg.global_mean_pool pyg.global_max_pool', Meaning.AFFINE)

# What moves values, or repeats them.
add_ops('cat/concat/concatenate', Meaning.AFFINE, count=Count.MOVE, along=(1, 0))
add_ops(
    'view reshape flatten/nn.Flatten unflatten/nn.Unflatten squeeze unsqueeze '
    'transpose permute t movedim/moveaxis swapaxes/swapdims stack unbind rot90 '
    'unfold/nn.Unfold',
    Meaning.AFFINE,
    channels=ARRANGED,
    count=Count.MOVE,
)
add_ops(
    'chunk split tensor_split expand repeat tile narrow expand_as view_as reshape_as '
    'repeat_interleave flip roll pad to_dense pixel_shuffle/nn.PixelShuffle '
    'pixel_unshuffle/nn.PixelUnshuffle channel_shuffle/nn.ChannelShuffle '
    'nn.UpsamplingNearest2d nn.ZeroPad1d nn.ZeroPad2d nn.ZeroPad3d nn.ReflectionPad1d '
    'nn.ReflectionPad2d nn.ReflectionPad3d nn.ReplicationPad1d nn.ReplicationPad2d '
    'nn.ReplicationPad3d nn.CircularPad1d nn.CircularPad2d nn.CircularPad3d '
    'nn.ConstantPad1d nn.ConstantPad2d nn.ConstantPad3d type type_as to float double '
    '@T/@mT @values/@data',
    Meaning.AFFINE,
    count=Count.MOVE,
)
add_ops('getitem select', Meaning.PICK, count=Count.MOVE)
add_ops('index_select', Meaning.PICK, count=Count.GATHER)
add_ops('broadcast_to', Meaning.OPEN)
add_ops('masked_fill', Meaning.OPEN, count=Count.MASK)
add_ops('set_items', Meaning.AFFINE, (set_items, write_through, replace_part))
add_ops('routing', Meaning.AFFINE, LEAF_FUNCTIONS)
add_ops(
    'F.interpolate/nn.Upsample nn.UpsamplingBilinear2d fold/nn.Fold', Meaning.AFFINE
)
add_ops('contiguous clone detach', Meaning.IDENTITY, count=Count.MOVE)
add_ops(
    'coalesce nn.Identity F.dropout/nn.Dropout F.alpha_dropout/nn.AlphaDropout '
    'F.feature_alpha_dropout/nn.FeatureAlphaDropout F.dropout1d/nn.Dropout1d '
    'F.dropout2d/nn.Dropout2d F.dropout3d/nn.Dropout3d',
    Meaning.IDENTITY,
)

# What only thresholds, or the order of spikes, can compute.
add_ops(
    'relu/nn.ReLU F.relu6/nn.ReLU6 F.hardtanh/F.hardtanh_/nn.Hardtanh '
    'F.leaky_relu/F.leaky_relu_/nn.LeakyReLU F.elu/F.elu_/nn.ELU celu/nn.CELU '
    'selu/nn.SELU prelu/nn.PReLU F.gelu/nn.GELU F.silu/nn.SiLU F.mish/nn.Mish '
    'F.hardswish/nn.Hardswish F.hardsigmoid/nn.Hardsigmoid F.softplus/nn.Softplus '
    'F.softsign/nn.Softsign F.softshrink/nn.Softshrink hardshrink/nn.Hardshrink '
    'F.tanhshrink/nn.Tanhshrink F.threshold/F.threshold_/nn.Threshold',
    Meaning.ACTIVATION,
    count=Count.FREE,
    by_rows=True,
)
for row, bounds in {
    'clamp/clip': ('min', 'max'),
    'clamp_min': ('min',),
    'clamp_max': ('max',),
}.items():
    add_ops(row, Meaning.ACTIVATION, bounds=bounds, count=Count.FREE, by_rows=True)
add_ops('max amax maximum', Meaning.MAXIMUM, why='maximum', count=Count.FREE)
add_ops(
    'min amin minimum', Meaning.MAXIMUM, why='maximum', count=Count.FREE, smallest=True
)
for num in (1, 2, 3):
    add_ops(
        f'max_pool{num}d/nn.MaxPool{num}d '
        f'F.adaptive_max_pool{num}d/nn.AdaptiveMaxPool{num}d',
        Meaning.POOL,
        channels=num,
        count=Count.FREE,
    )

# What may follow the last segment; inside of a network, some are activations.
add_ops(
    'sigmoid/nn.Sigmoid tanh/nn.Tanh F.logsigmoid/nn.LogSigmoid',
    Meaning.READOUT,
    count=Count.FREE,
    by_rows=True,
)
add_ops(
    'softmax/nn.Softmax log_softmax/nn.LogSoftmax',
    Meaning.READOUT,
    count=Count.FREE,
    along=(1, None),
    why='quotient',
)
add_ops('F.normalize', Meaning.READOUT, along=(2, 1), why='quotient')
add_ops('quotient', Meaning.READOUT, (quotient,), count=Count.FREE)
add_ops('argmax', Meaning.READOUT, count=Count.FREE, why='order')

# What reads shapes, or no values.
add_ops('size is_same_size', Meaning.SIZE, count=Count.SHAPE)
add_ops(
    'dim numel/nelement element_size .sparse_size .sparse_sizes .num_nodes stride '
    'storage_offset @num_nodes @shape @dtype @device @ndim @is_cuda @requires_grad '
    '@layout',
    Meaning.SIZE,
)
add_ops('check_answer', Meaning.SIZE, (check_answer,))
add_ops('DegreeFactor', Meaning.LIKE, (DegreeFactor, *SHAPE_FUNCTIONS))
add_ops(
    'new_zeros new_ones new_empty zeros_like ones_like empty_like',
    Meaning.LIKE,
    count=Count.SHAPE,
)
add_ops('new_full full_like', Meaning.FILL, count=Count.SHAPE)
add_ops('getattr', Meaning.ATTRIBUTE, (getattr,))
add_ops('eye ones zeros full arange tensor as_tensor', Meaning.FACTORY)
add_ops('nn.Embedding nn.EmbeddingBag', Meaning.SOURCE)
add_ops('SparseLinear', Meaning.SOURCE, (SparseLinear,))

# What spikes cannot carry, and why; where samples or a formula say otherwise, they do.
add_ops(
    'F.softmin/nn.Softmin cosine_similarity utils.softmax', Meaning.OPEN, why='quotient'
)
add_ops('F.rms_norm/nn.RMSNorm nn.Softmax2d', Meaning.OPEN, why='quotient')
add_ops('logsumexp', Meaning.OPEN, why='quotient', count=Count.FREE)
add_ops(
    'std var std_mean var_mean norm/linalg.norm',
    Meaning.OPEN,
    why='products',
    count=Count.FREE,
)
add_ops('linalg.vector_norm cdist dist pdist cov', Meaning.OPEN, why='products')
add_ops('F.pairwise_distance corrcoef hypot F.mse_loss', Meaning.OPEN, why='products')
add_ops('addcmul lerp', Meaning.OPEN, why='factors', count=Count.MIX)
add_ops('addcdiv', Meaning.OPEN, why='quotient', count=Count.MIX)
add_ops('F.l1_loss', Meaning.OPEN, why='wave')
add_ops('logaddexp', Meaning.OPEN, why='infinite')
add_ops('relative_exponentials', Meaning.OPEN, (relative_exponentials,), why='quotient')
add_ops('glu/nn.GLU', Meaning.OPEN, why='factors', count=Count.FREE)
add_ops(
    'prod cumprod F.scaled_dot_product_attention cross/linalg.cross '
    'F.multi_head_attention_forward',
    Meaning.OPEN,
    why='factors',
)
add_ops(
    'sort argsort topk kthvalue median mode argmin unique nonzero searchsorted histc',
    Meaning.OPEN,
    why='order',
    count=Count.FREE,
)
add_ops('masked_select', Meaning.OPEN, why='order', count=Count.MOVE)
add_ops(
    'nanmedian msort bucketize gt lt ge le eq ne isclose multinomial sign',
    Meaning.OPEN,
    why='order',
)
add_ops('aminmax', Meaning.OPEN, why='maximum', count=Count.FREE)
add_ops(
    'cummax cummin max_pool1d_with_indices max_pool2d_with_indices '
    'max_pool3d_with_indices',
    Meaning.OPEN,
    why='maximum',
)
add_ops('sinc', Meaning.OPEN, why='wave', count=Count.FREE)
add_ops('sin cos tan square pow abs/absolute cosh', Meaning.OPEN, why='wave')
add_ops(
    'exp exp2/special.exp2 expm1 log log2 log10 log1p reciprocal rsqrt logit acos '
    'asin acosh atanh erfinv lgamma digamma sqrt',
    Meaning.OPEN,
    why='infinite',
)
add_ops(
    'rand_like randn_like bernoulli rrelu/nn.RReLU poisson normal',
    Meaning.OPEN,
    why='random',
)

# Layers without a spiking counterpart, those of PyG by their names alone.
for why, layers in {
    'neighbours': 'DynamicEdgeConv XConv',
    'labels': 'WLConv',
    'statistics': 'F.layer_norm F.group_norm F.local_response_norm F.instance_norm',
    'aggregation': (
        'SortAggregation SetTransformerAggregation '
        'EquilibriumAggregation MLPAggregation '
        'GraphMultisetTransformer LCMAggregation PatchTransformerAggregation'
    ),
}.items():
    names = ' '.join(n if '.' in n else f'pyg.{n}' for n in layers.split())
    add_ops(names, Meaning.REFUSED, why=why)
