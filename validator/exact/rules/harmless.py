"""The allow-list: aten operators that give the same bits everywhere as torch has them.

Exact names with overloads: an operator, an in-place form or an out= form that is not written here is not allowed.
"""

from __future__ import annotations

VIEWS = """
    alias.default as_strided.default detach.default diagonal.default expand.default permute.default select.int
    slice.Tensor split.Tensor split_with_sizes.default squeeze.default squeeze.dim squeeze.dims t.default transpose.int
    unbind.int unfold.default unsqueeze.default view.default _unsafe_view.default _reshape_alias.default
    lift_fresh.default detach_.default squeeze_.dim unsqueeze_.default t_.default transpose_.default as_strided_.default
"""
"""No element changes. Allowed on any dtype."""

MOVES = """
    clone.default cat.default stack.default repeat.default roll.default flip.default
    constant_pad_nd.default tril.default triu.default index_select.default gather.default index.Tensor
    _unsafe_index.Tensor masked_fill.Scalar masked_fill.Tensor masked_select.default where.self
    masked_scatter.default masked_scatter_backward.default index_fill.int_Scalar index_fill.int_Tensor
    take.default embedding.default slice_backward.default
    select_backward.default slice_scatter.default select_scatter.default diagonal_backward.default
    expand_copy.default repeat_interleave.Tensor nonzero.default scatter.value
    zeros.default ones.default full.default eye.default eye.m
    scalar_tensor.default zeros_like.default ones_like.default full_like.default new_zeros.default new_ones.default
    new_full.default fill.Scalar fill_.Scalar fill_.Tensor zero_.default masked_fill_.Scalar masked_fill_.Tensor
    scatter_.value tril_indices.default triu_indices.default
"""
"""Elements are copied, chosen by index or mask, or set to a constant."""

COMPARISONS = """
    eq.Scalar eq.Tensor ne.Scalar ne.Tensor lt.Scalar lt.Tensor le.Scalar le.Tensor gt.Scalar gt.Tensor ge.Scalar
    ge.Tensor logical_and.default logical_or.default logical_not.default logical_xor.default isnan.default
    isinf.default any.default any.dim any.dims all.default all.dim all.dims equal.default
    argmax.default argmin.default bitwise_and.Tensor bitwise_and.Scalar bitwise_or.Tensor
    bitwise_or.Scalar bitwise_xor.Tensor bitwise_xor.Scalar bitwise_not.default bitwise_left_shift.Tensor
    bitwise_left_shift.Tensor_Scalar bitwise_right_shift.Tensor bitwise_right_shift.Tensor_Scalar
"""
"""Results are booleans or integers; argmax and argmin take the first of equals, as torch documents."""

ARITHMETIC = """
    mul.Tensor mul.Scalar neg.default abs.default sign.default sgn.default floor.default ceil.default trunc.default
    round.default mul_.Tensor mul_.Scalar neg_.default abs_.default threshold_backward.default
"""
"""One correctly rounded IEEE operation for each element (or none)."""

CHOICES = """
    relu.default maximum.default minimum.default fmax.default fmin.default clamp.default clamp.Tensor
    clamp_min.default clamp_min.Tensor clamp_max.default clamp_max.Tensor hardtanh.default max.default min.default
    max.dim min.dim amax.default amin.default aminmax.default
"""
"""One of the inputs comes out; +0 and -0 tie, so zeros are made positive."""

BOOKKEEPING = """
    _local_scalar_dense.default is_same_size.default is_pinned.default
"""
"""Questions about a tensor."""

COMPOSITES = """
    linear.default matmul.default layer_norm.default cross_entropy_loss.default nll_loss.default nll_loss_nd.default
    softmax.int log_softmax.int reshape.default flatten.using_ints unflatten.int dropout.default conv1d.default
    conv1d.padding conv2d.default conv2d.padding max_pool1d.default max_pool2d.default isfinite.default __and__.Tensor
    __or__.Tensor __xor__.Tensor adaptive_avg_pool1d.default
    adaptive_avg_pool2d.default adaptive_max_pool1d.default avg_pool1d.default einsum.default to.dtype
    to.dtype_layout to.device to.other contiguous.default square.default outer.default narrow.default chunk.default
    movedim.int movedim.intlist var.default var.dim std.default std.dim var_mean.default
    frobenius_norm.dim one_hot.default l1_loss.default type_as.default expand_as.default view_as.default
    reshape_as.default size.int item.default is_nonzero.default log_sigmoid.default relu6.default batch_norm.default
    embedding_backward.default where.ScalarOther where.ScalarSelf where.Scalar where.default numpy_T.default mT.default
    swapaxes.default swapdims.default ravel.default true_divide.Tensor true_divide.Scalar multiply.Tensor
    subtract.Tensor greater.Scalar selu.default instance_norm.default cosine_similarity.default inner.default
    linalg_norm.default tensordot.default meshgrid.default hstack.default vstack.default
    column_stack.default tile.default repeat_interleave.self_int index_select_backward.default
    value_selecting_reduction_backward.default trace_backward.default scaled_dot_product_attention.default
    _scaled_dot_product_attention_math.default rms_norm.default group_norm.default max_pool1d_with_indices.default
    _batch_norm_impl_index.default _convolution_mode.default _pad_circular.default _pad_enum.default pad.default
    argsort.default argsort.stable broadcast_tensors.default broadcast_to.default clip.default clip.Tensor
    concat.default concatenate.default diff.default divide.Tensor divide.Scalar fliplr.default flipud.default
    gather_backward.default greater.Tensor greater_equal.Scalar greater_equal.Tensor less.Scalar less.Tensor
    less_equal.Scalar less_equal.Tensor not_equal.Scalar not_equal.Tensor linalg_matmul.default linalg_vecdot.default
    linalg_diagonal.default masked_select_backward.default max.other min.other meshgrid.indexing moveaxis.int
    moveaxis.intlist multiply.Scalar subtract.Scalar narrow.Tensor negative.default absolute.default nll_loss2d.default
    positive.default repeat_interleave.self_Tensor row_stack.default dstack.default split.sizes std_mean.default
    std_mean.dim var_mean.dim take_along_dim.default tensor_split.sections tensor_split.indices unsafe_chunk.default
    resolve_conj.default resolve_neg.default sum_to_size.default pad_sequence.default __and__.Scalar __or__.Scalar
    __xor__.Scalar special_expit.default special_softmax.default special_log_softmax.default special_logsumexp.default
    special_erf.default special_erfc.default special_expm1.default special_log1p.default
"""
"""Compositions of other operators. Autograd takes them apart before this mode; under inference_mode they arrive whole
and are taken apart here, by torch's own definition, and their parts meet the table."""

PROFILER = "_record_function_enter_new.default _record_function_exit._RecordFunction"
"""Marks that torch.optim leaves for a profiler, in the namespace `profiler`."""
