"""Modules under their old names, until the next version that may break programs."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

GOES_WITH = '2.0'  # What is deprecated; see CONTRIBUTING.md.
MOVED = {
    'datasets': ('zoo.datasets',),
    'models': ('zoo.models',),
    'training': ('zoo.training',),
    'experiment': ('zoo.experiment',),
    'simulation': ('running', 'export.events'),
    'inference': ('running',),
}
_BETWEEN = (__name__, 'importlib', 'spikegraph.lazy')


def _new_names(name: str) -> list[str]:
    """What a module became; nothing where it is no old name."""
    package, first, *rest = *name.split('.'), ''
    new = MOVED.get(first, ()) if package == 'spikegraph' else ()
    return ['.'.join(('spikegraph', each, *rest)).strip('.') for each in new]


class _Moved(MetaPathFinder, Loader):
    """Finds a module that holds all names of those that it became."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        try:
            found = [find_spec(new) for new in _new_names(name)]
        except ModuleNotFoundError:  # A part of what is no folder.
            return None
        folders = [each.submodule_search_locations for each in found if each]
        if not folders or len(folders) < len(found):
            return None
        return ModuleSpec(name, self, is_package=folders[0] is not None)

    def exec_module(self, module: ModuleType) -> None:
        names = _new_names(module.__name__)
        found = [import_module(name) for name in names]
        frame = sys._getframe()  # The line that imports, behind Python's own.
        while frame.f_back and frame.f_globals.get('__name__', '').startswith(_BETWEEN):
            frame = frame.f_back
        warnings.warn_explicit(
            f"'{module.__name__}' is now {' and '.join(map(repr, names))}; the old name "
            f'goes with version {GOES_WITH}',
            DeprecationWarning,
            frame.f_code.co_filename,
            frame.f_lineno,
            module=frame.f_globals.get('__name__', ''),
        )
        for each in found:
            names = [name for name in dir(each) if not name.startswith('__')]
            vars(module).update({name: getattr(each, name) for name in names})


def install() -> None:
    """Lets the old names be imported."""
    sys.meta_path.append(_Moved())
