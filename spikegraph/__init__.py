"""Turns trained graph networks and CNNs into one-spike spiking networks."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikegraph.coding import PhaseCode, Spikes, decode, encode
    from spikegraph.conversion import convert, register_rule
    from spikegraph.measurement import EnergyTable, Measurement, measure
    from spikegraph.network import ConversionConfig
    from spikegraph.reordering import reorder
    from spikegraph.running import (
        Simulation,
        SpikingModel,
        layerwise,
        predict,
        simulate,
    )
    from spikegraph.storage import load, save
else:
    # On first use, because importing torch takes seconds: `spikegraph --help` should
    # not wait for it.
    def __getattr__(name: str) -> object:
        from importlib import import_module

        modules = {
            'coding': 'PhaseCode Spikes decode encode',
            'conversion': 'convert register_rule',
            'measurement': 'EnergyTable Measurement measure',
            'network': 'ConversionConfig',
            'reordering': 'reorder',
            'running': 'Simulation SpikingModel layerwise predict simulate',
            'storage': 'load save',
        }
        for module, names in modules.items():
            if name == module or name in names.split():
                found = import_module(f'spikegraph.{module}')
                return found if name == module else getattr(found, name)
        raise AttributeError(f"module 'spikegraph' has no attribute '{name}'")


__version__ = '0.1.0'

__all__ = [
    'ConversionConfig',
    'EnergyTable',
    'Measurement',
    'PhaseCode',
    'Simulation',
    'Spikes',
    'SpikingModel',
    'convert',
    'decode',
    'encode',
    'layerwise',
    'load',
    'measure',
    'predict',
    'register_rule',
    'reorder',
    'save',
    'simulate',
]
