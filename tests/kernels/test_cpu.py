import importlib
import math
import multiprocessing
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from spikegraph.coding import PhaseCode, decode, encode
from spikegraph.kernels import (
    decode_spikes,
    dispatch,
    encode_spikes,
    first_spike,
    info,
    look_up,
    reference,
)

CODES = [
    PhaseCode(num_steps, base, signed=signed)
    for num_steps, base in [(1, 2.0), (15, 1.5), (16, 1.4), (31, 1.3), (126, 1.05)]
    for signed in (False, True)
]
SHAPES = [(0,), (), (1,), (15,), (17,), (1000,), (33, 17), (5, 0, 3), (2, 1, 3, 70)]
INFO = info()


def values(shape, code, scale=1.0, dtype=torch.float32):
    """Values of either sign, among them ties, infinities and not-a-number."""
    x = 2 * torch.randn(shape, dtype=dtype)
    thresholds = code.thresholds.to(dtype)
    tie = torch.randint(code.num_steps, x.shape)
    scale = torch.as_tensor(scale, dtype=dtype)
    kind = torch.rand(x.shape)
    x = torch.where(kind < 0.3, x.sign() * (scale * thresholds[tie]), x)
    for i, special in enumerate((0.0, -0.0, math.inf, -math.inf, math.nan)):
        x[(kind > 0.95 + 0.01 * i) & (kind <= 0.96 + 0.01 * i)] = special
    return x


def assert_equals_coding(x, code, scale=1.0):
    spike_time = encode(x, code, scale)
    fired = encode_spikes(x, code, scale)
    assert fired.dtype == torch.uint8 and torch.equal(fired, spike_time)
    found, expected = decode_spikes(fired, code, scale), decode(spike_time, code, scale)
    assert found.dtype == expected.dtype and torch.equal(found, expected)
    return fired, found


def test_numba_is_used():
    assert INFO['path'] == 'numba' and INFO['num_threads'] >= 1


@pytest.mark.parametrize('code', CODES, ids=str)
@pytest.mark.parametrize('shape', [(0,), (1,), (17,), (5, 9)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_equals_reference(code, shape, dtype):
    scale = torch.rand(shape[-1:], dtype=dtype) + 0.5
    x = values(shape, code, scale, dtype)
    fired, found = assert_equals_coding(x, code, scale)
    assert torch.equal(fired, reference.encode(x, code, scale))
    assert torch.equal(found, reference.decode(fired, code, scale, dtype))


@pytest.mark.parametrize('code', CODES, ids=str)
@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_single_scale(code, shape, dtype):
    for scale in (1.0, 0.3, torch.tensor([0.7], dtype=dtype)):
        assert_equals_coding(values(shape, code, scale, dtype), code, scale)


@pytest.mark.parametrize('code', CODES, ids=str)
@pytest.mark.parametrize('shape', [(40, 3), (3, 5000), (2, 5, 9, 8), (40, 3, 2, 3)])
def test_scale_along_every_dim(code, shape):
    for dim, size in enumerate(shape):
        scale = torch.rand(size, *[1] * (len(shape) - dim - 1)) + 0.5
        if dim == 0:
            scale = scale.view(size, *[1] * (len(shape) - 1))
        assert_equals_coding(values(shape, code, scale), code, scale)
        thresholds = code.thresholds.float().view(-1, *[1] * scale.dim()) * scale
        x = values(shape, code, scale)
        expected = encode(x, code, scale)
        assert torch.equal(first_spike(x, thresholds, code.signed), expected)


@pytest.mark.parametrize('channels', [1, 3, 16, 255, 300, 1433])
def test_features_last(channels):
    code = PhaseCode(15, 1.5, signed=True)
    scale = torch.rand(channels) + 0.5
    assert_equals_coding(values((67, channels), code, scale), code, scale)
    thresholds = code.thresholds.float().view(-1, 1) * scale
    x = values((67, channels), code, scale)
    assert torch.equal(first_spike(x, thresholds, signed=True), encode(x, code, scale))


@pytest.mark.parametrize('channels', [1, 16, 255, 300])
@pytest.mark.parametrize('num_steps', [1, 8, 31])
@pytest.mark.parametrize('signed', [False, True])
@pytest.mark.parametrize('is_column', [False, True])
def test_thresholds_of_columns_that_are_moved(channels, num_steps, signed, is_column):
    x = torch.randn(67, channels)
    thresholds = torch.rand(num_steps, channels).sort(0, descending=True).values
    thresholds[:, :1] = torch.inf  # Never reached.
    factor = torch.rand(67, 1 if is_column else channels) + 0.1
    moved = thresholds[:, None] * factor
    size = x.abs() if signed else x
    expected = num_steps - (size >= moved).sum(0)
    is_off = (x < 0) & (expected < num_steps) & signed
    expected = torch.where(is_off, expected + num_steps + 1, expected)
    found = first_spike(x, thresholds, signed, factor)
    assert torch.equal(found, expected.to(torch.uint8))


@pytest.mark.parametrize('width', [1, 8, 47, 48, 100, 127, 128])
@pytest.mark.parametrize('signed', [False, True])
def test_scale_per_node(width, signed):
    code, scale = PhaseCode(15, 1.5, signed=signed), torch.rand(67, 1) + 0.5
    x = values((67, width), code, scale)
    fired, found = assert_equals_coding(x, code, scale)
    assert torch.equal(fired, reference.encode(x, code, scale))
    assert torch.equal(found, reference.decode(fired, code, scale, x.dtype))


def test_more_than_one_dim():
    code, x = PhaseCode(7, 1.5), torch.randn(4, 5, 6)
    assert_equals_coding(x, code, torch.rand(5, 6) + 0.5)
    spike_time = encode(x[0, 0], code)
    scale = torch.rand(3, 1) + 0.5  # Decoding broadcasts.
    expected = decode(spike_time, code, scale)
    assert torch.equal(decode_spikes(spike_time, code, scale), expected)


@pytest.mark.parametrize('height', [1, 3, 9])
def test_layouts(height):
    code = PhaseCode(16, 1.5)
    scale = torch.rand(7, 1, 1) + 0.5
    x = values((33, 7, height, 9), code, scale)
    for y in (
        x.contiguous(memory_format=torch.channels_last),
        x.permute(1, 0, 3, 2).contiguous().permute(1, 0, 3, 2),
    ):
        spike_time, found = assert_equals_coding(y, code, scale)
        assert spike_time.stride() == found.stride() == y.stride()
    wide = values((33, 9, 7), code)
    for y in (wide[:, ::2], wide[:, 1:4, 2:], wide[:1].expand(33, 9, 7), wide[3, :, 2]):
        assert_equals_coding(y, code, 0.8)
        spike_time = encode(wide, code)[:, ::2]
        assert torch.equal(decode_spikes(spike_time, code), decode(spike_time, code))


@pytest.mark.parametrize('shape', [(1000, 3), (3, 70, 64), (2, 20000), (9999,)])
def test_threads_do_not_matter(num_threads, shape):
    code = PhaseCode(15, 1.5, signed=True)
    scales = [torch.tensor(0.7), torch.rand(shape[-1]) + 0.5]
    scales += [torch.rand(shape[0], *[1] * (len(shape) - 1)) + 0.5]
    x, found = values(shape, code), {}
    for count in (1, 2, 4):
        num_threads(count)
        found[count] = [assert_equals_coding(x, code, scale) for scale in scales]
    for a, b, c in zip(*found.values(), strict=True):
        assert torch.equal(a[0], b[0]) and torch.equal(a[0], c[0])
        assert torch.equal(a[1], b[1]) and torch.equal(a[1], c[1])


def test_calls_from_several_threads(num_threads):
    num_threads(3)
    code = PhaseCode(16, 1.5)
    inputs = [torch.randn(300, 50) for _ in range(24)]
    scale = torch.rand(50) + 0.5
    with ThreadPoolExecutor(4) as pool:
        for x, spike_time in zip(
            inputs,
            pool.map(lambda x: encode_spikes(x, code, scale), inputs),
            strict=True,
        ):
            assert torch.equal(spike_time, encode(x, code, scale))


def _fire_in_child(queue):
    x = torch.linspace(-1, 3, 5000)
    queue.put(encode_spikes(x, PhaseCode(8, 1.5)).tolist())


@pytest.mark.skipif(sys.platform != 'linux', reason='needs fork')
@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')
def test_forked_child_has_threads_of_its_own(num_threads):
    num_threads(2)
    x = torch.linspace(-1, 3, 5000)
    expected = encode_spikes(x, PhaseCode(8, 1.5))
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    child = context.Process(target=_fire_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == expected.tolist()
    child.join()


@pytest.mark.parametrize('signed', [False, True])
def test_bytes_out_of_range(num_threads, signed):
    num_threads(2)
    code = PhaseCode(5, 2.0, signed=signed)
    largest = len(code.table()) - 1
    spike_time = torch.full((1000, 3), largest, dtype=torch.uint8)
    decode_spikes(spike_time, code)
    spike_time[-1, -1] = largest + 1
    for scale in (1.0, torch.ones(3), torch.ones(1000, 1)):
        with pytest.raises(ValueError, match=rf'{largest} for .*\(got {largest + 1}\)'):
            decode_spikes(spike_time, code, scale)
        with pytest.raises(ValueError, match=rf'{largest}, .*\(got {largest + 1}\)'):
            look_up(spike_time, code.table(), scale)


def test_look_up_equals_reference():
    code = PhaseCode(9, 1.5, signed=True)
    spike_time = torch.randint(19, (40, 70), dtype=torch.uint8)
    for scale in (0.5, torch.rand(70).double() + 0.5, torch.rand(40, 1).double()):
        expected = reference.decode(spike_time, code, scale)
        assert torch.equal(look_up(spike_time, code.table(), scale), expected)


def test_thresholds_that_are_never_reached():
    nan = math.nan
    x = torch.tensor([-math.inf, -1.0, 0.0, 2.0, math.inf, nan])
    for thresholds in ([nan, 1.0, -1.0], [math.inf, 2.0, -math.inf], [nan, nan]):
        thresholds = torch.tensor(thresholds)
        expected = len(thresholds) - (x >= thresholds.view(-1, 1)).sum(dim=0)
        for like in (x, x.half()):  # The kernels, and PyTorch.
            assert torch.equal(first_spike(like, thresholds), expected.to(torch.uint8))
            columns = thresholds.view(-1, 1).expand(-1, 6)
            assert torch.equal(first_spike(like, columns), expected.to(torch.uint8))


def test_what_the_kernels_leave_to_pytorch():
    code = PhaseCode(8, 1.5, signed=True)
    assert_equals_coding(values((40, 3), code).half(), code, torch.rand(3).half() + 0.5)
    assert_equals_coding(values((40, 3), code).bfloat16(), code, 0.5)
    scale = nn.Parameter(torch.rand(3) + 0.5)
    spike_time = encode_spikes(nn.Parameter(torch.randn(4, 3)), code, scale)
    decode_spikes(spike_time, code, scale).sum().backward()
    assert torch.equal(scale.grad, decode(spike_time, code).sum(dim=0))
    complex_values = (
        torch.randn(9, dtype=torch.complex64).conj().imag
    )  # Lazily negated.
    assert_equals_coding(complex_values, code)


@pytest.mark.parametrize(
    'call, match',
    [
        (
            lambda c: encode_spikes(torch.arange(3), c),
            r'floating point \(got torch.int64\)',
        ),
        (lambda c: encode_spikes(torch.rand(3), c, -1.0), r'finite \(got -1\)'),
        (lambda c: encode_spikes(torch.rand(3), c, torch.ones(2)), r'\(got \(2,\)\)'),
        (lambda c: decode_spikes(torch.arange(3), c), r'uint8 \(got torch.int64\)'),
        (
            lambda c: first_spike(torch.rand(3), torch.rand(127)),
            r'126 steps \(got shape \[127\]',
        ),
        (
            lambda c: first_spike(torch.rand(3), torch.rand(())),
            r'steps \(got shape \[\]\)',
        ),
        (lambda c: look_up(torch.arange(3), c.table()), r'uint8 \(got torch.int64\)'),
        (
            lambda c: look_up(torch.zeros(3, dtype=torch.uint8), torch.rand(2, 3)),
            r'256 levels \(got shape \[2, 3\]\)',
        ),
    ],
)
def test_errors(call, match):
    with pytest.raises(ValueError, match=match):
        call(PhaseCode(4, 2.0))


def test_without_compilation(monkeypatch):
    """As with NUMBA_DISABLE_JIT=1, for debuggers and measures of coverage."""
    numba = pytest.importorskip('numba')
    monkeypatch.setattr(numba.config, 'DISABLE_JIT', 1)
    name = 'spikegraph.kernels.cpu.operations'
    monkeypatch.delitem(sys.modules, name, raising=False)
    dispatch.backends.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match=r'\(NUMBA_DISABLE_JIT is set\)'):
            assert info()['path'] == 'torch'
    finally:
        dispatch.backends.cache_clear()


def test_without_numba(without_numba):
    code = PhaseCode(16, 1.5, signed=True)
    scale = torch.rand(7) + 0.5
    x = values((40, 7), code, scale)
    with pytest.warns(RuntimeWarning, match='Numba cannot be used') as found:
        spike_time = encode_spikes(x, code, scale)
    assert len(found) == 1 and found[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert torch.equal(spike_time, encode(x, code, scale))
        assert_equals_coding(x, code, scale)
        thresholds = code.thresholds.float()
        assert torch.equal(first_spike(x, thresholds, signed=True), encode(x, code))
        assert torch.equal(
            look_up(spike_time, code.table().float(), scale),
            decode(spike_time, code, scale),
        )
        assert info()['path'] == 'torch'


def test_cache_folder_that_cannot_be_written(monkeypatch):
    numba, cpu = (
        importlib.import_module(n)
        for n in ('numba', 'spikegraph.kernels.cpu.compiled.compilation')
    )
    njit = numba.njit

    def refuse(cache=False, **options):
        if cache:
            raise RuntimeError('cannot cache function: no locator available')
        return njit(**options)

    monkeypatch.setattr(numba, 'njit', refuse)
    assert cpu.compiled(lambda x: x + 1)(2) == 3
