"""The recipe of every dataset and network."""

from dataclasses import replace

from spikegraph.zoo.models.recipe import (
    GRAPH_MODELS,
    IMAGE_MODELS,
    NODE_MODELS,
    GraphRecipe,
    ImageRecipe,
    TrainingRecipe,
)

_KIPF = TrainingRecipe(hidden_channels=16)
_WIDE = TrainingRecipe(hidden_channels=64, epochs=1000, patience=100)
# The authors of the Open Graph Benchmark train without early stopping, too, but keep
# the best epoch.
_OGB = TrainingRecipe(
    hidden_channels=256,
    num_layers=3,
    weight_decay=0.0,
    epochs=500,
    patience=500,
    norm=True,
)

#: The recipe of every dataset's GCN, by name.
RECIPES: dict[str, TrainingRecipe] = {
    'digits': TrainingRecipe(hidden_channels=64, weight_decay=0.0),
    'cora': _KIPF,
    'citeseer': _KIPF,
    'pubmed': _KIPF,
    'photo': _WIDE,
    'computers': _WIDE,
    'cs': _WIDE,
    'physics': _WIDE,
    'ogbn-arxiv': _OGB,
    'ogbn-products': replace(_OGB, epochs=300, patience=300),
}


#: The recipe of every molecule dataset's GIN, by name.
GRAPH_RECIPES: dict[str, GraphRecipe] = {
    'ogbg-molhiv': GraphRecipe(epochs=20, batch_size=256),
    'ogbg-molbace': GraphRecipe(epochs=40, batch_size=64),
    'ogbg-molesol': GraphRecipe(dropout=0.0, epochs=100, batch_size=32),
}

#: The recipe of every image dataset's network, by name.
IMAGE_RECIPES: dict[str, ImageRecipe] = {
    'digits': ImageRecipe(lr=0.005, epochs=40),
    'mnist': ImageRecipe(epochs=10),
    'cifar10': ImageRecipe('resnet20', hidden_channels=0, epochs=0),
}

# Other networks for images, by dataset and name.
_OTHER_IMAGE_RECIPES: dict[tuple[str, str], ImageRecipe] = {
    ('mnist', 'vit'): ImageRecipe(
        'vit', hidden_channels=128, lr=0.001, epochs=25, shift=2
    ),
    ('mnist', 'mobilenet'): ImageRecipe('mobilenet', lr=0.005, epochs=15),
}

_STOPPED = TrainingRecipe(hidden_channels=64, epochs=200, patience=40)

# As in the paper on graph attention networks.
_ATTENTION = dict(
    heads=8, dropout=0.6, lr=0.005, decay_all_layers=True, epochs=1000, patience=100
)
# Of the networks other than a GCN.
_OTHERS: dict[str, TrainingRecipe] = {
    model: replace(_STOPPED, model=model, **changes)  # type: ignore[arg-type]
    for model, changes in {
        'sage': {},
        'sage-max': {},
        'gin': {},
        'sgc': dict(hidden_channels=0, dropout=0.0, lr=0.1),
        'appnp': dict(num_layers=10),
        'gcn2': dict(
            num_layers=8, dropout=0.6, decay_all_layers=True, conv_weight_decay=0.01
        ),
        'resgcn': dict(num_layers=4, weight_decay=5e-3, decay_all_layers=True),
        'gat': _ATTENTION,
        'gatv2': _ATTENTION,
        'transformer': dict(heads=4, decay_all_layers=True),
        'gps': dict(
            lr=0.01,
            weight_decay=5e-3,
            dropout=0.6,
            decay_all_layers=True,
            epochs=400,
            patience=100,
        ),
        'gcn-layernorm': dict(num_layers=4, decay_all_layers=True),
        'gcn-graphnorm': dict(
            hidden_channels=128,
            num_layers=4,
            lr=0.005,
            weight_decay=5e-3,
            decay_all_layers=True,
            patience=100,
        ),
        'resgated': dict(decay_all_layers=True),
        'film': dict(decay_all_layers=True),
    }.items()
}
# Where few nodes are labelled, the paper averages more heads and decays more.
_GAT_ON_PUBMED = dict(out_heads=8, lr=0.01, weight_decay=1e-3)


def get_recipe(
    dataset: str, model: str | None = None
) -> TrainingRecipe | GraphRecipe | ImageRecipe:
    r"""Returns how to train a network on a dataset.

    Args:
        dataset (str): The dataset, a key of :obj:`RECIPES`,
            :obj:`GRAPH_RECIPES` or :obj:`IMAGE_RECIPES`.
        model (str, optional): One of :obj:`NODE_MODELS`,
            :obj:`GRAPH_MODELS` or :obj:`IMAGE_MODELS`. (default: :obj:`None`,
            a GCN for nodes, a GIN for molecules, and the network of
            :obj:`IMAGE_RECIPES` for images)

    Returns:
        TrainingRecipe, GraphRecipe or ImageRecipe: The recipe.

    Raises:
        ValueError: If the dataset is unknown, or the model does not suit it.
    """
    if dataset in GRAPH_RECIPES:
        _check(dataset, model, 'molecules', GRAPH_MODELS)
        return replace(GRAPH_RECIPES[dataset], model=model or GRAPH_MODELS[0])
    if is_image_task(dataset, model):
        recipes = {
            IMAGE_RECIPES[dataset].model: IMAGE_RECIPES[dataset],
            **{
                name: recipe
                for (of, name), recipe in _OTHER_IMAGE_RECIPES.items()
                if of == dataset
            },
        }
        _check(dataset, model, 'images', tuple(recipes))
        return recipes[model or IMAGE_RECIPES[dataset].model]
    if dataset not in RECIPES:
        names = ', '.join(dict.fromkeys([*RECIPES, *GRAPH_RECIPES, *IMAGE_RECIPES]))
        raise ValueError(f"Expected 'dataset' to be one of {names} (got '{dataset}')")
    _check(dataset, model, 'nodes', NODE_MODELS)
    if model is None or model == 'gcn':
        return RECIPES[dataset]
    other = _OTHERS[model]
    if dataset.startswith('ogbn-'):
        large = RECIPES[dataset]
        return replace(
            large,
            model=model,
            hidden_channels=large.hidden_channels if other.hidden_channels else 0,
            num_layers=max(other.num_layers, large.num_layers),
            heads=other.heads,
            out_heads=other.out_heads,
        )
    if dataset == 'pubmed' and model in ('gat', 'gatv2'):
        return replace(other, **_GAT_ON_PUBMED)  # type: ignore[arg-type]
    if dataset in ('cora', 'citeseer', 'pubmed'):
        return other
    # On graphs with many neighbors, sums over them are large and largest values all the
    # same. The first sums, the most work, are computed once if no input is dropped.
    norm = model in ('sage-max', 'gin', 'resgated', 'film')
    return replace(other, dropout_input=False, norm=norm)


def is_image_task(dataset: str, model: str | None = None) -> bool:
    """Whether a dataset is one of images, or the model says that it is: the digits
    are a graph as well.

    Args:
        dataset (str): The dataset.
        model (str, optional): The model. (default: :obj:`None`, the default of
            the dataset)

    Returns:
        bool: The answer.
    """
    return dataset in IMAGE_RECIPES and (
        dataset not in RECIPES or model in IMAGE_MODELS
    )


def _check(
    dataset: str, model: str | None, things: str, choices: tuple[str, ...]
) -> None:
    if model is not None and model not in choices:
        few = f'one of {", ".join(choices)}' if len(choices) > 1 else f"'{choices[0]}'"
        raise ValueError(
            f"Expected 'model' to be {few} for the {things} of '{dataset}' (got "
            f"'{model}')"
        )
