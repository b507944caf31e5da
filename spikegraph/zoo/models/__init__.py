"""The networks used in examples and benchmarks, and how to train them."""

from spikegraph.zoo.models.attention import GAT, GPS, GraphTransformer
from spikegraph.zoo.models.cnn import CNN
from spikegraph.zoo.models.gated import FiLM, ResGated
from spikegraph.zoo.models.gcn import GCN
from spikegraph.zoo.models.graph_training import predict, train_graph_model
from spikegraph.zoo.models.image_training import train_image_classifier
from spikegraph.zoo.models.mobilenet import MobileNet
from spikegraph.zoo.models.molecule import MoleculeGNN
from spikegraph.zoo.models.node_training import train_node_classifier
from spikegraph.zoo.models.propagation import SGC, APPNPNet
from spikegraph.zoo.models.recipe import (
    GRAPH_MODELS,
    IMAGE_MODELS,
    NODE_MODELS,
    GraphRecipe,
    ImageRecipe,
    TrainingRecipe,
)
from spikegraph.zoo.models.recipes import (
    GRAPH_RECIPES,
    IMAGE_RECIPES,
    RECIPES,
    get_recipe,
    is_image_task,
)
from spikegraph.zoo.models.residual import GCN2, ResGCN
from spikegraph.zoo.models.resnet import ResNet20
from spikegraph.zoo.models.sage import GIN, SAGE
from spikegraph.zoo.models.vit import ViT

__all__ = [
    'APPNPNet',
    'CNN',
    'FiLM',
    'GAT',
    'GCN',
    'GCN2',
    'GIN',
    'GPS',
    'GRAPH_MODELS',
    'GRAPH_RECIPES',
    'GraphRecipe',
    'GraphTransformer',
    'IMAGE_MODELS',
    'IMAGE_RECIPES',
    'ImageRecipe',
    'MobileNet',
    'MoleculeGNN',
    'NODE_MODELS',
    'RECIPES',
    'ResGCN',
    'ResGated',
    'ResNet20',
    'SAGE',
    'SGC',
    'TrainingRecipe',
    'ViT',
    'get_recipe',
    'is_image_task',
    'predict',
    'train_graph_model',
    'train_image_classifier',
    'train_node_classifier',
]
