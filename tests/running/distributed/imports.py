"""What processes of tests import, once for all of them."""

import pytest
import torch.distributed
import torch_geometric.nn.models

import spikegraph
from tests.conversion import test_hetero

__all__ = ['pytest', 'spikegraph', 'test_hetero', 'torch', 'torch_geometric']
