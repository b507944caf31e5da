"""What a run depends on, in texts that can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

import spikegraph
from spikegraph.kernels import contents
from spikegraph.kernels.forms import is_foreign, parts_of
from spikegraph.network.identity import digest, identity_of_network
from spikegraph.running.model import SpikingModel
from spikegraph.running.parts.step import Step
from spikegraph.running.parts.stores import StoredRows


def network_digest(snn: SpikingModel) -> str:
    """A text that changes with the operations and numbers of a network."""
    return digest(repr(identity_of_network(snn.network)))


def digest_of(value: Any) -> str:
    """A text that changes with what tensors in a structure hold."""
    parts = []
    for leaf in pytree.tree_leaves(value):
        if isinstance(leaf, StoredRows):
            kind = tuple(leaf.shape), str(leaf.dtype)
            parts.append(f'{kind} {[_number(block) for block in leaf.blocks()]}')
        elif isinstance(leaf, Tensor) or is_foreign(leaf):
            for part in parts_of(leaf):
                kind = tuple(part.shape), str(part.dtype)
                parts.append(f'{kind} {_number(part)}')
        else:
            parts.append(f'{leaf!r:.200}')
    return digest('\n'.join(parts))


def _number(value: Tensor) -> Any:
    value = value.detach()
    whole = value if value.is_contiguous() else value.contiguous()
    found: Any = contents.digest(whole)
    *_, total, last = found  # Without what depends on how it lies in memory.
    return total, last


def inputs_digest(inputs: Mapping[str, Any], features: Mapping[str, Step]) -> str:
    """A text for all inputs that are no features: graphs, and what belongs to them."""
    given = {step.record.target for step in features.values()}
    return digest_of({k: v for k, v in inputs.items() if k not in given})


def features_digest(features: Mapping[Step, Any]) -> str:
    """A text for the rows of features."""
    return digest_of({step.name: value for step, value in features.items()})


def version() -> str:
    """The version of the library."""
    return str(spikegraph.__version__)
