"""Every reason why something cannot be converted, and what to do instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn

from spikegraph.network.naming import name_of, operation_of, place_of
from spikegraph.network.ops import op_for, op_named

ANALOG = "pass 'ConversionConfig(allow_analog=True)'"

#: Of whatever has been looked into, and is nothing that spikes can carry.
UNKNOWN = (
    'it is neither affine in what depends on features, nor an activation of each '
    'value alone that never falls'
)
HIDDEN = 'torch.jit hides its operations'

#: By the keys of the table of operations.
REASONS = {
    'quotient': (
        'it divides by a sum over features, which differs from input to input and is '
        'not affine'
    ),
    'products': 'it computes products of features with themselves, which are not affine',
    'factors': 'it multiplies features by features',
    'order': (
        'it decides by the order of values, which jumps where two are equal: neither '
        'affine nor an activation of each value alone'
    ),
    'maximum': (
        'a maximum is found by the earliest spike over windows, neighbours, graphs, '
        'places or channels; one that runs along a dimension, or its place, is not'
    ),
    'wave': 'it rises and falls with its input, and the thresholds of a neuron cannot',
    'infinite': 'for some potentials that a neuron may reach, it has no finite value',
    'random': 'it draws random numbers in evaluation, too; pass them as an argument',
    'neighbours': 'its graph depends on the features',
    'labels': 'it hashes discrete labels and computes no real values',
    'statistics': 'it normalises by statistics of each input, which are not affine',
    'aggregation': 'it orders or weighs neighbours by their values',
}
# What mixes values, and is not affine, whatever it did with some samples: a softmax
# over single values is constant.
_MIXING = ('quotient', 'products', 'order', 'maximum', 'random', 'statistics')

# Why a call of something that has a rule does not go by it.
ROUNDS = 'it rounds'
FILLS = 'it fills a tensor with a signal'
DIVIDES = 'it divides by a signal; spikes do so where that is known to be positive'
MULTIPLIES = 'it multiplies two signals'
INDEX = 'its index depends on signals'
SCATTERS = 'it scatters along another dimension, or by products'
BATCH = 'it normalises by the statistics of the batch'
TRACKED = (
    'it normalises by the statistics of each batch; those that training tracks, with '
    "'track_running_stats=True', are affine"
)
BESIDE = (
    'another value that depends on features enters beside them, such as weights of '
    'edges, and a product of both is not affine (an input that is no feature, and is '
    "read as it is, can be declared: 'ConversionConfig(static_inputs=...)')"
)
# Why an activation is none, where it is called.
ARGUMENT = 'one of its arguments is computed, and no fixed number'
BOUND = 'one of its bounds is computed, and no fixed number'
EMPTY = 'its bounds {:g} and {:g} leave no values between'
SLOPE = 'its slope is computed, and no parameter of the model'
# Why a maximum over groups of rows is no gate.
PRODUCTS = 'it multiplies signals with each other'
DIMENSION = 'it takes the largest values along another dimension than the rows'
COLUMNS = 'its index is not known to be the same for all columns'
START = (
    'what it starts with, and leaves where a group is empty, is not known to '
    "be zeros, and silence is a zero; start with 'torch.zeros(...)'"
)
ZEROS = 'zeros are among what it takes the smallest of; pass include_self=False'
INDICES = 'its indices are read, and spike times do not tell them'
WINDOW = 'the size of its window is computed, and it has other options ({})'
VIEW = (
    "Cannot convert '{}': it changes a view in place, and with it other tensors ({}). "
    'Use the operation that returns a new tensor'
)
STATE = (
    "Cannot convert '{}': the model writes to it ({}), and a converted network keeps no "
    'state. Write to a copy, made by clone()'
)

# What to do.
_REPLACE = 'Replace it,'
_ADD_RULE = "Add a rule with '@register_rule({})'"
_OWN_CLASS = (
    "Make it a subclass of {0} that overrides '{1}', and add a rule for that with "
    "'@register_rule',"
)
_OPTION = (
    'Choose an option that spikes can carry, give a subclass of {} with it a rule of '
    "its own ('@register_rule'),"
)
_SCRIPTED = (
    'Make it what it was before torch.jit.script or torch.jit.trace, and load its '
    'state_dict(),'
)


def reason_for(operation: Any) -> str:
    """Why an operation that was found to be neither affine nor an activation is not.

    Args:
        operation (Any): A module, a function, or the name of a method.

    Returns:
        str: What it computes that spikes cannot carry.
    """
    if hasattr(operation, 'scripted'):
        return HIDDEN
    return REASONS.get(_why(operation), UNKNOWN)


def never_affine(operation: Any) -> bool:
    """Whether an operation is known to mix values, and not to be affine."""
    return hasattr(operation, 'scripted') or _why(operation) in _MIXING


def _why(operation: Any) -> str:
    named = type(operation) if isinstance(operation, nn.Module) else operation
    op = op_for(operation) or op_named(str(getattr(named, '__name__', named)))
    return '' if op is None else op.why


def first_refused(
    node: fx.Node, reason: str, refused: Mapping[fx.Node, str]
) -> tuple[fx.Node, str]:
    """The first operation without a rule that a refused one is made of, and why it has
    none.

    Args:
        node (torch.fx.Node): The one that is refused.
        reason (str): Why, empty if nothing is known.
        refused (Dict[torch.fx.Node, str]): Those without a rule, in order.
    """
    behind, queue = {node}, [node]
    while queue:
        before = set(queue.pop().all_input_nodes) - behind
        behind |= before
        queue += before
    for earlier, why in refused.items():
        if earlier in behind and earlier is not node:
            return earlier, why
    return node, reason


def describe_refusal(
    network: fx.GraphModule, node: fx.Node, reason: str, has_rule: bool
) -> str:
    """Path, type, reason, remedy and line of an operation that cannot be converted.

    Args:
        network (torch.fx.GraphModule): The network.
        node (torch.fx.Node): The operation.
        reason (str): Why, empty if nothing is known.
        has_rule (bool): Whether other calls of it are converted, by a rule that is
            there.
    """
    operation = operation_of(network, node)
    why = reason or reason_for(operation)
    if 'why_whole' in node.meta and not reason:
        why += f', and its messages cannot be traced ({node.meta["why_whole"]})'
    remedy = _REPLACE
    if isinstance(operation, torch.jit.ScriptModule):
        remedy = _SCRIPTED
    elif node.op == 'call_module' and not has_rule:
        own = overridden(operation)
        kind = type(operation).__name__
        remedy = _ADD_RULE.format(node.meta.get('ann_type') or kind)
        remedy = _OWN_CLASS.format(kind, own) if own else remedy
    what = name_of(network, node)
    return f'Cannot convert {what}: {why}. {remedy} or {ANALOG}{place_of(node)}'


def describe_option(path: str, module: nn.Module, reason: str) -> str:
    """Path, type, reason and remedy of a layer with an option without a twin.

    Args:
        path (str): The path of the layer.
        module (torch.nn.Module): The layer.
        reason (str): Which option that is.
    """
    kind = type(module).__name__
    remedy = _OPTION.format(kind)
    return f"Cannot convert '{path}' ({kind}): {reason}. {remedy} or {ANALOG}"


def describe_call(node: fx.Node, reason: str, remedy: str) -> str:
    """The same of a call that could be converted if it were made otherwise."""
    name = getattr(node.target, '__name__', node.target)
    return f"Cannot convert '{name}': {reason}. {remedy}{place_of(node)}"


#: Overriding one of these, in a class or on one module, changes what is computed.
DEFINING = ('forward', 'message', 'message_and_aggregate', 'aggregate', 'update')


def overridden(module: nn.Module) -> str:
    """What is overridden on a module itself, and not in its class."""
    return next((name for name in DEFINING if name in vars(module)), '')
