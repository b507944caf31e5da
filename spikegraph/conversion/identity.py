"""What processes that convert together must have in common."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import nn

import spikegraph
from spikegraph.calls.call import fingerprint
from spikegraph.network.config import ConversionConfig
from spikegraph.network.identity import digest, tensors_of, without_places


def identity_of(model: nn.Module, config: ConversionConfig) -> dict[str, Any]:
    """A model, a configuration and versions, part by part, in few bytes."""
    found = {
        'versions': f'spikegraph {spikegraph.__version__}, torch {torch.__version__}',
        'model': f'{type(model).__name__} {fingerprint(model)}',
        'modules of the model': digest(without_places(repr(model))),
    }
    for field in fields(config):
        found[f"'{field.name}' of ConversionConfig"] = repr(getattr(config, field.name))
    return {**found, **tensors_of(model, 'of the model')}
