"""What memory holds."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from spikegraph.kernels.cpu.compiled import contents
from spikegraph.kernels.places import check_fits
from spikegraph.kernels.threads import MIN_SIZE, share

_WORD = 8  # Bytes that are read at once.


def digest(x: Tensor, num_words: int) -> int:
    """See :func:`spikegraph.kernels.contents.digest`."""
    check_fits(x)
    address = x.data_ptr()
    if num_words < MIN_SIZE:
        return contents.digest(address, 0, num_words)
    work = partial(contents.digest, address)
    return sum(share(work, num_words, num_words, _WORD)) % (1 << 64)


def is_finite(x: Tensor) -> bool:
    """See :func:`spikegraph.kernels.contents.are_finite`."""
    masks = contents.MASKS.get(str(x.dtype))
    if masks is None:
        return NotImplemented
    check_fits(x)
    num_bytes = x.numel() * x.element_size()
    num_words, num_left = num_bytes // _WORD, num_bytes % _WORD // x.element_size()
    work = partial(contents.is_finite, x.data_ptr(), *masks)
    if num_words > 0 and not all(share(work, num_words, num_words, _WORD)):
        return False
    last = x.as_strided((num_left,), (1,), x.storage_offset() + x.numel() - num_left)
    return num_left == 0 or bool(last.isfinite().all())
