"""How far apart two processors are: the seconds that a line of memory takes from one to the other and back.

Where both share a cache that is some 60 ns, else several times as much. A virtual machine's two may be either, and from
one moment to the next the other, without a word from the system; what they write for each other then costs as much as
memory does, so that ratios of one table are of two machines.
"""

from __future__ import annotations

import os
import threading
import time

import numpy as np
from llvmlite import ir
from numba.core import types

from validator.exact.kernels.build import Code, Scalar, kernel, primitive

ROUNDS, TRIES = 10_000, 5
PATIENCE = 1 << 22
"""Looks in vain after which a round is given up: the other one has no processor."""


def _pointer(builder: Code, address: Code) -> Code:
    return builder.inttoptr(address, ir.PointerType(ir.IntType(64)))


@primitive
def _seen(typing: Code, address: Code) -> Code:
    def code(context: Code, builder: Code, signature: Code, args: Code) -> Code:
        return builder.load_atomic(_pointer(builder, args[0]), "acquire", 8)

    return types.int64(types.int64), code


@primitive
def _say(typing: Code, address: Code, value: Code) -> Code:
    def code(context: Code, builder: Code, signature: Code, args: Code) -> Code:
        builder.store_atomic(args[1], _pointer(builder, args[0]), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@kernel
def _play(flag: Scalar, first: Scalar, rounds: Scalar) -> bool:
    """Say 1 to a 0, 2 to a 1 and so on, in turns with another thread; whether it answered to the end."""
    for number in range(first, 2 * rounds, 2):
        looks = 0
        while _seen(flag) != number:
            looks += 1
            if looks > PATIENCE:
                return False
        _say(flag, np.int64(number + 1))
    return True


def round_trip() -> float | None:
    """Between the first two processors that this process may use; None if there is one, or others used them."""
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:
        return None
    _play(np.zeros(1, np.int64).ctypes.data, 0, 0)  # compiled before anybody waits
    return min((one for _ in range(TRIES) if (one := _measured(mine[0], mine[1])) is not None), default=None)


def _measured(here: int, there: int) -> float | None:
    flag, mine, answered = np.zeros(64, np.int64), os.sched_getaffinity(0), []
    address = flag.ctypes.data + 256

    def other() -> None:
        os.sched_setaffinity(0, {there})
        answered.append(_play(address, 1, ROUNDS))

    partner = threading.Thread(target=other)
    os.sched_setaffinity(0, {here})
    try:
        partner.start()
        begun = time.perf_counter()
        answered.append(_play(address, 0, ROUNDS))
        taken = time.perf_counter() - begun
        partner.join()
    finally:
        os.sched_setaffinity(0, mine)
    return taken / ROUNDS if all(answered) else None


if __name__ == "__main__":
    found = round_trip()
    print("not measured" if found is None else f"{found * 1e9:.0f} ns")
