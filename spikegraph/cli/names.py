"""The names of all networks, for messages that do not wait for torch."""

_MODELS = (
    *('gcn', 'sage', 'sage-max', 'gin', 'sgc', 'appnp', 'gcn2', 'resgcn'),
    *('cnn', 'resnet20'),
)
