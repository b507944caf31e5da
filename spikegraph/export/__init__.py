"""Converted networks for other tools.

The package itself is the function that most are here for: ``spikegraph.export(snn,
directory, *inputs)`` is :func:`write_bundle`.
"""

import sys
from types import ModuleType
from typing import Any

from spikegraph.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)


class _Package(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As :func:`write_bundle`."""
        return self.write_bundle(*args, **kwargs)


sys.modules[__name__].__class__ = _Package
