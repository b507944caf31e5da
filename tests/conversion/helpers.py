"""Functions that models of users call from a module of its own."""

import torch_geometric.utils as utils
from torch_geometric.utils import softmax


def attention(scores, index, num_nodes):
    """Coefficients on edges."""
    return softmax(scores, index, num_nodes=num_nodes)


def attention_by_attribute(scores, index, num_nodes):
    """The same, called by another name."""
    return utils.softmax(scores, index, num_nodes=num_nodes)
