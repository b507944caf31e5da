"""Why a model cannot be traced, and what to write instead."""

from __future__ import annotations

from typing import Any

from spikegraph.calls.errors import UserError

#: Reasons and remedies.
REFUSALS = {
    'address': "'{name}' asks where a tensor lies in memory ({where}), and a converted "
    "network keeps its values elsewhere. Ask for sizes instead, as in 'x.size(0)'",
    'array': 'it turns a tensor into a NumPy array. Use functions of PyTorch',
    'asked': 'it asks for the value of a tensor that depends on features ({where}); '
    'control flow may depend on sizes and types, not on the values of features. Compute '
    'on tensors there, as in torch.where(condition, a, b), or name an input that is no '
    "feature in 'static_inputs' of ConversionConfig",
    'caught': 'it goes on after an error on the calibration data, {error}, which other '
    'data may not cause. Ask for what causes it instead, such as a size',
    'computed': 'it computes with the data ({where}). Write that with its tensors, or do '
    'it before the model is called',
    'failed': '{error} ({where}). Rewrite that line with functions of PyTorch, or convert '
    'the part of the model without it',
    'kept': 'it keeps values of other calls ({where}), and a converted network keeps no '
    'state. Compute them in each call',
    'passed': 'the whole data object is passed on ({where}). Pass its tensors',
    'shared': 'it reads or writes a tensor that shares its memory with another one that '
    "features are written to ({where}). Write to one tensor only, as in 'out[i] = h', and "
    'read that',
}


def refusal(
    reason: str, what: str = 'the model', kind: type = UserError, **values: Any
) -> UserError:
    """The error for something that cannot be traced, and what its reason names."""
    message = f'Cannot trace {what}: {REFUSALS[reason].format(**values)}'
    return kind(NotImplementedError, message)
