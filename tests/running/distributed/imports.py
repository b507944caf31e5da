"""What processes of tests import, once for all of them."""

import pytest
import torch.distributed
import torch_geometric.nn.models

import spikegraph
from spikegraph.running.distributed import infer
from tests.conversion import test_hetero

__all__ = ['infer', 'pytest', 'spikegraph', 'test_hetero', 'torch', 'torch_geometric']
