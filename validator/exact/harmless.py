"""The allow-list: aten operators that give the same bits everywhere as torch has them.

Exact names with overloads: an operator, an in-place form or an out= form that is not written here is not allowed.
"""

from __future__ import annotations

VIEWS = """
    alias.default as_strided.default detach.default diagonal.default expand.default permute.default select.int
    slice.Tensor split.Tensor split_with_sizes.default squeeze.default squeeze.dim squeeze.dims t.default transpose.int
    unbind.int unfold.default unsqueeze.default view.default _unsafe_view.default _reshape_alias.default
    lift_fresh.default _conj.default detach_.default squeeze_.dim unsqueeze_.default t_.default transpose_.default
"""
"""No element changes. Allowed on any dtype."""

MOVES = """
    clone.default copy_.default cat.default stack.default repeat.default roll.default flip.default
    constant_pad_nd.default tril.default triu.default index_select.default gather.default index.Tensor
    _unsafe_index.Tensor masked_fill.Scalar masked_fill.Tensor masked_select.default where.self where.ScalarOther
    where.ScalarSelf where.Scalar where.default take.default embedding.default slice_backward.default
    select_backward.default slice_scatter.default select_scatter.default diagonal_backward.default
    unfold_backward.default expand_copy.default repeat_interleave.Tensor nonzero.default scatter.value
    zeros.default ones.default full.default eye.default eye.m arange.default arange.start arange.start_step
    scalar_tensor.default zeros_like.default ones_like.default full_like.default new_zeros.default new_ones.default
    new_full.default fill.Scalar fill_.Scalar fill_.Tensor zero_.default masked_fill_.Scalar masked_fill_.Tensor
    scatter_.value tril_indices.default triu_indices.default
"""
"""Elements are copied, chosen by index or mask, or set to a constant."""

COMPARISONS = """
    eq.Scalar eq.Tensor ne.Scalar ne.Tensor lt.Scalar lt.Tensor le.Scalar le.Tensor gt.Scalar gt.Tensor ge.Scalar
    ge.Tensor logical_and.default logical_or.default logical_not.default logical_xor.default isnan.default
    isinf.default isfinite.default any.default any.dim any.dims all.default all.dim all.dims equal.default
    is_nonzero.default argmax.default argmin.default bitwise_and.Tensor bitwise_and.Scalar bitwise_or.Tensor
    bitwise_or.Scalar bitwise_xor.Tensor bitwise_xor.Scalar bitwise_not.default bitwise_left_shift.Tensor
    bitwise_left_shift.Tensor_Scalar bitwise_right_shift.Tensor bitwise_right_shift.Tensor_Scalar
    __and__.Tensor __or__.Tensor __xor__.Tensor bincount.default
"""
"""Results are booleans or integers; argmax and argmin take the first of equals, as torch documents."""

ARITHMETIC = """
    mul.Tensor mul.Scalar neg.default abs.default sign.default sgn.default floor.default ceil.default trunc.default
    round.default square.default mul_.Tensor mul_.Scalar neg_.default abs_.default
"""
"""One correctly rounded IEEE operation for each element (or none)."""

CHOICES = """
    relu.default maximum.default minimum.default fmax.default fmin.default clamp.default clamp.Tensor
    clamp_min.default clamp_min.Tensor clamp_max.default clamp_max.Tensor hardtanh.default max.default min.default
    max.dim min.dim amax.default amin.default cummax.default cummin.default relu6.default aminmax.default
"""
"""One of the inputs comes out; +0 and -0 tie, so zeros are made positive."""

BOOKKEEPING = """
    _local_scalar_dense.default is_same_size.default item.default size.default sym_size.default sym_size.int
    stride.default sym_stride.default sym_numel.default numel.default dim.default is_contiguous.default
    storage_offset.default sym_storage_offset.default is_pinned.default _has_compatible_shallow_copy_type.default
"""
"""Questions about a tensor."""

PROFILER = "_record_function_enter_new.default _record_function_exit._RecordFunction"
"""Marks that torch.optim leaves for a profiler, in the namespace `profiler`."""
