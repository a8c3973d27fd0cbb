"""Settings of torch around a computation: those that change results are refused, those that only choose another kernel
are switched while anyone is inside exact()."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch.backends import opt_einsum

from validator.exact.errors import ExactError

_DENORMAL = 1e-310
_STRICT = ("none", "ieee")
"""What torch calls float32 products at full precision; "none" is the default."""


def check_surroundings() -> None:
    """Raise ExactError where torch traces for a compiler, flushes denormals, casts by itself or rounds products.

    Convolutions never reach cuDNN here, so its own TF32 flag, which is on by default, does not matter.
    """
    if torch.compiler.is_compiling() or torch._C._dynamo.eval_frame.get_eval_frame_callback() is not None:
        raise ExactError("exact() cannot be entered inside torch.compile: compilers fuse and reorder operations")
    if denormals_flushed():
        raise ExactError("denormal numbers are flushed to zero here; call torch.set_flush_denormal(False)")
    if torch._C._is_any_autocast_enabled():
        raise ExactError("autocast is on: it computes in half precision; leave torch.autocast before exact()")
    if _reduced_precision():
        raise ExactError(
            "float32 products may be cut to TF32 or bfloat16 here; call torch.set_float32_matmul_precision('highest') "
            "and set every fp32_precision in torch.backends to 'ieee'"
        )


def denormals_flushed() -> bool:
    """Whether this thread's floating-point unit takes denormal numbers for zero."""
    return _DENORMAL * 2.0 == 0.0


def autocast_depth() -> int:
    """How many torch.autocast blocks this thread is inside. While autocast casts, torch denies that it is on."""
    depth = torch.autocast_increment_nesting() - 1
    torch.autocast_decrement_nesting()
    return depth


def _reduced_precision() -> bool:
    backends = torch.backends
    for settings in (backends, backends.cuda.matmul, backends.mkldnn, getattr(backends.mkldnn, "matmul", None)):
        if getattr(settings, "fp32_precision", "none") not in _STRICT:
            return True
    # Asked after the newer settings: where those differ among backends, torch raises on this question.
    return torch.get_float32_matmul_precision() != "highest"


@dataclass(frozen=True, slots=True)
class _Switch:
    """One setting of the process and what exact() needs it to be."""

    read: Callable[[], bool]
    write: Callable[[bool], None]
    wanted: bool


@functools.cache
def _switches() -> tuple[_Switch, ...]:
    cuda, mha = torch.backends.cuda, torch.backends.mha
    return (
        _Switch(cuda.flash_sdp_enabled, cuda.enable_flash_sdp, False),
        _Switch(cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp, False),
        _Switch(cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp, False),
        _Switch(cuda.math_sdp_enabled, cuda.enable_math_sdp, True),
        _Switch(mha.get_fastpath_enabled, mha.set_fastpath_enabled, False),
        _Switch(lambda: bool(opt_einsum.enabled), _order_of_einsum, False),
    )


def _order_of_einsum(optimised: bool) -> None:
    """Products of three or more operands from left to right: opt_einsum, where it is installed, takes others first."""
    opt_einsum.enabled = optimised


@dataclass(slots=True)
class Switches:
    """Attention in its plain form, einsum from left to right: fused kernels, the fast path of nn.MultiheadAttention and
    opt_einsum are off while anyone is inside.

    The settings belong to the process, so threads inside together are counted: the first one saves and switches, the
    last one restores. Threads outside meanwhile get plain attention too: slower, not wrong.
    """

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _inside: int = 0
    _saved: tuple[bool, ...] = ()

    def enter(self) -> None:
        """Count one in."""
        with self._lock:
            if self._inside == 0:
                self._saved = tuple(switch.read() for switch in _switches())
                for switch, value in zip(_switches(), self._saved, strict=True):
                    if value != switch.wanted:
                        switch.write(switch.wanted)
            self._inside += 1

    def leave(self) -> None:
        """Count one out."""
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for switch, value in zip(_switches(), self._saved, strict=True):
                    switch.write(value)


SWITCHES = Switches()
"""The one keeper of settings of which the process has one."""
