"""What a model asks about symbolic values while it is traced. The answers are those
of the first calibration call; networks ask again, and go on if they are the same.
"""

from __future__ import annotations

import dis
import linecache
import operator
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

from torch import Tensor, fx

from spikegraph.calls.errors import UserError, ValueAsked
from spikegraph.conversion.tracing.proxies import Traced, is_foreign
from spikegraph.conversion.tracing.refusals import refusal
from spikegraph.network.functions import check_answer
from spikegraph.network.graph import made_of
from spikegraph.network.ops import Meaning, is_call, means


@dataclass(frozen=True)
class Where:
    """A place in the code of a user.

    Args:
        file (str): The path of the file.
        line (int): The number of the line.
        module (str): The path of the module that was called.
        code (str): The line itself.
    """

    file: str = ''
    line: int = 0
    module: str = ''
    code: str = ''

    def __str__(self) -> str:
        if not self.file:
            return f"in '{self.module}'" if self.module else 'in the model'
        inside = f", in '{self.module}'" if self.module else ''
        code = f": '{self.code}'" if self.code else ''
        return f'{os.path.basename(self.file)}, line {self.line}{inside}{code}'

    @classmethod
    def now(cls, module: str) -> Where:
        """Where the innermost code is that is neither PyTorch's, PyG's nor ours; if
        there is none, PyG's.
        """
        frame: FrameType | None = sys._getframe(1)
        found: FrameType | None = None
        while frame is not None:
            name = frame.f_globals.get('__name__', '')
            if (
                name == 'spikegraph.conversion.tracing.tracer'
                and frame.f_code.co_name == 'trace'
            ):
                break
            if is_foreign(frame):
                found = found or frame
                if not name.startswith('torch_geometric.'):
                    found = frame
                    break
            frame = frame.f_back
        if found is None:
            return cls(module=module)
        file, line = found.f_code.co_filename, found.f_lineno
        return cls(file, line, module, linecache.getline(file, line).strip())


class Questions:
    """Asks, answers and remembers.

    Args:
        answers (Sequence[Any], optional): The answers of an earlier trace, in order.
            (default: :obj:`None`, those of the examples)
    """

    def __init__(self, answers: Sequence[Any] | None = None) -> None:
        self.told: list[Any] = []
        self._answers = None if answers is None else list(answers)
        self._guards: dict[tuple[fx.Node, str], list[tuple[Any, Where]]] = {}
        self._indices: list[tuple[Traced, FrameType, int]] = []

    def ask(
        self, value: Traced, what: str, where: Where, frame: FrameType | None = None
    ) -> Any:
        """The length or the value of something.

        Raises:
            UserError: If it depends on the values of features.
        """
        if what == 'value' and _asks_if_none_are_left(value.node):
            return False  # What is computed of no values is none.
        example = value._example
        source = depends_on(value.node)
        if what != 'length' and source == 'features':
            if what == 'value' and _is_asserted():
                return bool(example)  # Taken to hold.
            what = f'{type(value.tracer.root).__name__}.forward'
            raise refusal('asked', what, ValueAsked, where=where)
        answer = self._next(_answer(example, what))
        if source != 'nothing':
            self._guards.setdefault((value.node, what), []).append((answer, where))
            if frame is not None and not _takes_item(frame):
                self._indices.append((value, frame, frame.f_lasti))
        return answer

    def retract(self, used: list[Traced]) -> None:
        """Forgets that PyTorch looked whether an argument is a number, if it turns
        out to record the call.
        """
        if not self._indices:
            return
        frames: dict[FrameType, int] = {}
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            frames[frame] = frame.f_lasti
            frame = frame.f_back
        kept = []
        for value, asker, position in self._indices:
            if any(value is v for v in used) and frames.get(asker) == position:
                self._guards[value.node, 'index'].pop()
            else:
                kept.append((value, asker, position))
        self._indices = kept

    def forget(self, nodes: set[fx.Node]) -> None:
        """Forgets questions about nodes that have been erased."""
        self._guards = {k: v for k, v in self._guards.items() if k[0] not in nodes}

    def insert(self, graph: fx.Graph) -> None:
        """Lets the network ask again."""
        for (node, what), asked in self._guards.items():
            if not asked:
                continue
            answer, where = asked[0]
            what = 'length' if what == 'length' else 'value'
            place = node
            if node.op == 'placeholder':  # A population may take its place.
                place = [n for n in graph.nodes if n.op == 'placeholder'][-1]
            with graph.inserting_after(place):
                arguments = (node, what, answer, str(where))
                graph.call_function(check_answer, arguments)
        self._indices.clear()

    def _next(self, answer: Any) -> Any:
        """The answer to this question, in an earlier trace if there was one."""
        if self._answers is not None:
            if len(self.told) == len(self._answers):
                raise UserError(
                    ValueError,
                    "Expected 'model' to ask for as many sizes as when it was converted "
                    f'(got more than {len(self._answers)}); it is another model, or '
                    'another version of it',
                )
            answer = self._answers[len(self.told)]
        self.told.append(answer)
        return answer


def _takes_item(frame: FrameType) -> bool:
    """Whether code takes an item itself, and does not call what looks at numbers."""
    operation = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    return operation.startswith(('BINARY_', 'STORE_', 'DELETE_'))


def _answer(example: Any, what: str) -> Any:
    if what == 'length':
        return len(example)
    if what == 'array':
        raise refusal('array')
    if isinstance(example, Tensor):
        example = example.item()
    if not isinstance(example, (bool, int, float)):
        return bool(example)  # Of a dtype or a tuple: whether there is any.
    return example


def depends_on(node: fx.Node) -> str:
    """What a value depends on: ``'nothing'``, ``'sizes'``, ``'structure'`` (values
    that are no features) or ``'features'``.
    """
    order = ('nothing', 'sizes', 'structure', 'features')
    found = 0

    def tells_more(value: fx.Node) -> bool:
        return not (means(value, Meaning.SIZE) or value.target is len)

    for value in made_of(node, tells_more):
        if value.op == 'placeholder':
            found = max(found, order.index(value.meta['kind']))
        elif not tells_more(value):
            found = max(found, 1)
    return order[found]


def may_lose_dimensions(node: fx.Node) -> bool:
    """Whether the number of dimensions of a value depends on sizes."""
    return any(is_call(value, 'squeeze') for value in made_of(node))


def _asks_if_none_are_left(node: fx.Node) -> bool:
    """Whether a layer of PyG asks if it can return early, as it has no edges."""
    if node.target is not operator.eq or node.args[1] != 0:
        return False
    frame = _foreign_frame()
    name = '' if frame is None else frame.f_globals.get('__name__', '')
    return is_call(node.args[0], 'numel') and name.startswith(
        'torch_geometric.nn.conv.'
    )


def _foreign_frame() -> FrameType | None:
    """Where somebody asks."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_foreign(frame):
        frame = frame.f_back
    return frame


def _is_asserted() -> bool:
    """Whether user code asks in order to raise an AssertionError, or not to."""
    frame = _foreign_frame()
    if frame is None:
        return False
    pending = [
        i for i in dis.get_instructions(frame.f_code) if i.offset >= frame.f_lasti
    ]
    skipped = ('CACHE', 'TO_BOOL', 'COMPARE_OP', 'NOT_TAKEN')
    jump, after = [i for i in pending if i.opname not in skipped][:2]
    raises = after.opname == 'LOAD_ASSERTION_ERROR' or after.argrepr == 'AssertionError'
    return 'IF_TRUE' in jump.opname and raises
