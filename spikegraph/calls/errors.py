"""Errors on their way out of the tracer."""

from __future__ import annotations


class UserError(Exception):
    """An error of a single layer, on its way out of the tracer."""

    def __init__(self, kind: type[Exception], message: str) -> None:
        super().__init__(message)
        self.kind = kind


class ValueAsked(UserError):
    """Control flow that depends on the values of features."""


class ValueKept(UserError, NotImplementedError):
    """A symbolic value that a model has kept, perhaps until it is called as it is."""


class ExampleError(UserError):
    """An operation that fails on the calibration data."""
