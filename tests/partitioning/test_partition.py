import dataclasses

import pytest
import torch

from spikegraph import Partition


def test_rows_and_sizes():
    generator = torch.Generator().manual_seed(0)
    owners = {
        'a': torch.randint(4, (100,), generator=generator),
        'b': torch.zeros(3, dtype=torch.uint8),
        'c': torch.zeros(0, dtype=torch.int32),
    }
    partition = Partition(owners, 6, 'by hand')
    assert partition.node_types == ['a', 'b', 'c']
    assert partition.num_nodes == {'a': 100, 'b': 3, 'c': 0}
    for node_type, owner in owners.items():
        rows = [partition.rows(part, node_type) for part in range(6)]
        for part, row in enumerate(rows):
            assert row.dtype == torch.int64
            assert row.tolist() == [
                i for i, p in enumerate(owner.tolist()) if p == part
            ]
        assert partition.sizes(node_type).tolist() == [len(row) for row in rows]
        assert partition.owner(node_type).dtype == torch.int32
    assert partition.sizes('a')[4:].tolist() == [0, 0]  # Empty ones.
    assert "100 nodes 'a'" in repr(partition) and 'num_parts=6' in repr(partition)


def test_a_partition_does_not_change():
    partition = Partition({'': torch.tensor([0, 1])}, 2, 'by hand')
    with pytest.raises(dataclasses.FrozenInstanceError):
        partition.num_parts = 3


ONE = torch.tensor([0, 1])


@pytest.mark.parametrize(
    'owners, num_parts, method, match',
    [
        ({'': ONE}, 0, 'm', r"'num_parts' to be a positive integer \(got 0\)"),
        ({'': ONE}, 2.0, 'm', r"'num_parts' to be a positive integer \(got 2.0\)"),
        ({'': ONE}, True, 'm', r"'num_parts' .* \(got True\)"),
        ({'': ONE}, 2**31, 'm', r"'num_parts' .* \(got 2147483648\)"),
        ({'': ONE}, 2, '', r"'method' to be a name \(got ''\)"),
        (ONE, 2, 'm', r"'owners' to be a dictionary .* \(got Tensor\)"),
        ({}, 2, 'm', r"'owners' to be a dictionary"),
        ({3: ONE}, 2, 'm', r"keys of 'owners' to be node types \(got 3\)"),
        ({'a': [0, 1]}, 2, 'm', r"'owners\['a'\]' .* of integers \(got list\)"),
        ({'': ONE.float()}, 2, 'm', r'of integers \(got torch.float32\)'),
        ({'': ONE.bool()}, 2, 'm', r'of integers \(got torch.bool\)'),
        ({'': ONE.view(1, 2)}, 2, 'm', r'one dimension \(got shape \[1, 2\]\)'),
        ({'': ONE}, 1, 'm', r"parts from 0 to 0, as 'num_parts' is 1 \(got 1\)"),
        ({'': ONE - 1}, 2, 'm', r'parts from 0 to 1.*\(got -1\)'),
    ],
)
def test_errors(owners, num_parts, method, match):
    with pytest.raises(ValueError, match=match):
        Partition(owners, num_parts, method)


@pytest.mark.parametrize('part', [-1, 2, 1.0, True, None])
def test_unknown_parts_and_types(part):
    partition = Partition({'a': ONE}, 2, 'by hand')
    with pytest.raises(ValueError, match=rf"'part' .* 0 to 1 \(got {part!r}\)"):
        partition.rows(part, 'a')
    for call in (partition.sizes, lambda t: partition.rows(0, t), partition.owner):
        with pytest.raises(ValueError, match=r"one of 'a' \(got 'b'\)"):
            call('b')
    with pytest.raises(ValueError, match=r"has 3 nodes 'a' \(got one of 2 nodes 'a'\)"):
        partition.check_nodes({'a': 3})
