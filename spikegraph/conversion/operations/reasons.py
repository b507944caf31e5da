"""Why operations have no spiking counterpart, in terms of what they compute."""

from __future__ import annotations

from typing import Any

from torch import nn

#: Of whatever has been looked into, and is nothing that spikes can carry.
UNKNOWN = (
    'it is neither affine in what depends on features, nor an activation of each '
    'value alone that never falls'
)
TRACKED = (
    'it normalises by the statistics of each batch; those that training tracks, with '
    "'track_running_stats=True', are affine"
)
BESIDE = (
    'another value that depends on features enters beside them, such as weights of '
    'edges, and a product of both is not affine (an input that is no feature, and is '
    "read as it is, can be declared: 'ConversionConfig(static_inputs=...)')"
)

_QUOTIENT = (
    'it divides by a sum over features, which differs from input to input and is not '
    'affine'
)
_STATISTICS = 'it computes products of features with themselves, which are not affine'
_FACTORS = 'it multiplies features by features'
_ORDER = (
    'it decides by the order of values, which jumps where two are equal: neither '
    'affine nor an activation of each value alone'
)
_MAXIMUM = (
    'a maximum is found by the earliest spike over windows, neighbours, graphs or '
    'places, with one scale; over channels, and with indices, it is not'
)
_WAVE = 'it rises and falls with its input, and the thresholds of a neuron cannot'
_INFINITE = 'for some potentials that a neuron may reach, it has no finite value'
_RANDOM = 'it draws random numbers in evaluation, too; pass them as an argument'

_REASONS = {
    _QUOTIENT: (
        'softmax softmin log_softmax softmax2d normalize logsumexp cosine_similarity '
        'group_norm groupnorm layer_norm rms_norm rmsnorm local_response_norm '
        'localresponsenorm lp_norm'
    ),
    _STATISTICS: 'std var std_mean var_mean norm vector_norm cdist dist pdist cov gram',
    _FACTORS: (
        'glu prod cumprod mulaggregation bilinear scaled_dot_product_attention cross '
        'outer kron multi_head_attention_forward'
    ),
    _ORDER: (
        'sort argsort topk kthvalue median nanmedian mode msort argmax argmin unique '
        'nonzero masked_select bucketize searchsorted gt lt ge le eq ne isclose '
        'histc multinomial sign'
    ),
    _MAXIMUM: (
        'max min amax amin aminmax cummax cummin max_pool1d_with_indices '
        'max_pool2d_with_indices max_pool3d_with_indices'
    ),
    _WAVE: 'sin cos tan sinc square pow abs cosh absolute',
    _INFINITE: (
        'exp exp2 expm1 log log2 log10 log1p reciprocal rsqrt logit acos asin acosh atanh '
        'erfinv lgamma digamma'
    ),
    _RANDOM: 'rand_like randn_like bernoulli rrelu poisson normal',
}
_MIXING = (_QUOTIENT, _STATISTICS, _ORDER, _MAXIMUM, _RANDOM)
_BY_NAME = {name: why for why, names in _REASONS.items() for name in names.split()}


def reason_for(operation: Any) -> str:
    """Why an operation that was found to be neither affine nor an activation is not.

    Args:
        operation (Any): A module, a function, or the name of a method.

    Returns:
        str: What it computes that spikes cannot carry.
    """
    if hasattr(operation, 'scripted'):
        return 'torch.jit hides its operations'
    return _BY_NAME.get(_name_of(operation), UNKNOWN)


def never_affine(operation: Any) -> bool:
    """Whether the name of an operation says that it mixes values, and is not affine,
    whatever it did with some samples: a softmax over single values is constant.
    """
    why = _BY_NAME.get(_name_of(operation), '')
    return hasattr(operation, 'scripted') or why in _MIXING


def _name_of(operation: Any) -> str:
    named = type(operation) if isinstance(operation, nn.Module) else operation
    return str(getattr(named, '__name__', named)).strip('_').lower()
