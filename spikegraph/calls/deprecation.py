"""Calls that are spelled otherwise by now, and still work."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from spikegraph.moved import GOES_WITH

_OURS = ('spikegraph', 'torch', 'contextlib')
_Given = ParamSpec('_Given')
_Found = TypeVar('_Found')


def warn_of(what: str, remedy: str) -> None:
    """Warns whoever called the library.

    Args:
        what (str): What is deprecated, as it is written.
        remedy (str): What to write instead.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None:
        if frame.f_globals.get('__name__', '').partition('.')[0] not in _OURS:
            break
        frame, level = frame.f_back, level + 1
    message = f'{what} is deprecated, and goes with version {GOES_WITH}; {remedy}'
    warnings.warn(message, DeprecationWarning, stacklevel=level)


def takes_old_order(
    kind: type, *names: str
) -> Callable[[Callable[_Given, _Found]], Callable[_Given, _Found]]:
    """Lets a function that takes the spiking network first be called with the ANN first,
    as it was before, and refuses calls without one.

    Args:
        kind (type): That of spiking networks.
        *names (str): The arguments in their old order, the ANN and ``snn`` first.
    """

    order = names[1], names[2], names[0]

    def decorate(function: Callable[_Given, _Found]) -> Callable[_Given, _Found]:
        @wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            first, name = args[0] if args else kwargs.get('snn'), function.__name__
            second = args[1] if len(args) > 1 else kwargs.get('snn')
            if isinstance(first, kind):
                return function(*args, **kwargs)
            if not args or not isinstance(second, kind):
                raise ValueError(
                    f"Expected 'snn' to be a {kind.__name__} (got "
                    f"{type(first).__name__}); call '{name}({', '.join(order)})' with "
                    "'snn = spikegraph.convert(model, data)'"
                )
            warn_of(
                f"'{name}({', '.join(names[:3])})'",
                f"give the spiking network first, '{name}({', '.join(order)})'",
            )
            call: Any = function
            return call(**dict(zip(names, args, strict=False)), **kwargs)

        return called

    return decorate
