"""Replaces the layers of a model by their spiking twins, before it is traced."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from spikegraph.conversion.activations import check_hooks
from spikegraph.conversion.rules import Rule, rule_for
from spikegraph.nn import SpikingAffine, SpikingLayer

Originals = dict[int, tuple[nn.Module, Rule | None]]


class Unconvertible(nn.Module):
    """Stands for a layer that has no twin, in case it is called."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def convert_layers(model: nn.Module, options: TraceOptions) -> Originals:
    """Replaces layers in place, outer ones first; returns what each replaced."""
    originals: Originals = {}
    done: dict[int, nn.Module] = {}

    def visit(parent: nn.Module, prefix: str, around: tuple[nn.Module, ...]) -> None:
        for name, child in list(parent._modules.items()):  # A layer may be there twice.
            if child is None or child in around:
                continue  # What replaces it holds it.
            path = f'{prefix}{name}'
            rule = _rule_at(child, path, options)
            outer = around
            if rule is not None and rule.convert is not None:
                outer = (*around, child)
                if id(child) not in done:
                    done[id(child)], rule = _convert(child, path, rule, options)
                    originals[id(done[id(child)])] = (child, rule)
                child = done[id(child)]
                setattr(parent, name, child)
                if isinstance(child, SpikingLayer) or child in outer:
                    continue  # Whole, whatever it holds.
            visit(child, f'{path}.', outer)

    visit(model, '', ())
    return originals


def _rule_at(module: nn.Module, path: str, options: TraceOptions) -> Rule | None:
    rule = rule_for(module)
    if rule is not None and rule.kind == 'attention':
        return rule if options.allow_analog else None
    if rule is None and path in options.affine:
        return Rule('affine', SpikingAffine)
    return rule


def _convert(
    module: nn.Module, path: str, rule: Rule, options: TraceOptions
) -> tuple[nn.Module, Rule]:
    """The twin; or the module itself, to stay analog, if it has an option
    without a twin.
    """
    what = f"'{path}' ({type(module).__name__})"
    assert rule.convert is not None
    try:
        check_hooks(path, module)
    except ValueError as error:
        return Unconvertible(UserError(ValueError, str(error))), rule
    try:
        converted = rule.convert(module)
    except NotImplementedError as error:
        if options.allow_analog:
            return module, Rule('refused', reason=str(error))
        kind = type(module).__name__
        remedy = f"Add a rule with '@register_rule({kind})' or pass 'allow_analog=True'"
        message = f'Cannot convert {what}: {error}. {remedy}'
        return Unconvertible(UserError(type(error), message)), rule
    except ValueError as error:
        message = f'Cannot convert {what}: {error}'
        return Unconvertible(UserError(type(error), message)), rule
    if not isinstance(converted, nn.Module):
        raise ValueError(
            f'Expected the rule for {what} to return a module '
            f'(got {type(converted).__name__})'
        )
    return converted.eval(), rule


class UserError(Exception):
    """An error of a single layer, on its way out of the tracer."""

    def __init__(self, kind: type[Exception], message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class TraceOptions:
    """What tracing depends on besides model and call.

    Args:
        allow_analog (bool): Whether attention may be taken apart into analog
            coefficients and spiking values.
        affine (FrozenSet[str]): Layers without a rule that were found to be
            affine, by :func:`find_affine`.
    """

    allow_analog: bool = False
    affine: frozenset[str] = frozenset()
