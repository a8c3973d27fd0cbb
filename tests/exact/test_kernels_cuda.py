"""The kernels for CUDA devices against the eager code that defines them, bit for bit.

They run on the GPU if there is one, else under Triton's interpreter (in a process of its own: Triton reads
TRITON_INTERPRET when it is imported). What is compiled for a GPU can be looked at without one.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from validator.exact import exact, functions, kernels, scaling, sums
from validator.exact.errors import NonFinite
from validator.exact.kernels import cuda
from validator.exact.random import Stream
from validator.exact.rules import activations, compound

_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
_HERE = torch.device("cuda:0" if torch.cuda.is_available() and not _INTERPRETED else "cpu")
_WHY_NOT = cuda.unusable(_HERE)

on_device = pytest.mark.skipif(_WHY_NOT is not None, reason=f"no GPU, and not interpreted: {_WHY_NOT}")
with_compiler = pytest.mark.skipif(
    find_spec("triton") is None or _INTERPRETED, reason="Triton's compiler is not installed, or its interpreter is on"
)
without_gpu = pytest.mark.skipif(
    find_spec("triton") is None or _WHY_NOT is None, reason="Triton is not installed, or the kernels run right here"
)
# Infinities and NaN are among the inputs, and where a kernel computes both ways and selects.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton.*")
both = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def _drawn(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    stream = Stream(b"triton", name)
    return (stream.normal(shape).double() + stream.normal(shape).double() * 2.0**-24).to(dtype)


def _same(path: str, eager: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, Any]:
    """The kernel gives what the eager code gives on the CPU, and does not decline. Both results, to ask more of."""
    from validator.exact.kernels.cuda import known

    kernel = cuda._function(path)
    assert kernel is not None
    found = kernel(*(a.to(_HERE) if isinstance(a, Tensor) else a for a in arguments), **options)
    with kernels.reference():
        expected = eager(*arguments, **options)
    assert known.difference(found, expected) is None
    return found, expected


# Known answers


@on_device
def test_check__every_kernel_in_both_precisions__finds_nothing() -> None:
    assert cuda.check(_HERE) == []


@on_device
def test_kernel__one_that_gives_another_bit__is_not_used_and_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    from validator.exact.kernels.cuda import known, pointwise

    right = pointwise.exp
    monkeypatch.setattr(known, "paths", lambda dtype: ["pointwise.exp", "pointwise.log"])
    monkeypatch.setattr(pointwise, "exp", lambda x: torch.nextafter(right(x), torch.zeros_like(x)))
    with pytest.warns(UserWarning, match=r"pointwise\.exp is not used for torch\.float32.*element 0: expected 0x"):
        assert cuda.kernel.__wrapped__("pointwise.exp", torch.float32, _HERE) is None
    assert [line.split(":")[0] for line in cuda.check(_HERE)] == [
        "pointwise.exp torch.float32",
        "pointwise.exp torch.float64",
    ]


@on_device
def test_kernel__one_that_cannot_be_built__is_not_used_and_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    from validator.exact.kernels.cuda import rows

    def broken(*arguments: object, **constants: object) -> None:
        raise RuntimeError("no C compiler")

    monkeypatch.setattr(rows, "launch", broken)
    with pytest.warns(UserWarning, match="RuntimeError: no C compiler"):
        assert cuda.kernel.__wrapped__("rows.softmax", torch.float32, _HERE) is None


# Where no kernel may run


def test_unusable__triton_is_missing__says_so_and_finds_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: None)
    device = torch.device("cuda", 0)
    assert cuda.unusable(device) == "triton is not installed"
    with pytest.warns(
        UserWarning, match="no fused kernels run on cuda:0: triton is not installed; the eager code does"
    ):
        assert not cuda._usable.__wrapped__(device)
    assert cuda.check(device) == []


def test_unusable__triton_is_old__names_the_release_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(cuda, "version", lambda name: "3.2.0")
    assert cuda.unusable(torch.device("cuda", 0)) == "triton 3.2.0 is older than 3.6"


def test_unusable__an_old_device__names_its_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert cuda._unfit(torch.device("cuda", 0)) == "compute capability 7.5 is below 8.0"


def test_function__a_kernel_that_only_the_cpu_has__is_none() -> None:
    assert cuda._function("slots.accumulate") is None


# The seam


@pytest.fixture
def chosen() -> Iterator[Tensor]:
    """A tensor that the kernels of this room are chosen for."""
    x = _drawn("seam", (4, 50), torch.float32).to(_HERE)
    with kernels.interpreted():
        yield x


@on_device
def test_find__a_tensor_on_the_device__gives_the_triton_kernel(chosen: Tensor) -> None:
    from validator.exact.kernels.cuda import grids

    assert kernels.find("grids.snap", chosen) is grids.snap


@on_device
def test_find__inside_reference__gives_none(chosen: Tensor) -> None:
    with kernels.reference():
        assert kernels.find("grids.snap", chosen) is None


@on_device
def test_find__integers_or_nothing__gives_none(chosen: Tensor) -> None:
    assert kernels.find("grids.snap", chosen.long()) is None
    assert kernels.find("grids.snap", chosen[:0]) is None


@on_device
def test_fused__an_operator_on_the_device__runs_the_kernel(chosen: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    from validator.exact.kernels.cuda import grids

    calls = []
    launch = grids.launch
    assert kernels.find("grids.total", chosen) is grids.total
    monkeypatch.setattr(grids, "launch", lambda *a, **c: (calls.append(a), launch(*a, **c)))
    fused = sums.total(chosen, (1,), False, "aten.sum")
    assert len(calls) == 3
    with kernels.reference():
        assert torch.equal(fused, sums.total(chosen, (1,), False, "aten.sum"))


@on_device
@both
def test_exact__a_network_forward_and_backward__same_bits(chosen: Tensor, dtype: torch.dtype) -> None:
    weights = [
        _drawn(f"weight {i}", shape, dtype).to(_HERE) for i, shape in enumerate(((30, 50), (30,), (30,), (7, 30)))
    ]
    x, target = chosen.to(dtype), torch.tensor([3, 0, 6, 3], device=_HERE)

    def step() -> list[Tensor]:
        first, scale, shift, last = leaves = [w.clone().requires_grad_() for w in weights]
        with exact():
            hidden = F.gelu(F.layer_norm(F.linear(x, first), (30,), scale, shift))
            loss = F.cross_entropy(F.linear(hidden, last), target)
            return [loss.detach(), *torch.autograd.grad(loss, leaves)]

    fused = step()
    with kernels.reference():
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(fused, step(), strict=True))


# Shapes, strides, magnitudes

_SHAPES = [(1, 1), (1, 16389), (3, 2047), (70, 65), (2049, 3), (2, 1, 33)]


@on_device
@both
@pytest.mark.parametrize("shape", _SHAPES, ids=str)
def test_snap_and_total__shapes_and_dimensions__same_bits(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = _drawn(f"grids {shape}", shape, dtype)
    for count in (1, len(shape)):
        for dims in itertools.combinations(range(len(shape)), count):
            n = sums.count(shape, dims)
            _same("grids.snap", scaling._one_slice, x, dims, 21, "op")
            _same("grids.total", sums._total, x, dims, False, sums.sum_bits(n), dtype == torch.float64, "op")


@on_device
@both
def test_snap_and_total__strided_inputs__same_bits(dtype: torch.dtype) -> None:
    x = _drawn("strided", (4, 40, 6), dtype)
    views = [x.transpose(0, 2), x[:, ::3], x[::2, :, 1:], x[0, :, :1].expand(40, 7), x.permute(1, 2, 0), x[..., 5]]
    for view in views:
        for d in range(view.dim()):
            _same("grids.snap", scaling._one_slice, view, (d,), 23, "op")
            _same("grids.total", sums._total, view, (d,), True, 40, True, "op")


@on_device
@pytest.mark.parametrize(
    ("dtype", "exponents"),
    [(torch.float32, (-149, -126, 0, 126)), (torch.float64, (-1074, -1022, -401, -400, 0, 399))],
    ids=["float32", "float64"],
)
def test_snap_and_total__magnitudes_to_the_ends__same_bits(dtype: torch.dtype, exponents: tuple[int, ...]) -> None:
    x = Stream(b"triton", "magnitudes").uniform((2, 90)).to(dtype)
    for exponent in exponents:
        # In two steps: 2^-1074 times a number below one half would be zero at once.
        sized = (x * 2.0 ** (exponent // 2)) * 2.0 ** (exponent - exponent // 2)
        mixed = torch.cat([sized, x, torch.zeros_like(x), -sized], 1)
        for each in (sized, mixed):
            _same("grids.snap", scaling._one_slice, each, (1,), 25, "op")
            _same("grids.total", sums._total, each, (1,), False, 44, True, "op")


@on_device
@both
@pytest.mark.parametrize("n", [1, 2, 31, 2048, 2049, 5000])
def test_rows__lengths_around_a_block__same_bits(n: int, dtype: torch.dtype) -> None:
    x, g = _drawn(f"row {n}", (2, n), dtype) * 5, _drawn(f"grad {n}", (2, n), dtype)
    _same("rows.softmax", compound.softmax, x, 1, False)
    _same("rows.log_softmax", compound.log_softmax, x, -1, False)
    _same("rows.logsumexp", compound.logsumexp, x, [1])
    _same("rows.softmax_backward", compound.softmax_backward, g, x, 1, dtype)
    _same("rows.log_softmax_backward", compound.log_softmax_backward, g, x, 1, dtype)
    _same("norms.layer_norm", compound.layer_norm, x, (n,), g[0], g[1], 1e-5)


@on_device
@both
def test_rows__huge_and_tiny_elements__same_bits(dtype: torch.dtype) -> None:
    x = _drawn("rows", (4, 30), dtype) * torch.tensor([[1e-30], [1e-4], [300.0], [1e30]], dtype=dtype)
    x[1, ::3] = -math.inf
    _same("rows.softmax", compound.softmax, x, 1, False)
    _same("rows.logsumexp", compound.logsumexp, x, [1], True)
    _same("norms.layer_norm", compound.layer_norm, x.clamp(min=-1e30), (30,), None, None, 1e-12)


@on_device
@both
def test_elements__layouts_with_and_without_gaps__same_bits_and_strides(dtype: torch.dtype) -> None:
    x = _drawn("elements", (6, 40, 10), dtype)
    for view in (x, x.transpose(0, 2), x[:, ::3], x[0, 0, 0], x[1:, :, 2:9].permute(2, 0, 1)):
        tanh = activations.rounded(functions.tanh) if dtype == torch.float32 else functions.tanh
        other = view.contiguous()
        for found, expected in (
            _same("pointwise.tanh", tanh, view),
            _same("activations.gelu", activations.gelu, view, approximate="none"),
            _same("activations.silu_backward", activations.silu_backward, other, view),
            _same("activations.gelu_backward", activations.gelu_backward, view, other, approximate="tanh"),
        ):
            assert found.stride() == expected.stride()


# Refusals


@on_device
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan, 2.0**400])
def test_sums_and_rows__a_number_beyond_the_range__are_refused(bad: float) -> None:
    x = torch.ones((3, 5000), dtype=torch.float64)
    x[1, 4321] = bad
    x = x.to(_HERE)
    from validator.exact.kernels.cuda import grids, norms, rows

    with pytest.raises(NonFinite, match=r"aten\.one"):
        grids.snap(x, (1,), 21, "aten.one")
    with pytest.raises(NonFinite, match=r"aten\.two"):
        grids.total(x, (0,), False, 40, False, "aten.two")
    with pytest.raises(NonFinite, match="layer_norm"):
        norms.layer_norm(x, (5000,), None, None, 1e-5)
    with pytest.raises(NonFinite, match="log_softmax_backward"):
        rows.log_softmax_backward(x, torch.zeros_like(x), 1, x.dtype)


@on_device
@pytest.mark.parametrize("bad", [math.inf, math.nan, -math.nan])
def test_softmax__infinity_or_nan_in_a_row__is_refused(bad: float) -> None:
    from validator.exact.kernels.cuda import rows

    x = torch.zeros((3, 70))
    x[2, 69] = bad
    with pytest.raises(NonFinite, match="softmax"):
        rows.softmax(x.to(_HERE), 1, False)


# What is compiled

_FORBIDDEN = re.compile(
    r"\bfma|\bmad\.\S*f(32|64)|\.ftz|\.approx|div\.full|\b(sqrt|div)\.f|\b(add|sub|mul)\.f(32|64)|\b(ex2|lg2|sin|cos|tanh)\."
)
"""Contraction, flushed denormals, approximations, and operations without an explicit rounding, which ptxas may fuse."""


@pytest.fixture(scope="module")
def compiled() -> dict[str, str]:
    """PTX by kernel, dtypes, constants and device: all that the known answers run, for sm_80 and sm_90."""
    from validator.exact.kernels.cuda import activations, grids, known, pointwise, rows

    found: dict[str, str] = {}

    def launch(kernel: Any, programs: int, width: int, /, *arguments: Tensor | int, **constants: Any) -> None:
        for capability in (80, 90):
            name = f"{kernel.__name__} {_signature(kernel, arguments)} {_essence(constants)} sm_{capability}"
            if name not in found:
                found[name] = _ptx(kernel, arguments, constants, capability)

    with pytest.MonkeyPatch.context() as patch:
        for module in (activations, grids, pointwise, rows):
            patch.setattr(module, "launch", launch)
        for dtype in (torch.float32, torch.float64):
            for path in known.paths(dtype):
                function = cuda._function(path)
                assert function is not None
                for call in known._calls(dtype)[path]:
                    function(*call.arguments, **call.options)
    return found


def _signature(kernel: Any, arguments: tuple[Tensor | int, ...]) -> dict[str, str]:
    types = {torch.float32: "*fp32", torch.float64: "*fp64", torch.int64: "*i64", torch.int32: "*i32"}
    return {
        name: types[a.dtype] if isinstance(a, Tensor) else "i64" if a >> 31 else "i32"
        for name, a in zip(kernel.arg_names, arguments, strict=False)
    }


def _essence(constants: dict[str, Any]) -> dict[str, Any]:
    """Without the sizes of blocks and tiles, which repeat the same code."""
    return {name: value for name, value in constants.items() if name not in ("block", "length", "width", "tiles")}


def _ptx(kernel: Any, arguments: tuple[Tensor | int, ...], constants: dict[str, Any], capability: int) -> str:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = _signature(kernel, arguments) | dict.fromkeys(constants, "constexpr")
    source = ASTSource(fn=kernel, signature=types, constexprs=constants)
    options = {"enable_fp_fusion": False}
    text: str = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm["ptx"]
    lines = text.split(".section")[0].splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(("//", ".loc", ".file")))


@with_compiler
def test_ptx__every_kernel__has_no_fused_flushed_or_approximate_operation(compiled: dict[str, str]) -> None:
    assert len(compiled) > 150
    assert {name: found.group() for name, text in compiled.items() if (found := _FORBIDDEN.search(text))} == {}


@with_compiler
def test_ptx__the_divisions_and_roots_there_are__are_correctly_rounded(compiled: dict[str, str]) -> None:
    used = set(re.findall(r"\b(?:div|sqrt)\.\S*f\S*", "\n".join(compiled.values())))
    assert used == {"div.rn.f64", "sqrt.rn.f64"}


@with_compiler
def test_ptx__constants_of_the_functions__have_all_their_bits(compiled: dict[str, str]) -> None:
    f = functions
    expected = {
        *f._EXP, *f._LOG, *f._ERFCX, *f._ERF, *f._SIN, *f._COS, *f._PI_HALF, f._LOG2_E, f._LN2_HIGH, f._LN2_LOW,
        f._TWO_PI, f._SQRT_HALF, activations._GELU_CUBIC, 3 * activations._GELU_CUBIC,
        activations._INVERSE_SQRT_TWO_PI, activations._TWO_SQRT_TWO_OVER_PI, 54 * f._LN2, 0.3,
    }  # fmt: skip
    patterns = {abs(value): f"{struct.unpack('>Q', struct.pack('>d', value))[0]:016X}" for value in expected}
    negated = {abs(value): f"{struct.unpack('>Q', struct.pack('>d', -value))[0]:016X}" for value in expected}
    present = set(re.findall(r"0d([0-9A-F]{16})", "\n".join(compiled.values())))
    assert [v for v, p in patterns.items() if p not in present and negated[v] not in present] == []


@without_gpu
def test_this_file__under_tritons_interpreter__passes() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__))]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
