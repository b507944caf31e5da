"""The names of networks and units, for messages that do not wait for torch."""

_MODELS = (
    *('gcn', 'sage', 'sage-max', 'gin', 'sgc', 'appnp', 'gcn2', 'resgcn'),
    *('gat', 'gatv2', 'transformer', 'gps', 'gcn-layernorm', 'gcn-graphnorm'),
    *('resgated', 'film'),
    'gin-set2set',
    *('cnn', 'resnet20', 'vit', 'mobilenet'),
)
_UNITS = ('node', 'graph', 'image')
