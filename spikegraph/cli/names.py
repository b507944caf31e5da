"""Names of networks, energy tables and units, for messages that do not wait for torch."""

_MODELS = (
    *('gcn', 'sage', 'sage-max', 'gin', 'sgc', 'appnp', 'gcn2', 'resgcn'),
    *('gat', 'gatv2', 'transformer', 'gps', 'gcn-layernorm', 'gcn-graphnorm'),
    *('resgated', 'film'),
    'gin-set2set',
    *('cnn', 'resnet20', 'vit', 'mobilenet'),
)
_TABLES = (
    *('horowitz-fp32', 'horowitz-fp16', 'horowitz-int32', 'horowitz-int8'),
    'horowitz-int8-int32',
    *('spikingjelly-fp32', 'spikingjelly-fp16', 'spikingjelly-int8'),
)
_UNITS = ('node', 'graph', 'image')
