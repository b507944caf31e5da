"""Spiking graph convolutions, one per file, with the signatures of PyG.

All files of this folder are imported, and their classes ``Spiking...`` public here: a
new layer needs no line. What type checkers read is generated of that.
"""

from importlib import import_module
from pkgutil import iter_modules

from spikegraph.nn.conv.gcn_conv import DegreeFactor

__all__ = ['DegreeFactor']
for _found in iter_modules(__path__):
    _module = import_module(f'{__name__}.{_found.name}')
    for _name, _value in vars(_module).items():
        if _name.startswith('Spiking') and _value.__module__ == _module.__name__:
            globals()[_name] = _value
            __all__.append(_name)
