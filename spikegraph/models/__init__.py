"""The graph networks used in examples and benchmarks, and how to train them."""

from spikegraph.models.gcn import GCN
from spikegraph.models.graph_training import predict, train_graph_model
from spikegraph.models.molecule import MoleculeGNN
from spikegraph.models.node_training import train_node_classifier
from spikegraph.models.propagation import SGC, APPNPNet
from spikegraph.models.recipe import (
    GRAPH_MODELS,
    NODE_MODELS,
    GraphRecipe,
    TrainingRecipe,
)
from spikegraph.models.recipes import GRAPH_RECIPES, RECIPES, get_recipe
from spikegraph.models.residual import GCN2, ResGCN
from spikegraph.models.sage import GIN, SAGE

__all__ = [
    'APPNPNet',
    'GCN',
    'GCN2',
    'GIN',
    'GRAPH_MODELS',
    'GRAPH_RECIPES',
    'GraphRecipe',
    'MoleculeGNN',
    'NODE_MODELS',
    'RECIPES',
    'ResGCN',
    'SAGE',
    'SGC',
    'TrainingRecipe',
    'get_recipe',
    'predict',
    'train_graph_model',
    'train_node_classifier',
]
