"""How a kernel is compiled: by numba, when first called, with IEEE semantics, and kept on disk.

The machine code is kept beside the sources, in a folder named by the digest of all of them: numba itself notices a
change of the file that holds a kernel, but not of one whose functions it inlines. Where that folder cannot be written
(a read-only installation), kernels are compiled anew in each process. Whoever can write there could as well change the
sources.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numba
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, register_jitable

F = TypeVar("F", bound=Callable[..., Any])

Array: TypeAlias = Any
"""A NumPy array inside a kernel, where numba knows its dtype and layout."""
Scalar: TypeAlias = Any
"""A number inside a kernel: numba keeps float32, float64, int32 and int64 apart, Python's annotations do not."""
Code: TypeAlias = Any
"""numba's and LLVM's objects for types and instructions."""

IEEE: dict[str, Any] = {"nogil": True, "fastmath": False, "error_model": "numpy"}
"""No reassociation, no contraction (see `fused`); a division by zero gives infinity, as it does in torch."""


inline: Callable[[F], F] = register_jitable(forceinline=True, fastmath=False, error_model="numpy")
"""Mark a scalar function for use inside kernels. Unlike a compiled one it pickles by its name, so that a kernel which a
factory made for one of many is found again on disk.
"""


class Kernel:
    """A function of NumPy arrays and numbers, compiled for the types of each first call. It releases the GIL."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        functools.update_wrapper(self, function)

    def __call__(self, *args: object) -> Scalar:
        """Run it."""
        return self.compiled(*args)

    @functools.cached_property
    def compiled(self) -> Code:
        """numba's dispatcher: `inspect_asm` and `signatures` are of use to tests."""
        return kept_on_disk(lambda cache: numba.njit(cache=cache, **IEEE)(self._function))

    def assembly(self) -> list[str]:
        """The machine code for each combination of types so far, for tests."""
        return list(self.compiled.inspect_asm().values())


def kernel(function: Callable[..., Any]) -> Kernel:
    """Mark a function as a kernel."""
    return Kernel(function)


def kept_on_disk(compiler: Callable[[bool], Code]) -> Code:
    """What `compiler` gives, told whether numba may keep it on disk, which it then does in the folder of this state of
    the sources.
    """
    folder = _folder()
    if folder is None:
        return compiler(False)
    config: Any = numba.config
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
    try:
        return compiler(True)
    finally:
        config.CACHE_DIR = before


@functools.cache
def _folder() -> Path | None:
    """Beside the sources; where those cannot be written to, in numba's own NUMBA_CACHE_DIR, if it is ours alone: what
    lies there is run.
    """
    here = Path(__file__).parent
    state = hashlib.sha256()
    for source in sorted(here.parent.rglob("*.py")):  # kernels take their constants from the eager code
        state.update(source.read_bytes())
    config: Any = numba.config
    for place in (here / "__pycache__", *([Path(config.CACHE_DIR)] if config.CACHE_DIR else [])):
        folder = place / f"kernels-{state.hexdigest()[:16]}"
        try:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK) and (place.parent == here or all(map(_is_ours, (place, folder)))):
            return folder
    return None


def _is_ours(folder: Path) -> bool:
    seen = folder.stat()
    return seen.st_uid == os.geteuid() and not seen.st_mode & 0o022


def primitive(function: Callable[..., Any]) -> Callable[..., Any]:
    """numba's `intrinsic`: a function of (typing context, type) that gives a signature and makes LLVM code."""
    made: Callable[..., Any] = intrinsic(function)
    return made


@primitive
def fused(typing: Code, a: Code, b: Code, c: Code) -> Code:
    """a * b + c, of one type of floating point, in one instruction where the processor has it: then it is rounded once,
    else twice.

    The only way to such an instruction, and only for operands with which both give the same result, or results that
    stand for the same: where the product is exact, or a bound leaves room for the difference. Each use says which.
    """

    def code(context: Code, builder: Code, signature: Code, args: Code) -> Code:
        return builder.fma(*args) if fuses(context) else builder.fadd(builder.fmul(args[0], args[1]), args[2])

    return a(a, b, c), code


def fuses(context: Code) -> bool:
    """Whether code is made for a processor that has a fused multiply-add. For code that `fused` cannot make, under the
    same condition.
    """
    return context.codegen().magic_tuple()[0].startswith(("aarch64", "arm64")) or has(context, "fma")


def has(context: Code, feature: str) -> bool:
    """Whether code is made for a processor that has `feature`, by LLVM's name. What this asks is what numba tells the
    code that it keeps on disk apart by.
    """
    return f"+{feature}" in context.codegen().magic_tuple()[2].split(",")


def _reinterpret(source: Code, target: Code, of: Callable[[], Code]) -> Code:
    def code(context: Code, builder: Code, signature: Code, args: Code) -> Code:
        return builder.bitcast(args[0], of())

    return target(source), code


@primitive
def bits(typing: Code, value: Code) -> Code:
    """The 64 bits of a float64 as an int64."""
    return _reinterpret(types.float64, types.int64, lambda: ir.IntType(64))


@primitive
def from_bits(typing: Code, value: Code) -> Code:
    """The float64 that has these 64 bits."""
    return _reinterpret(types.int64, types.float64, ir.DoubleType)


@primitive
def bits32(typing: Code, value: Code) -> Code:
    """The 32 bits of a float32 as an int32."""
    return _reinterpret(types.float32, types.int32, lambda: ir.IntType(32))
