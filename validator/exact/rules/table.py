"""The one table: every aten operator that exact() lets pass, its class, and what runs in its place."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch._ops import OpOverload

from validator.exact import functions
from validator.exact.rules import (
    activations,
    attention,
    compound,
    convolution,
    elementwise,
    foreach,
    harmless,
    linear,
    norms,
    ordering,
    pooling,
    reductions,
    scatter,
)
from validator.exact.rules.hints import REFUSED


class Kind(Enum):
    """Why an operator may pass."""

    VIEW = "no element changes"
    HARMLESS = "moves, comparisons, and single correctly rounded operations"
    PRODUCT = "exact integer products"
    REDUCTION = "exact integer sums"
    TRANSCENDENTAL = "a fixed sequence of rounded float64 operations"
    DECOMPOSED = "cut into operators of the other kinds"
    COMPOSITE = "taken apart by torch's own definition; the parts meet the table"


@dataclass(frozen=True, slots=True)
class Rule:
    """`run` takes the operator's own arguments."""

    kind: Kind
    run: Callable[..., Any]


_PRODUCTS: Mapping[str, Callable[..., Any]] = {
    "mm.default": linear.mm,
    "bmm.default": linear.bmm,
    "mv.default": linear.mv,
    "dot.default": linear.dot,
    "addmm.default": linear.addmm,
    "addmv.default": linear.addmv,
    "baddbmm.default": linear.baddbmm,
    "convolution.default": convolution.convolution,
    "convolution_backward.default": convolution.convolution_backward,
}

_REDUCTIONS: Mapping[str, Callable[..., Any]] = {
    "sum.default": reductions.sum_all,
    "sum.dim_IntList": reductions.sum_dims,
    "mean.default": reductions.mean_all,
    "mean.dim": reductions.mean_dims,
    "var.correction": reductions.variance,
    "var_mean.correction": reductions.variance_and_mean,
    "std.correction": reductions.deviation,
    "std_mean.correction": reductions.deviation_and_mean,
    "linalg_vector_norm.default": reductions.vector_norm,
    "cumsum.default": reductions.cumulative_sum,
    "scatter_add.default": scatter.scatter_add,
    "scatter.src": scatter.scatter,
    "index_add.default": scatter.index_add,
    "index_copy.default": scatter.index_copy,
    "index_put.default": scatter.index_put,
    "_index_put_impl_.default": scatter.index_put_in_place,
    "_unsafe_index_put.default": scatter.index_put,
    "embedding_dense_backward.default": scatter.embedding_backward,
    "unfold_backward.default": scatter.unfold_backward,
}

_TRANSCENDENTALS: Mapping[str, Callable[..., Any]] = {
    **{
        f"{name}.default": activations.rounded(getattr(functions, name))
        for name in ("exp", "expm1", "log", "log1p", "sigmoid", "tanh", "erf", "erfc", "rsqrt", "sin", "cos")
    },
    "log2.default": activations.log_of_base(2.0),
    "log10.default": activations.log_of_base(10.0),
    "sqrt.default": activations.sqrt,
    "pow.Tensor_Scalar": activations.power,
    "pow.Scalar": activations.scalar_power,
    "sigmoid_backward.default": activations.sigmoid_backward,
    "tanh_backward.default": activations.tanh_backward,
    "silu.default": activations.silu,
    "silu_backward.default": activations.silu_backward,
    "gelu.default": activations.gelu,
    "gelu_backward.default": activations.gelu_backward,
    "softplus.default": activations.softplus,
    "softplus_backward.default": activations.softplus_backward,
    "log_sigmoid_forward.default": activations.log_sigmoid,
    "log_sigmoid_backward.default": activations.log_sigmoid_backward,
    "elu.default": activations.elu,
    "elu_backward.default": activations.elu_backward,
}

_DECOMPOSED: Mapping[str, Callable[..., Any]] = {
    "add.Tensor": elementwise.add,
    "add.Scalar": elementwise.add_scalar,
    "sub.Tensor": elementwise.sub,
    "sub.Scalar": elementwise.sub_scalar,
    "rsub.Scalar": elementwise.rsub,
    "rsub.Tensor": elementwise.rsub,
    "div.Tensor": elementwise.div,
    "div.Scalar": elementwise.div,
    "div.Tensor_mode": elementwise.div_mode,
    "div.Scalar_mode": elementwise.div_mode,
    "floor_divide.default": elementwise.integer_only("aten.floor_divide", torch.floor_divide),
    "floor_divide.Scalar": elementwise.integer_only("aten.floor_divide", torch.floor_divide),
    "remainder.Tensor": elementwise.integer_only("aten.remainder", torch.remainder),
    "remainder.Scalar": elementwise.integer_only("aten.remainder", torch.remainder),
    "reciprocal.default": elementwise.reciprocal,
    "addcmul.default": elementwise.addcmul,
    "addcdiv.default": elementwise.addcdiv,
    "lerp.Scalar": elementwise.lerp,
    "lerp.Tensor": elementwise.lerp,
    "leaky_relu.default": elementwise.leaky_relu,
    "leaky_relu_backward.default": elementwise.leaky_relu_backward,
    "hardtanh_backward.default": elementwise.hardtanh_backward,
    "sort.default": ordering.sort,
    "sort.stable": ordering.sort_stable,
    "topk.default": ordering.top_k,
    "_to_copy.default": elementwise.convert,
    "copy_.default": elementwise.copy,
    "arange.default": elementwise.integer_range,
    "arange.start": elementwise.integer_range,
    "arange.start_step": elementwise.integer_range,
    "empty.memory_format": elementwise.zeros_for_empty,
    "empty_like.default": elementwise.zeros_for_empty,
    "new_empty.default": elementwise.zeros_for_empty,
    "new_empty_strided.default": elementwise.zeros_strided,
    "empty_strided.default": elementwise.zeros_strided_factory,
    "native_dropout.default": compound.dropout,
    "_softmax.default": compound.softmax,
    "_softmax_backward_data.default": compound.softmax_backward,
    "_log_softmax.default": compound.log_softmax,
    "_log_softmax_backward_data.default": compound.log_softmax_backward,
    "logsumexp.default": compound.logsumexp,
    "native_layer_norm.default": compound.layer_norm,
    "native_layer_norm_backward.default": compound.layer_norm_backward,
    "native_batch_norm.default": norms.batch_norm,
    "_native_batch_norm_legit_no_training.default": norms.batch_norm_no_training,
    "native_batch_norm_backward.default": norms.batch_norm_backward,
    "cudnn_batch_norm.default": norms.cudnn_batch_norm,
    "cudnn_batch_norm_backward.default": norms.cudnn_batch_norm_backward,
    "native_group_norm.default": norms.group_norm,
    "native_group_norm_backward.default": norms.group_norm_backward,
    "_fused_rms_norm.default": norms.fused_rms_norm,
    "_fused_rms_norm_backward.default": norms.fused_rms_norm_backward,
    "_safe_softmax.default": attention.safe_softmax,
    "binary_cross_entropy_with_logits.default": compound.logistic_loss,
    "mse_loss.default": compound.mse_loss,
    "mse_loss_backward.default": compound.mse_loss_backward,
    "nll_loss_forward.default": compound.nll_loss,
    "nll_loss_backward.default": compound.nll_loss_backward,
    "nll_loss2d_forward.default": compound.nll_loss,
    "nll_loss2d_backward.default": compound.nll_loss_backward,
    "max_pool2d_with_indices.default": pooling.max_pool,
    "max_pool2d_with_indices_backward.default": pooling.max_pool_backward,
    "avg_pool2d.default": pooling.average_pool,
    "avg_pool2d_backward.default": pooling.average_pool_backward,
    "_adaptive_avg_pool2d.default": pooling.adaptive_average_pool,
    "_adaptive_avg_pool2d_backward.default": pooling.adaptive_average_pool_backward,
    "adaptive_max_pool2d.default": pooling.adaptive_max_pool,
    "adaptive_max_pool2d_backward.default": pooling.adaptive_max_pool_backward,
}

_IN_PLACE = """
    add_.Tensor add_.Scalar sub_.Tensor sub_.Scalar div_.Tensor div_.Scalar addcmul_.default addcdiv_.default
    lerp_.Scalar lerp_.Tensor relu_.default clamp_.default clamp_min_.default clamp_max_.default sqrt_.default
    exp_.default log_.default tanh_.default sigmoid_.default reciprocal_.default pow_.Scalar scatter_add_.default
    index_add_.default index_put_.default addmm_.default hardtanh_.default leaky_relu_.default silu_.default
    elu_.default rsqrt_.default clamp_min_.Tensor clamp_max_.Tensor scatter_.src
    index_copy_.default index_fill_.int_Scalar masked_scatter_.default clamp_.Tensor expm1_.default log1p_.default
    erf_.default sin_.default cos_.default gelu_.default cumsum_.default baddbmm_.default addmv_.default
    logical_and_.default logical_or_.default logical_xor_.default logical_not_.default bitwise_and_.Tensor
    bitwise_or_.Tensor bitwise_xor_.Tensor tril_.default triu_.default floor_.default ceil_.default round_.default
"""
"""In-place forms: the functional rule, copied over the first argument."""

_FUNCTIONAL_NAMES = {"pow_.Scalar": "pow.Tensor_Scalar"}


def _aten(name: str) -> OpOverload | None:
    packet, overload = name.split(".")
    found = getattr(getattr(torch.ops.aten, packet, None), overload, None)
    return found if isinstance(found, OpOverload) else None


def _composite(name: str) -> OpOverload | None:
    """The operator, if it is written as calls of others (it has a CompositeImplicitAutograd kernel)."""
    op = _aten(name)
    if op is None:
        return None
    key = op.name()  # type: ignore[no-untyped-call]
    return op if torch._C._dispatch_has_kernel_for_dispatch_key(key, "CompositeImplicitAutograd") else None


def _in_place(run: Callable[..., Any]) -> Callable[..., Any]:
    def write(target: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        return target.copy_(run(target, *args, **kwargs))

    return write


def _named() -> Mapping[str, Rule]:
    rules: dict[str, Rule] = {}
    for kind, group in (
        (Kind.PRODUCT, _PRODUCTS),
        (Kind.REDUCTION, _REDUCTIONS),
        (Kind.TRANSCENDENTAL, _TRANSCENDENTALS),
        (Kind.DECOMPOSED, _DECOMPOSED),
    ):
        rules.update({name: Rule(kind, run) for name, run in group.items()})
    for kind, names in (
        (Kind.VIEW, harmless.VIEWS + harmless.BOOKKEEPING),
        (Kind.HARMLESS, harmless.MOVES + harmless.COMPARISONS + harmless.ARITHMETIC),
    ):
        rules.update({name: Rule(kind, op) for name in names.split() if (op := _aten(name))})
    rules.update(
        {name: Rule(Kind.COMPOSITE, op.decompose) for name in harmless.COMPOSITES.split() if (op := _composite(name))}
    )
    for name in harmless.CHOICES.split():
        if op := _aten(name):
            rules[name] = Rule(Kind.HARMLESS, elementwise.positive_zero(op))
    for name in _IN_PLACE.split():
        functional = rules[_FUNCTIONAL_NAMES.get(name, name.replace("_.", ".", 1))]
        rules[name] = Rule(functional.kind, _in_place(functional.run))
    lists = foreach.foreach({name: rule.run for name, rule in rules.items()})
    rules.update({name: Rule(Kind.DECOMPOSED, run) for name, run in lists.items()})
    return rules


@functools.cache
def table() -> Mapping[OpOverload, Rule]:
    """Operator to rule. Names this version of torch does not have are left out."""
    rules: dict[OpOverload, Rule] = {op: rule for name, rule in _named().items() if (op := _aten(name))}
    for name in harmless.PROFILER.split():
        packet, overload = name.split(".")
        op = getattr(getattr(torch.ops.profiler, packet), overload)
        rules[op] = Rule(Kind.VIEW, op)
    return rules


def why_refused(op: OpOverload) -> str:
    """The hint for an operator outside the table."""
    packet, overload = op.overloadpacket.__name__, op._overloadname
    if any(argument.is_out for argument in op._schema.arguments):
        return "it writes through out=; call the form that returns its result (optimizers: pass foreach=True)"
    return REFUSED.get(f"{packet}.{overload}", REFUSED.get(packet, "it has no exact rule"))
