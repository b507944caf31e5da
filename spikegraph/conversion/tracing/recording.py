"""What PyTorch is told while a model is traced."""

from __future__ import annotations

from typing import Any

from torch.overrides import TorchFunctionMode

from spikegraph.conversion.tracing.recorder import Recorder


class Recording(TorchFunctionMode):
    """Shows a recorder all functions of PyTorch that are given symbolic values."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        recorder = self.recorder
        if not recorder.running and recorder.knows((args, kwargs)):
            return recorder.record(func, args, kwargs)
        return func(*args, **kwargs)
