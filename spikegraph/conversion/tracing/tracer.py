from __future__ import annotations

import inspect
import os
import threading
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch_geometric.nn as pyg_nn
from torch import fx, nn
from torch.nn.parameter import UninitializedParameter
from torch.overrides import TorchFunctionMode
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.conv import MessagePassing

from spikegraph.calls.call import CallSpec, no_features, parameters_of, split_arguments
from spikegraph.calls.errors import ExampleError, UserError, ValueAsked
from spikegraph.calls.outputs import FORM, take_apart
from spikegraph.calls.swapping import Swaps
from spikegraph.calls.wrappers import MODULE_CALLS, full_precision, plain_copy
from spikegraph.conversion.operations.rules import is_leaf, rule_for
from spikegraph.conversion.tracing.examples import example_call
from spikegraph.conversion.tracing.message_passing import call_traced, can_trace
from spikegraph.conversion.tracing.numbers import NumberAsked, Numbers
from spikegraph.conversion.tracing.proxies import Traced, is_foreign
from spikegraph.conversion.tracing.questions import Questions
from spikegraph.conversion.tracing.recorder import Recorder
from spikegraph.conversion.tracing.refusals import refusal
from spikegraph.conversion.tracing.replacement import Layers, TraceOptions
from spikegraph.conversion.tracing.symbolic import traceable_functions, wrap_functions
from spikegraph.network.naming import module_of
from spikegraph.nn import SpikingTwin

# What other threads find, while PyTorch's tracer replaces these for all.
_MODULE = {name: vars(nn.Module)[name] for name in ('__call__', '__getattr__')}


class _Recording(TorchFunctionMode):
    """Shows a recorder all functions of PyTorch that are given symbolic values."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if not self.recorder.running and self.recorder.knows((args, kwargs)):
            return self.recorder.record(func, args, kwargs)
        return func(*args, **kwargs)


class _Tracer(Recorder):
    """Traces a copy of the model, its layers replaced by their twins as they are
    called.

    Args:
        layers (Layers): The modules of the model.
        questions (Questions): What the model asks.
        numbers (Numbers): The modules in which numbers stay symbolic.
        spec (CallSpec): Which arguments are inputs.
        call (Dict[str, Any]): The first calibration call.
    """

    def __init__(
        self,
        layers: Layers,
        questions: Questions,
        numbers: Numbers,
        spec: CallSpec,
        call: dict[str, Any],
    ) -> None:
        super().__init__(layers, questions, numbers, spec.static)
        self.spec = spec
        self.call = call
        self.whole: dict[nn.Module, str] = {}  # Layers that cannot be looked into.
        self.inside: list[nn.Module] = []  # Layers whose twins are being traced.
        self.swaps = Swaps()  # Entered by who traces.
        self._wrapped: set[int] = set()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_leaf(m) and (m in self.whole or not self._is_looked_into(m))

    def _is_looked_into(self, module: nn.Module) -> bool:
        return can_trace(module, self.layers.rule_at(module))

    def path_of_module(self, mod: nn.Module) -> str:
        return self.layers.paths[id(mod)]

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        """The arguments of the first call, what are inputs among them symbolic."""
        root = self.root
        given = {**self.spec.defaults, **self.spec.constants}
        given = {name: given[name] for name in self.spec.names if name in given}
        for name in self.spec.inputs:
            value = self.call.get(name, self.spec.defaults.get(name))
            given[name] = self.argument(name, (), value)

        def forward() -> Any:
            with Swaps() as swaps, _Recording(self):
                for name, ours in _MODULE.items():
                    swaps.put(
                        nn.Module, name, partial(_same, vars(nn.Module)[name]), ours
                    )
                first, rest = split_arguments(root, given)
                out, self.form = take_apart(root_fn(root, *first, **rest))
            return out

        forward.__annotations__.clear()  # Which the graph would take for its own.
        return forward, []

    def call_module(
        self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self.running or threading.get_ident() != self.thread:
            return forward(*args, **kwargs)  # An example, or another network.
        if any(type(p) is Traced for p in m._parameters.values()):
            return forward(*args, **kwargs)  # With weights that were lent to it.
        self.wrap_functions(m)
        with self.on_examples():
            given, m = m, self.layers.own(m)
        if m is not given:
            forward = partial(_MODULE['__call__'], m)
        try:
            with self.on_examples():  # Twins take parameters as they are.
                twin, rule = self.layers.twin_of(m)
        except UserError as error:
            raise UserError(error.kind, f'{error} ({self.where()})') from error
        if m in self.inside:  # Its twin calls the layer itself.
            twin = m
        if twin is not m:  # Arguments in the order of its twin.
            bound = inspect.signature(m.forward).bind(*args, **kwargs)
            bound.apply_defaults()
            args, kwargs = bound.args, bound.kwargs
        if isinstance(twin, SpikingTwin):
            return super().call_module(twin, twin.forward, args, kwargs)
        if self._is_looked_into(twin) and twin not in self.whole:
            last, failed = next(iter(reversed(self.graph.nodes))), len(self.failed)
            try:
                return super().call_module(
                    twin, partial(call_traced, twin), args, kwargs
                )
            except Exception as error:  # Whatever the layer does: keep it whole.
                allowed = (ValueAsked, ExampleError)
                if isinstance(error, UserError) and not isinstance(error, allowed):
                    raise
                self.whole[twin] = f'{type(error).__name__}: {error}'
                self._erase_behind(last)
                del self.failed[failed:]
        if twin is m:
            out = super().call_module(m, forward, args, kwargs)
        else:
            self.inside.append(m)
            out = super().call_module(twin, twin.forward, args, kwargs)
            self.inside.remove(m)
        if type(out) is Traced and self.is_leaf_module(twin, ''):
            out.node.meta['ann_type'] = type(m).__name__
            out.node.meta['rule'] = rule
            if twin in self.whole:
                out.node.meta['why_whole'] = self.whole[twin]
        return out

    def wrap_functions(self, module: nn.Module) -> None:
        """Lets what a module calls record PyG's graph functions as a whole."""
        names = getattr(module.forward, '__globals__', {})
        if id(names) not in self._wrapped:
            self._wrapped.add(id(names))
            wrap_functions(self.swaps, names)

    def check_features(self) -> None:
        """Raises ``ValueError`` if there are no numbers that could be features."""
        kinds = [v.example.get('is_float', True) for v in self.leaves]
        if not any(kinds) and self.leaves:
            raise no_features(self.specification())

    def check_failures(self) -> None:
        """Raises ``UserError`` if the model went on after an operation that failed."""
        if self.failed:
            what = f'{type(self.root).__name__}.forward'
            raise refusal('caught', what, error=self.failed[0])

    def specification(self) -> CallSpec:
        """Which values in the arguments are read, and what was asked."""
        self.close()
        return replace(
            self.spec,
            leaves=tuple(self.leaves),
            containers=tuple(self.containers),
            asked=tuple(self.asked),
            answers=tuple(self.questions.told),
        )

    def _erase_behind(self, last: fx.Node) -> None:
        erased = set()
        for node in reversed(list(self.graph.nodes)):
            if node is last:
                break
            erased.add(node)
            self.graph.erase_node(node)
        self.questions.forget(erased)


def trace(
    model: nn.Module,
    spec: CallSpec,
    options: TraceOptions | None = None,
    call: dict[str, Any] | None = None,
    numbers: Numbers | None = None,
) -> tuple[fx.GraphModule, CallSpec]:
    r"""Traces an evaluation-mode copy of a model, specialised to the arguments
    that are given, with its layers replaced by their spiking twins.

    Args:
        model (torch.nn.Module): The model; it is not changed.
        spec (CallSpec): Which arguments are inputs.
        options (TraceOptions, optional): What else matters.
        call (Dict[str, Any], optional): The first calibration call.
            (default: :obj:`None`, one like that which an earlier trace left in
            the specification)
        numbers (Numbers, optional): The modules in which numbers stay symbolic; those
            that turn out to want it are added. (default: :obj:`None`, as the
            specification says)

    Returns:
        Tuple[torch.fx.GraphModule, CallSpec]: The graph, free of in-place operations,
        and which values in the arguments it reads.

    Raises:
        NotImplementedError: If the control flow depends on data, or if a layer
            has an option without a spiking counterpart.
        ValueError: If the model has parameters without a value.
    """
    for name, parameter in model.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise ValueError(
                f"Expected '{name}' to be initialised (got a lazy parameter); run the "
                'model once, or train it, before converting'
            )
    numbers = Numbers(spec.symbolic_numbers) if numbers is None else numbers
    while True:
        try:
            return _trace(model, spec, options, call, numbers)
        except NumberAsked as asked:
            numbers.modules.append(asked.names)


def _trace(
    model: nn.Module,
    spec: CallSpec,
    options: TraceOptions | None,
    call: dict[str, Any] | None,
    numbers: Numbers,
) -> tuple[fx.GraphModule, CallSpec]:
    model = plain_copy(model)
    if isinstance(model, pyg_nn.Sequential):
        _give_explicit_forward(model)
    model = _named(model)
    layers = Layers(model, options or TraceOptions())
    questions = Questions(None if call is not None else spec.answers)
    if call is None:
        dtype = next((p.dtype for p in model.parameters()), torch.float32)
        call = example_call(spec.leaves, spec.containers, spec.asked, dtype)
    tracer = _Tracer(layers, questions, numbers, spec, call)
    try:
        with (
            MODULE_CALLS,
            traceable_functions() as tracer.swaps,
            full_precision(),
            torch.no_grad(),
        ):
            numbers.put_in_place(tracer.swaps)
            tracer.wrap_functions(model)
            try:
                graph = tracer.trace(model)
            finally:
                numbers.check_caught()
            tracer.check_failures()
    except ExampleError as error:
        tracer.check_features()
        raise error.kind(str(error)) from error.__cause__
    except UserError as error:
        raise error.kind(str(error)) from error.__cause__
    except Exception as error:  # Whatever user code does with symbolic values.
        text = str(error).strip().partition('\n')[0].replace('Traced', 'Tensor')
        what, text = f'{type(model).__name__}.forward', f'{type(error).__name__} {text}'
        found = refusal('failed', what, error=text, where=_place_of(error))
        raise found.kind(str(found)) from error
    finally:
        tracer.closed = True
    layers.install()
    questions.insert(graph)
    graph._tracer_cls = None  # Unpickling must not need this module's tracer.
    network = fx.GraphModule(model, graph, type(model).__name__)
    network.meta[FORM] = tracer.form
    _bind_arguments(network)
    for module in network.modules():
        if getattr(module, 'inplace', False):
            module.inplace = False  # type: ignore[assignment]
    graph.eliminate_dead_code()
    drop_unread_inputs(graph)
    network.recompile()
    return network, tracer.specification()


def _same(value: Any, _: Any) -> Any:
    return value


def _place_of(error: Exception) -> str:
    """The line of user code that an error comes from."""
    place, trace = '', error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_globals.get('__name__', '')
        if is_foreign(trace.tb_frame) and not name.startswith('torch_geometric.'):
            file = os.path.basename(trace.tb_frame.f_code.co_filename)
            place = f'{file}, line {trace.tb_lineno}'
        trace = trace.tb_next
    return place or "in code that is not the model's own"


def drop_unread_inputs(graph: fx.Graph) -> None:
    """Removes the inputs that no operation reads, such as a :obj:`batch` that came
    with the data.
    """
    for node in list(graph.nodes):
        if node.op == 'placeholder' and not node.users:
            graph.erase_node(node)


def _named(model: nn.Module) -> nn.Module:
    """A model that is a single layer gets a name for it, as does one with layers
    whose names a graph uses itself; one with variadic arguments is called without
    them.
    """
    layer = rule_for(model) is not None or isinstance(model, MessagePassing)
    layer |= any(hasattr(fx.GraphModule, name) for name, _ in model.named_children())
    parameters = parameters_of(model)
    if not layer and len(parameters) == len(
        inspect.signature(model.forward).parameters
    ):
        return model
    names = ', '.join(name for name in parameters)
    only = inspect.Parameter.POSITIONAL_ONLY
    calls = ', '.join(
        name if p.kind is only else f'{name}={name}' for name, p in parameters.items()
    )
    source = f'lambda self, {names}: self.layer({calls})'
    holder = type(type(model).__name__, (nn.Module,), {'forward': eval(source)})()
    holder.layer = model
    return holder


def _give_explicit_forward(model: pyg_nn.Sequential) -> None:
    """PyG keeps the forward of a Sequential on the instance, or a generic one
    on the class, where the tracer reads the forward of another instance.
    """
    names = ', '.join(model.signature.param_dict)
    source = f'lambda self, {names}: run_children(self, {names})'
    forward = eval(source, {'run_children': _run_children})
    model.__dict__.pop('forward', None)
    model.__class__ = type('Sequential', (type(model),), {'forward': forward})


def _run_children(model: pyg_nn.Sequential, *args: Any) -> Any:
    values = dict(zip(model.signature.param_dict, args, strict=True))
    out: Any = None
    for child in model._children:
        out = getattr(model, child.name)(*[values[name] for name in child.param_names])
        names = child.return_names
        values.update(zip(names, [out] if len(names) == 1 else out, strict=True))
    return out


def _bind_arguments(network: fx.GraphModule) -> None:
    """Puts the arguments of modules in order, however the caller wrote them."""
    for node in network.graph.nodes:
        if node.op == 'call_module':
            if isinstance(module_of(network, node), torch.jit.ScriptModule):
                continue  # It has no signature, and one way to be called.
            signature = inspect.signature(module_of(network, node).forward)
            bound = signature.bind(*node.args, **node.kwargs)
            node.args, node.kwargs = bound.args, bound.kwargs
            if isinstance(module_of(network, node), Aggregation):  # Takes five.
                behind = dict(
                    zip(list(bound.arguments)[5:], bound.args[5:], strict=False)
                )
                node.args, node.kwargs = bound.args[:5], {**behind, **bound.kwargs}
