"""Numbers that stay symbolic in code that calls ``int``, ``float`` or ``len``, which
return nothing but numbers: the modules in question get functions of that name.
"""

from __future__ import annotations

import builtins
import inspect
import re
import tokenize
from io import StringIO
from types import FrameType
from typing import Any

from torch import Tensor

from spikegraph.calls.swapping import Swaps
from spikegraph.conversion.tracing.proxies import Traced, is_foreign
from spikegraph.conversion.tracing.questions import depends_on

_NAMES = ('int', 'float', 'len')
_IDENTITY = re.compile(r'\bis (not )?(int|float)\b|\b(int|float) is\b')
_SYMBOLIC = ('sizes', 'structure')


class NumberAsked(BaseException):
    """A module that wants a number, on its way out of the tracer.

    Args:
        names (Dict[str, Any]): The global names of the module.
    """

    def __init__(self, names: dict[str, Any]) -> None:
        super().__init__()
        self.names = names


class Numbers:
    """The modules that were seen to want numbers.

    Args:
        are_symbolic (bool): Whether numbers stay symbolic.
    """

    def __init__(self, are_symbolic: bool) -> None:
        self.are_symbolic = are_symbolic
        self.modules: list[dict[str, Any]] = []
        self._last: NumberAsked | None = None

    def check(self, frame: FrameType) -> None:
        """Raises ``NumberAsked`` for code that has not got the functions yet."""
        names = frame.f_globals
        if not self.are_symbolic or not is_foreign(frame):
            return
        if any(names is known for known in self.modules) or not _may_have(frame):
            return
        self._last = NumberAsked(names)
        raise self._last

    def check_caught(self) -> None:
        """Raises ``NumberAsked`` again if the model has caught it."""
        if self._last is not None:
            raise self._last

    def put_in_place(self, swaps: Swaps) -> None:
        """Gives the modules their functions, for as long as these last."""
        self._last = None
        for names in self.modules:
            for name in _NAMES:
                if name not in names:
                    swaps.put_for_all(names, name, _FUNCTIONS[name])


def _may_have(frame: FrameType) -> bool:
    """Whether no code of a module compares types by identity."""
    module = inspect.getmodule(frame)
    try:
        source = inspect.getsource(module or frame.f_code)
        tokens = list(tokenize.generate_tokens(StringIO(source).readline))
    except (OSError, TypeError, tokenize.TokenError, SyntaxError):
        return True
    told: tuple[int, ...] = (tokenize.STRING, tokenize.COMMENT)
    return not _IDENTITY.search(
        ' '.join(t.string for t in tokens if t.type not in told)
    )


def is_symbolic(value: Any) -> bool:
    """Whether a number is known from the sizes or the structure of inputs."""
    return type(value) is Traced and depends_on(value.node) in _SYMBOLIC


class _Kind(type):
    """Of a type that passes for another one."""

    kind: type

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, cls.kind)

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, cls.kind)

    def __eq__(cls, other: Any) -> bool:
        return other is cls or other is cls.kind

    def __hash__(cls) -> int:
        return hash(cls.kind)


def _number(kind: type, value: Any) -> Any:
    example = value._example
    if type(example) is kind:
        return value
    return value.tracer.create_proxy('call_function', kind, (value,), {})


class _Int(int, metaclass=_Kind):
    kind = int

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and is_symbolic(args[0]):
            return _number(int, args[0])
        return int(*args, **kwargs)


class _Float(float, metaclass=_Kind):
    kind = float

    def __new__(cls, *args: Any) -> Any:
        if len(args) == 1 and is_symbolic(args[0]):
            return _number(float, args[0])
        return float(*args)


def _len(value: Any) -> Any:
    if type(value) is Traced and isinstance(value._example, Tensor):
        return value.size(0)
    return builtins.len(value)


_FUNCTIONS: dict[str, Any] = {'int': _Int, 'float': _Float, 'len': _len}
