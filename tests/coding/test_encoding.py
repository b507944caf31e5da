import pytest
import torch

from spikegraph.coding import PhaseCode, Spikes, decode, encode
from spikegraph.kernels import reference

CODES = [
    PhaseCode(1, 2),
    PhaseCode(4, 2),
    PhaseCode(8, 1.3, threshold_shift=1),
    PhaseCode(15, 2**0.5, signed=True),
    PhaseCode(126, 1.05),
    PhaseCode(126, 1.05, signed=True),
    PhaseCode.from_levels([1.0, 0.6, 0.1]),
]


@pytest.mark.parametrize('code', CODES, ids=str)
@pytest.mark.parametrize('scale', [0.25, 1.0, 3.0])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_encode_matches_reference(code, scale, dtype):
    x = torch.linspace(-1, 4, 257, dtype=torch.float64)
    x = torch.cat([x, scale * code.thresholds, scale * code.levels])  # Ties.
    x = torch.cat([x, torch.tensor([0.0, -0.0, float('nan'), float('inf')])]).to(dtype)
    expected = reference.encode(x, code, scale)
    assert torch.equal(encode(x, code, scale), expected)
    # Scales of one element and of many take different paths.
    assert torch.equal(encode(x, code, torch.full_like(x, scale)), expected)


@pytest.mark.parametrize('code', CODES, ids=str)
def test_decode_matches_reference_and_inverts_encode(code):
    times = torch.arange(code.table().numel(), dtype=torch.uint8)
    values = decode(times, code, 0.7, dtype=torch.float64)
    assert torch.equal(values, reference.decode(times, code, 0.7))
    assert torch.equal(encode(values, code, 0.7), times)


@pytest.mark.parametrize('shape', [(), (0,), (1,), (63,), (1000,), (3, 0), (5, 7)])
def test_shapes(shape):
    code = PhaseCode(4, 2)
    x = torch.rand(shape)
    times = encode(x, code)
    assert times.shape == x.shape and times.dtype == torch.uint8
    assert decode(times, code).shape == x.shape


def test_scale_per_channel_and_per_node():
    code = PhaseCode(6, 1.5)
    x = torch.rand(5, 3)
    channel, node = torch.tensor([0.5, 1.0, 2.0]), torch.rand(5, 1) + 0.1
    for scale in (channel, node):
        rows = [
            [
                reference.encode(x[i, j], code, scale.expand(5, 3)[i, j])
                for j in range(3)
            ]
            for i in range(5)
        ]
        expected = torch.tensor(rows, dtype=torch.uint8)
        assert torch.equal(encode(x, code, scale), expected)
        values = decode(expected, code, scale)
        unit = decode(expected, code)
        assert torch.equal(values, unit * scale)


def test_non_contiguous_input():
    code = PhaseCode(6, 1.5)
    x = torch.rand(8, 6)
    assert torch.equal(encode(x.t(), code), encode(x, code).t())


@pytest.mark.parametrize(
    'scale, match',
    [
        (-1.0, r"'scale' to be positive and finite \(got -1\)"),
        (0.0, r"'scale' to be positive and finite \(got 0\)"),
        (float('inf'), r"'scale' to be positive and finite \(got inf\)"),
        (torch.tensor([1.0, -3.0]), r"'scale' to be positive and finite \(got -3\)"),
        (torch.ones(3), r"'scale' to broadcast to the values \(4, 2\) \(got \(3,\)\)"),
    ],
)
def test_scale_errors(scale, match):
    with pytest.raises(ValueError, match=match):
        encode(torch.rand(4, 2), PhaseCode(4, 2), scale)


def test_type_errors():
    with pytest.raises(ValueError, match=r'floating point \(got torch.int64\)'):
        encode(torch.arange(3), PhaseCode(4, 2))
    with pytest.raises(ValueError, match=r'floating point \(got list\)'):
        encode([1.0, 2.0], PhaseCode(4, 2))
    with pytest.raises(ValueError, match=r'uint8 \(got list\)'):
        decode([1], PhaseCode(4, 2))
    with pytest.raises(ValueError, match=r'uint8 \(got torch.int64\)'):
        decode(torch.arange(3), PhaseCode(4, 2))
    with pytest.raises(ValueError, match=r'at most 4 for PhaseCode.*\(got 9\)'):
        decode(torch.tensor([9], dtype=torch.uint8), PhaseCode(4, 2))


def test_spikes():
    code = PhaseCode(3, 2, signed=True)
    x = torch.tensor([[1.0, -0.5], [0.0, 0.26]])
    spikes = Spikes.from_values(x, code)
    assert spikes.spike_time.tolist() == [[0, 5], [3, 2]]
    assert spikes.decode().tolist() == [[1.0, -0.5], [0.0, 0.25]]
    assert spikes.phase().tolist() == [[0, 1], [3, 2]]
    assert spikes.polarity().tolist() == [[1, -1], [0, 1]]
    assert spikes.num_spikes == 3
    raster = spikes.raster()
    assert raster.shape == (3, 2, 2) and raster.sum() == 3
    assert raster.sum(dim=0).max() == 1  # At most one spike per neuron.
    assert spikes.current(1).tolist() == [[0.0, -1.0], [0.0, 0.0]]
    levels = code.levels.float().view(3, 1, 1)
    summed = sum(spikes.current(t) * levels[t] for t in range(3))
    assert torch.equal(summed, spikes.decode())
    assert spikes.to(torch.float64).decode().dtype == torch.float64
    assert 'num_spikes=3' in repr(spikes)
