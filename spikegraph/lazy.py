"""Names that are imported on first use, written once: in the stub of their package."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path


def attach(
    package: str, file: str
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """What a package needs for the names in its stub, and for its modules:
    ``__getattr__``, ``__dir__`` and ``__all__``.

    The stub lies beside the file of the package, ends in ``.pyi``, is what type
    checkers read, and has one line for each name: ``from MODULE import NAME as NAME``.
    Nothing is imported before it is asked for.

    Args:
        package (str): The name of the package.
        file (str): Its file.
    """
    tree = ast.parse(Path(file).with_suffix('.pyi').read_text(encoding='utf-8'))
    modules = {
        alias.name: node.module or package
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    def get(name: str) -> object:
        if modules.get(name, package) != package:
            return getattr(import_module(modules[name]), name)
        unknown = f"module '{package}' has no attribute '{name}'"
        if name.startswith('_'):
            raise AttributeError(unknown)
        try:
            return import_module(f'{package}.{name}')
        except ModuleNotFoundError as error:
            if error.name != f'{package}.{name}':  # Something that it needs.
                raise
            raise AttributeError(unknown) from None

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get, names, sorted(n for n, module in modules.items() if module != package)
