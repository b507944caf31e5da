"""A flat list of bound calls for passes that are made again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules import module as hooks
from torch.utils import _pytree as pytree
from torch_geometric.data import Data

from spikegraph.kernels.tape import Tape, Untapeable
from spikegraph.network.graph import inputs_behind
from spikegraph.network.network import Network
from spikegraph.running.state import MISS, State, is_dense

_MOST_SEEN = 8  # Kinds of calls that are remembered until they come again.
_MOST_KEPT = 4  # Tapes.
_LAYOUTS = (torch.strided, torch.sparse_csr, torch.sparse_coo)
_SEEN = 'it has just been recorded'
_PLAIN = (int, float, str, bool, type(None))


class Plan:
    """How a network runs: the passes over the same graphs and shapes as before are
    *recorded*, and made again as a flat list of bound calls, in which graphs, tables,
    thresholds and weights are constants; all others run *node by node*.

    A recorded pass is made again only while everything that it took for constant is the
    same, bit by bit: graphs, parameters, attributes of modules. Hooks, other modules in
    the place of ours, and modes of PyTorch that watch operations are run node by node.

    Args:
        network (Network): What is run.
        currents (Iterable[str], optional): Inputs that enter as currents.
            (default: :obj:`()`)

    Attributes:
        reason (str): Why the last pass ran node by node, empty if it did not.
        num_calls (int): Of how many bound calls the last recorded pass consisted.
    """

    def __init__(self, network: Network, currents: Iterable[str] = ()) -> None:
        self.network = network
        encoding = (node for node in network.nodes if node.record.encodes)
        self.features = set(currents).union(*map(inputs_behind, encoding))
        self.reason = 'nothing has run yet'
        self.num_calls = 0
        self._seen: dict[Any, None] = {}
        self._tapes: dict[Any, _Recorded] = {}
        self._refused: dict[Any, str] = {}
        self._state: State | None = None
        self._waits = 0  # Calls that are not looked at, if none comes again.
        self._lock = threading.Lock()

    @property
    def way(self) -> str:
        """How the last pass ran: :obj:`"recorded"` or :obj:`"node by node"`."""
        return 'node by node' if self.reason else 'recorded'

    def __str__(self) -> str:
        if self.reason:
            return f'node by node ({self.reason})'
        return f'recorded, {self.num_calls} calls'

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self})'

    def replay(self, call: Call) -> Any:
        """What a recorded pass returns for a call; :obj:`MISS` if there is none."""
        kind, given = call.kind, call.given
        tape = self._tapes.get(kind)
        if tape is None or _is_watched():
            return MISS
        if not tape.state.is_same() or not tape.places.are_same():
            self._tapes.pop(kind, None)
            return MISS
        fixed = [part for name in tape.fixed for part in _parts(given[name])]
        call.digest = tape.state.digest(fixed)
        if call.digest != tape.digest:
            return MISS
        if not self._lock.acquire(blocking=False):
            return MISS
        grad = torch.is_grad_enabled()
        try:
            torch._C._set_grad_enabled(False)  # The context manager is ten calls more.
            for name, value in tape.features.items():
                total = float(given[name].sum())
                if total - total != 0:  # Not finite, or too large: who checks it says.
                    return MISS
                value.copy_(given[name])
            for to, function, arguments in tape.calls:
                made = function(*arguments)
                if to is not None:
                    if made.shape != to.shape:
                        raise Untapeable('a result has another shape')
                    to.copy_(made)
            self.reason, self.num_calls = '', len(tape.calls)
            return tape.output()
        except (Untapeable, RuntimeError, ValueError, IndexError):
            self._tapes.pop(kind, None)  # It is run as ever, and may raise then.
            return MISS
        finally:
            torch._C._set_grad_enabled(grad)
            self._lock.release()

    def run(
        self,
        call: Call,
        inputs: Mapping[str, Any],
        passes: Callable[[Mapping[str, Any]], Any],
    ) -> Any:
        """What a pass returns that is run node by node, and perhaps recorded.

        Args:
            call (Call): How the network was called.
            inputs (Dict[str, Any]): The inputs of the network by name.
            passes (Callable): Runs a pass.
        """
        self.reason = self._reason(call, inputs)
        if self.reason != _SEEN:
            return passes(inputs)
        if not self._lock.acquire(blocking=False):
            self.reason = 'another thread records it'
            return passes(inputs)
        try:
            return self._record(call, inputs, passes)
        finally:
            self._lock.release()

    def _reason(self, call: Call, inputs: Mapping[str, Any]) -> str:
        """Why a call is run node by node."""
        if not call.is_plain or not _are_arguments(inputs, call.given):
            return 'its inputs are more than tensors, CSR, COO and numbers'
        if _is_watched() or torch.compiler.is_compiling():
            return 'operations are watched'
        if self._waits > 0:
            self._waits -= 1
            return 'no graph came again lately'
        state = self._state
        if state is None or not state.is_same():
            self._tapes.clear()
            self._refused.clear()
            call.digest = None
            state = self._state = State.of(self.network)
            if state is None:
                return 'it calls code of yours, or no kernel digests what it holds'
            if not state.is_same():
                return 'modules have hooks, or forward methods of their own'
        if call.kind in self._refused:
            return self._refused[call.kind]
        tensors = [v for v in inputs.values() if isinstance(v, Tensor)]
        if not all(is_dense(part) for value in tensors for part in _parts(value)):
            return 'inputs have gaps'
        if call.digest is None:
            fixed = self._fixed(inputs)
            call.digest = state.digest([v for n in fixed for v in _parts(inputs[n])])
        key = call.kind, call.digest
        if key in self._seen:
            return _SEEN
        self._seen[key] = None
        if len(self._seen) > _MOST_SEEN:
            self._seen.clear()
            self._waits = _MOST_SEEN
        return 'this graph, or shape, is seen for the first time'

    def _fixed(self, inputs: Mapping[str, Any]) -> list[str]:
        """The tensors that a recorded pass takes for constant: no features, or sparse
        ones, into which no others can be written.
        """
        return [
            name
            for name, value in inputs.items()
            if isinstance(value, Tensor)
            and (name not in self.features or value.layout != torch.strided)
        ]

    def _record(
        self,
        call: Call,
        inputs: Mapping[str, Any],
        passes: Callable[[Mapping[str, Any]], Any],
    ) -> Any:
        assert self._state is not None and call.digest is not None
        fixed = self._fixed(inputs)
        tensors = {n: v for n, v in inputs.items() if isinstance(v, Tensor)}
        own = {n: v.detach().clone() for n, v in tensors.items() if n not in fixed}
        tape, out = _taped(passes, inputs, own)
        places = tape.places()
        read = [n for n in fixed if any(map(places.meet, _parts(inputs[n])))]
        if read and not tape.failed:  # Whose owner may write to it, or give it away.
            copies = {n: inputs[n].detach().clone() for n in read}
            tape, out = _taped(passes, {**inputs, **copies}, own)
        leaves, spec = pytree.tree_flatten(out)
        if not all(isinstance(leaf, (Tensor, *_PLAIN)) for leaf in leaves):
            tape.failed = tape.failed or 'it returns more than tensors and numbers'
        self.reason = tape.failed or _SEEN
        if tape.failed:
            if len(self._refused) >= _MOST_SEEN:
                self._refused.clear()
            self._refused[call.kind] = tape.failed
            return out
        found = _Recorded(tape, own, fixed, leaves, spec, self._state, call.digest)
        self._tapes[call.kind] = found
        while len(self._tapes) > _MOST_KEPT:
            self._tapes.pop(next(iter(self._tapes)))
        self._seen.clear()
        return found.output()


def _taped(
    passes: Callable[[Mapping[str, Any]], Any],
    inputs: Mapping[str, Any],
    features: dict[str, Tensor],
) -> tuple[Tape, Any]:
    tape = Tape(list(features.values()))
    with tape:
        return tape, passes({**inputs, **features})


class _Recorded:
    """One pass that can be made again."""

    def __init__(
        self,
        tape: Tape,
        features: dict[str, Tensor],
        fixed: list[str],
        leaves: list[Any],
        spec: Any,
        state: State,
        digest: int,
    ) -> None:
        self.state, self.digest = state, digest
        self.calls, self.features, self.fixed = tape.calls, features, fixed
        self.places = tape.places()
        self._held, self._leaves, self._spec = tape, leaves, spec

    def output(self) -> Any:
        """A copy of what the pass has returned."""
        if len(self._leaves) == 1 and self._spec.is_leaf():
            return self._leaves[0].clone()
        leaves = [v.clone() if isinstance(v, Tensor) else v for v in self._leaves]
        return pytree.tree_unflatten(leaves, self._spec)


class Call:
    """How a network is called, read once for all that asks what a recorded pass fits.

    Args:
        names (Tuple[str, ...]): The parameters of ``forward``.
        args (Tuple[Any, ...]): Positional arguments.
        kwargs (Dict[str, Any]): Keyword arguments.
        bind (Callable): Finds the inputs of the network in PyG data, dictionaries, lists
            and tuples, and refuses others than those of the calibration data.

    Attributes:
        given (Dict[str, Any]): The arguments by name, or the attributes of data, or what
            was found in them.
        inputs (Dict[str, Any], optional): The inputs, where they were looked for.
        is_plain (bool): Whether these are all tensors and numbers.
        kind (Any): What calls have in common that one recorded pass fits.
        digest (int, optional): What tells graphs and parameters from others.
    """

    __slots__ = ('digest', 'given', 'inputs', 'is_plain', 'kind')

    def __init__(
        self,
        names: tuple[str, ...],
        args: Any,
        kwargs: Any,
        bind: Callable[..., dict[str, Any]],
    ) -> None:
        given = _given(names, args, kwargs)
        self.inputs = None if given else bind(*args, **kwargs)
        self.given = given or self.inputs or {}
        self.is_plain = self.inputs is None or _are_plain(self.given)
        self.kind = self._kind() if self.is_plain else None
        self.digest: int | None = None

    def _kind(self) -> Any:
        threads, is_bound = torch.get_num_threads(), self.inputs is None
        found: list[Any] = [torch.is_inference_mode_enabled(), threads, is_bound]
        for name, value in self.given.items():
            if type(value) is Tensor:
                parts = _parts(value)
                order = [
                    (v.dtype, v.shape, v.stride(), v.storage_offset()) for v in parts
                ]
                place = value.device.type, value.layout, value.is_neg()
                found.append((name, value.shape, *place, *order))
            else:
                found.append((name, type(value), value))
        return tuple(found)


def _given(names: tuple[str, ...], args: Any, kwargs: Any) -> dict[str, Any] | None:
    """The arguments of a call by name, or the attributes of data; None if they hold more
    than tensors and numbers.
    """
    if len(args) == 1 and not kwargs and type(args[0]) is Data:
        held = args[0].__dict__['_store'].__dict__['_mapping']
        given = {name: held[name] for name in names if name in held}
        if 'adj_t' in held:
            return None
    else:
        given = dict(zip(names, args, strict=False))
        given.update(kwargs)
        if len(given) != len(args) + len(kwargs) or not given.keys() <= set(names):
            return None  # Too many, twice, or unknown.
    return given if _are_plain(given) else None


def _are_plain(given: dict[str, Any]) -> bool:
    for value in given.values():
        is_tensor = type(value) is Tensor and value.layout in _LAYOUTS
        if not is_tensor and type(value) not in _PLAIN:
            return False
    return True


def _parts(value: Tensor) -> tuple[Tensor, ...]:
    """The tensors that hold a value: of a sparse one its indices, too."""
    if value.layout is torch.strided:
        return (value,)
    if value.layout is torch.sparse_csr:
        return value.crow_indices(), value.col_indices(), value.values()
    return *value._indices(), value._values()


def _are_arguments(inputs: Mapping[str, Any], given: dict[str, Any]) -> bool:
    """Whether every input of the network is an argument of its own."""
    for name, value in inputs.items():
        argument = given.get(name, MISS)
        is_number = type(value) in _PLAIN and argument == value
        is_tensor = isinstance(value, Tensor) and isinstance(argument, Tensor)
        if not is_number and not (is_tensor and value.shape == argument.shape):
            return False
    return True


def _is_watched() -> bool:
    """Whether somebody looks at modules or operations while they run."""
    modules = hooks._global_forward_hooks or hooks._global_forward_pre_hooks
    modes = torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack()
    return bool(modules or modes)
