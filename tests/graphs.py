"""Graphs and matrices in all the forms that users give them."""

import torch


class SparseTensor:
    """What ``torch_sparse.SparseTensor`` offers to read a matrix: entries in the
    order of rows, compressed or not, values if there are any but ones.
    """

    def __init__(self, matrix, value=None):
        self.row, self.col = matrix.nonzero(as_tuple=True)
        given = matrix[self.row, self.col]
        if value is None and bool((given != 1).any()):
            value = given
        self.value, self.sizes = value, tuple(matrix.shape)

    def coo(self):
        return self.row, self.col, self.value

    def csr(self):
        counts = torch.bincount(self.row, minlength=self.sizes[0])
        rowptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return rowptr, self.col, self.value

    def sparse_sizes(self):
        return self.sizes

    def sparse_size(self, dim):
        return self.sizes[dim]

    def size(self, dim):
        return self.sizes[dim]

    def has_value(self):
        return self.value is not None

    @property
    def device(self):
        return self.row.device


def uncoalesced(matrix):
    """Entries in another order, those that are not zero in two parts."""
    coo = matrix.to_sparse_coo().coalesce()
    index, value = coo.indices().flip(1), coo.values().flip(0)
    value = value / 2 if value.is_floating_point() else value
    index = torch.cat([index, index], dim=1)
    return torch.sparse_coo_tensor(index, torch.cat([value, value]), matrix.shape)


def with_int32(matrix):
    """CSR with indices of 32 bits."""
    csr = matrix.to_sparse_csr()
    index = (csr.crow_indices().int(), csr.col_indices().int())
    return torch.sparse_csr_tensor(*index, csr.values(), csr.shape)


MATRIX_FORMS = {
    'dense': lambda matrix: matrix.clone(),
    'coo': lambda matrix: matrix.to_sparse_coo(),
    'uncoalesced': uncoalesced,
    'csr': lambda matrix: matrix.to_sparse_csr(),
    'csc': lambda matrix: matrix.to_sparse_csc(),
    'int32': with_int32,
    'half': lambda matrix: matrix.half().to_sparse_csr(),
    'double': lambda matrix: matrix.double().to_sparse_coo(),
    'SparseTensor': SparseTensor,
}
