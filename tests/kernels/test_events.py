import itertools
import math
import warnings

import pytest
import torch
import torch.nn.functional as F

from spikegraph.coding import PhaseCode, Spikes, encode
from spikegraph.kernels import (
    encode_transform,
    info,
    reference,
    row_peaks,
    transform_spikes,
)

CODES = [PhaseCode(1, 2.0), PhaseCode(15, 1.5), PhaseCode(126, 1.05, signed=True)]
CODES += [PhaseCode(9, 1.5, signed=True)]
INPUTS, OUTPUTS = [1, 63, 64, 65, 1433], [1, 16, 17, 256]
DENSITIES = [0.0, 0.02, 0.5, 1.0]
ROWS = 4


def rows_of(num_inputs):
    return ROWS if num_inputs < 1000 else 1  # The loops are slow.


def parameters_of(num_inputs, num_outputs, dtype=torch.float32):
    weight = torch.randn(num_outputs, num_inputs, dtype=dtype)
    return weight, torch.randn(num_outputs, dtype=dtype)


def spikes_of(code, num_inputs, density, scale, num_rows=ROWS):
    shape = (num_rows, num_inputs)
    spike_time = torch.randint(len(code.table()), shape, dtype=torch.uint8)
    spike_time[torch.rand(shape) >= density] = code.num_steps
    return Spikes(spike_time, code, scale)


def values_of(num_inputs, density, dtype=torch.float32, num_rows=ROWS):
    """Values of either sign, among them infinities and not-a-number."""
    shape = (num_rows, num_inputs)
    x = 3 * torch.randn(shape, dtype=dtype)
    x[torch.rand(shape) >= density] = 0.0
    kind = torch.rand(shape)
    for i, special in enumerate((-0.0, math.nan, math.inf, -math.inf)):
        x[(kind > 0.01 * i) & (kind <= 0.01 * (i + 1)) & (x != 0)] = special
    return x


def expected_transform(spikes, weight, bias):
    given = spikes.spike_time, spikes.code, spikes.scale
    return reference.transform(*given, weight, bias)


def expected_encode_transform(x, code, scale, weight, bias, is_relative=False):
    rows = []
    for row in x:
        s = torch.as_tensor(scale, dtype=x.dtype)
        if is_relative:
            sizes = [abs(v) for v in row.tolist() if not math.isnan(v)]
            s = s * (max(sizes, default=0.0) or 1.0)
        spikes = Spikes(encode(row.view(1, -1), code, s), code, s)
        rows.append(expected_transform(spikes, weight, bias))
    return torch.cat(rows)


@pytest.mark.parametrize('num_inputs', INPUTS)
@pytest.mark.parametrize('num_outputs', OUTPUTS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_transform_equals_reference(num_inputs, num_outputs, dtype):
    weight, bias = parameters_of(num_inputs, num_outputs, dtype)
    one, many = torch.tensor(0.7), torch.rand(num_inputs) + 0.5
    for i, (code, density) in enumerate(itertools.product(CODES, DENSITIES)):
        scale, b = (one, many)[i % 2].to(dtype), (None, bias, bias)[i % 3]
        num_rows = rows_of(num_inputs)
        spikes = spikes_of(code, num_inputs, density, scale, num_rows)
        found = transform_spikes(spikes, weight, b)
        assert found.dtype == dtype and found.shape == (num_rows, num_outputs)
        assert torch.equal(found, expected_transform(spikes, weight, b))


@pytest.mark.parametrize('num_inputs', INPUTS)
@pytest.mark.parametrize('num_outputs', OUTPUTS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_encode_transform_equals_reference(num_inputs, num_outputs, dtype):
    weight, bias = parameters_of(num_inputs, num_outputs, dtype)
    scale = torch.tensor(0.7, dtype=dtype)
    for i, (code, density) in enumerate(itertools.product(CODES, DENSITIES)):
        x = values_of(num_inputs, density, dtype, rows_of(num_inputs))
        b = (None, bias, bias)[i % 3]
        arguments = (x, code, scale, weight, b)
        found = encode_transform(*arguments)
        assert found.dtype == dtype and bool(found.isfinite().all())
        assert torch.equal(found, expected_encode_transform(*arguments))
        finite = (x.nan_to_num(math.nan, 2.0, -3.0), *arguments[1:], True)
        found = encode_transform(*finite)
        assert torch.equal(found, expected_encode_transform(*finite))


@pytest.mark.parametrize('signed', [False, True])
def test_ties_fire(signed):
    code = PhaseCode(8, 2.0, signed=signed)
    thresholds = code.thresholds.float()
    x = torch.cat([thresholds, -thresholds, thresholds.nextafter(torch.zeros(8))])
    x = torch.cat([x.repeat(9), torch.zeros(1000)]).view(1, -1)  # Few, and many.
    for row in (x, x[:, :216]):
        for scale in (1.0, 0.5):
            found = encode_transform(
                row, code, torch.tensor(scale), torch.eye(row.size(1))
            )
            spike_time = reference.encode(row, code, scale)
            expected = reference.decode(spike_time, code, scale, torch.float32)
            assert torch.equal(found, expected)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('width', INPUTS)
def test_row_peaks(dtype, width):
    for density in DENSITIES:
        x = values_of(width, density, dtype, 9)
        x[1], x[2], x[3, 0] = math.nan, 0.0, -20.0
        expected = [
            max(v for v in [0, *row] if v == v) or 1.0 for row in x.abs().tolist()
        ]
        found = row_peaks(x)
        assert found.dtype == dtype and found.shape == (9, 1)
        assert found.view(-1).tolist() == expected
        assert torch.equal(row_peaks(x.half()), row_peaks(x.half().float()).half())
        assert torch.equal(row_peaks(x.t().contiguous().t()), found)


def test_gaps_in_memory():
    code = CODES[1]
    weight, bias = torch.randn(65, 2, 17).unbind(1)[0].t(), torch.randn(34)[::2]
    spikes = spikes_of(code, 130, 0.1, torch.tensor(0.7), 8)
    for times in (
        spikes.spike_time[::2, :65],
        spikes.spike_time[:, ::2],
        spikes.spike_time.view(130, 8).t()[:, :65],
        spikes.spike_time[:1, :65].expand(5, 65),
    ):
        for scale in (spikes.scale, torch.rand(130)[::2] + 0.5):
            given = Spikes(times, code, scale)
            expected = expected_transform(given, weight, bias)
            assert torch.equal(transform_spikes(given, weight, bias), expected)
    x = values_of(130, 0.1, num_rows=8)
    for row in (x[::2, :65], x[:, ::2], x.view(130, 8).t()[:, :65]):
        arguments = (row, code, torch.tensor([0.7]), weight, bias)
        assert torch.equal(
            encode_transform(*arguments), expected_encode_transform(*arguments)
        )


def test_weights_of_silent_neurons_are_not_read():
    spikes = spikes_of(CODES[1], 65, 0.3, torch.tensor(0.7), 1)
    weight, _ = parameters_of(65, 17)
    expected = transform_spikes(spikes, weight)
    weight[:, spikes.spike_time[0] == 15] = math.nan
    assert torch.equal(transform_spikes(spikes, weight), expected)
    assert torch.equal(
        encode_transform(spikes.decode(), CODES[1], torch.tensor(0.7), weight), expected
    )


@pytest.mark.parametrize('num_inputs, num_outputs', [(0, 3), (3, 0), (0, 0), (3, 2)])
@pytest.mark.parametrize('num_rows', [0, 2])
def test_empty(num_inputs, num_outputs, num_rows):
    weight, bias = parameters_of(num_inputs, num_outputs)
    spikes = spikes_of(CODES[1], num_inputs, 1.0, torch.tensor(0.7), num_rows)
    for b in (None, bias):
        expected = F.linear(spikes.decode(), weight, b)
        assert torch.allclose(transform_spikes(spikes, weight, b), expected, atol=1e-5)
        x = spikes.decode()
        found = encode_transform(x, CODES[1], spikes.scale, weight, b)
        assert torch.allclose(found, expected, atol=1e-5)


def test_what_the_kernels_leave_to_pytorch():
    code, one = CODES[1], torch.tensor(0.7)
    weight, bias = parameters_of(7, 5)
    x = torch.randn(4, 7)
    scales = [torch.rand(4, 1) + 0.5, torch.rand(1, 7) + 0.5, torch.rand(4, 7) + 0.5]
    for scale in scales:
        spikes = Spikes(encode(x, code, scale), code, scale)
        expected = F.linear(spikes.decode(), weight, bias)
        found = transform_spikes(spikes, weight, bias)
        assert torch.allclose(found, expected, atol=1e-5)
        found = encode_transform(x, code, scale, weight, bias)
        assert torch.allclose(found, expected, atol=1e-5)
    for b in (torch.randn(1), torch.randn(4, 5)):  # These broadcast.
        spikes = Spikes(encode(x, code, one), code, one)
        expected = F.linear(spikes.decode(), weight) + b
        assert torch.allclose(transform_spikes(spikes, weight, b), expected, atol=1e-5)
        found = encode_transform(x, code, one, weight, b)
        assert torch.allclose(found, expected, atol=1e-5)
    for shape in ((7,), (2, 2, 7)):
        x = torch.randn(shape)
        spikes = Spikes(encode(x, code, one), code, one)
        expected = F.linear(spikes.decode(), weight, bias)
        assert torch.allclose(
            transform_spikes(spikes, weight, bias), expected, atol=1e-5
        )
        found = encode_transform(x, code, one, weight, bias)
        assert torch.allclose(found, expected, atol=1e-5)
    half = encode_transform(x.half(), code, one, weight.half(), bias.half())
    assert half.dtype == torch.half and torch.allclose(half.float(), expected, atol=0.1)


def test_gradients():
    code, x = CODES[1], torch.randn(4, 7)
    weight, bias = (p.requires_grad_() for p in parameters_of(7, 5))
    scale = torch.tensor(0.7, requires_grad=True)
    spikes = Spikes(encode(x, code, scale), code, scale)
    expected = F.linear(spikes.decode(), weight, bias)
    given = (scale, weight, bias)
    expected = torch.autograd.grad(expected.square().sum(), given)
    for found in (
        transform_spikes(spikes, weight, bias),
        encode_transform(x, code, scale, weight, bias),
    ):
        found = torch.autograd.grad(found.square().sum(), given)
        assert all(map(torch.allclose, found, expected))
    with torch.no_grad():
        found = transform_spikes(spikes, weight, bias)
        assert torch.equal(found, expected_transform(spikes, weight, bias))
        arguments = (x, code, scale, weight, bias)
        assert torch.equal(
            encode_transform(*arguments), expected_encode_transform(*arguments)
        )


@pytest.mark.parametrize('num_rows', [1, 7, 100])
def test_threads_do_not_matter(num_threads, num_rows):
    weight, bias = parameters_of(65, 17)
    x = values_of(65, 0.3, num_rows=num_rows)
    spikes = spikes_of(CODES[3], 65, 0.3, torch.tensor(0.7), num_rows)
    results = []
    for count in (1, 2, 3, 8):
        num_threads(count)
        results.append(
            [
                transform_spikes(spikes, weight, bias),
                encode_transform(x, CODES[1], spikes.scale, weight, bias),
                row_peaks(x),
            ]
        )
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@pytest.mark.parametrize(
    'call, match',
    [
        (
            lambda x, s, w: transform_spikes(s, w[:, :5]),
            r'\[6\] inputs \(got shape \[3, 5',
        ),
        (
            lambda x, s, w: encode_transform(x[:, :4], s.code, s.scale, w),
            r'\[4\] inputs',
        ),
        (
            lambda x, s, w: encode_transform(x[0, 0], s.code, s.scale, w),
            r'\[\] inputs',
        ),
        (
            lambda x, s, w: encode_transform(x, s.code, -s.scale, w),
            r'positive and finite \(got -0.7\)',
        ),
        (
            lambda x, s, w: encode_transform(x, s.code, torch.ones(5), w),
            r'to broadcast .*\(got \(5,\)\)',
        ),
    ],
)
def test_errors(call, match):
    spikes = spikes_of(CODES[1], 6, 1.0, torch.tensor(0.7))
    with pytest.raises(ValueError, match=match):
        call(spikes.decode(), spikes, torch.randn(3, 6))


def test_other_data_types_are_refused():
    spikes = spikes_of(CODES[1], 6, 1.0, torch.tensor(0.7))
    weight, bias = parameters_of(6, 3, torch.float64)
    for w, b in ((weight, None), (weight.float(), bias)):
        with pytest.raises(RuntimeError, match='dtype'):
            transform_spikes(spikes, w, b)
        with pytest.raises(RuntimeError, match='dtype'):
            encode_transform(spikes.decode(), CODES[1], spikes.scale, w, b)


def test_without_numba(without_numba):
    weight, bias = parameters_of(65, 17)
    x, one = values_of(65, 0.3), torch.tensor(0.7)
    with pytest.warns(RuntimeWarning, match='Numba cannot be used') as found:
        encode_transform(x, CODES[1], one, weight, bias)
    assert len(found) == 1
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for code, b in itertools.product(CODES, (None, bias)):
            for scale in (one, torch.rand(65) + 0.5):
                spikes = spikes_of(code, 65, 0.3, scale)
                expected = expected_transform(spikes, weight, b)
                found = transform_spikes(spikes, weight, b)
                assert torch.allclose(found, expected, atol=1e-4)
            arguments = (x, code, one, weight, b)
            expected = expected_encode_transform(*arguments)
            assert torch.allclose(encode_transform(*arguments), expected, atol=1e-4)
            finite = (x.nan_to_num(math.nan, 2.0, -3.0), *arguments[1:], True)
            expected = expected_encode_transform(*finite)
            assert torch.allclose(encode_transform(*finite), expected, atol=1e-4)
        x[0] = math.nan
        peaks = [max(v for v in [0, *row] if v == v) or 1.0 for row in x.abs().tolist()]
        assert row_peaks(x).view(-1).tolist() == peaks
    assert info()['path'] == 'torch'
