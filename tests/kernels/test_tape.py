"""What a tape repeats gives what the same operations give anew."""

import pytest
import torch

from spikegraph.coding import PhaseCode
from spikegraph.kernels import decode_spikes, encode_spikes
from spikegraph.kernels.tape import Tape

CODE = PhaseCode(num_steps=8, base=1.5)


def rest_of_a_buffer(x):
    out = torch.zeros(4, 6)
    out[:, :3] = x[:, :3]
    out[:, 3:] += x[:, 3:]
    return out


def constant_that_changes(x):
    constant = torch.zeros(4, 6)
    total = x + constant
    constant.fill_(1)
    return total * constant


def constant_that_features_change(x):
    constant = torch.ones(4, 6)
    total = x + constant
    constant.add_(x)
    return total * constant


def constant_that_a_kernel_reads(x):
    constant = torch.ones(1)
    value = decode_spikes(encode_spikes(x, CODE, constant), CODE, constant)
    constant.fill_(2)
    return value * constant


def constant_that_a_kernel_makes(x):
    ones = torch.ones(4, 6)
    first = decode_spikes(encode_spikes(x, CODE), CODE)
    total = first + x
    del first
    constant = decode_spikes(encode_spikes(ones, CODE), CODE)
    second = decode_spikes(encode_spikes(total, CODE), CODE)
    return second + constant


PROGRAMS = [
    rest_of_a_buffer,
    constant_that_changes,
    constant_that_features_change,
    constant_that_a_kernel_reads,
    constant_that_a_kernel_makes,
]


def replay(tape):
    for to, function, arguments in tape.calls:
        made = function(*arguments)
        if to is not None:
            to.copy_(made)


@pytest.mark.parametrize('program', PROGRAMS, ids=lambda p: p.__name__)
@torch.no_grad()
def test_constants_that_change_are_what_they_were(program):
    torch.manual_seed(0)
    x = torch.rand(4, 6)
    program(x)
    tape = Tape([x])
    with tape:
        out = program(x)
    assert not tape.failed
    for _ in range(3):
        x.copy_(torch.rand(4, 6))
        replay(tape)
        assert torch.equal(out, program(x))


@torch.no_grad()
def test_memory_is_used_again():
    """Whether kernels or PyTorch make what is read once."""

    def program(x):
        for _ in range(20):
            x = decode_spikes(encode_spikes(x, CODE), CODE)
            x = x.clamp(max=0.9) * 1.1
        return x

    x = torch.rand(100, 50)
    program(x)
    tape = Tape([x])
    with tape:
        out = program(x)
    own = [block.memory for block in tape._blocks if block.memory is not None]
    assert sum(memory.nbytes for memory in own) < 5 * x.nbytes
    x.copy_(torch.rand(100, 50))
    replay(tape)
    assert torch.equal(out, program(x))
