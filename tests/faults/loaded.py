"""What the fork server imports, so that no process of a campaign waits for it: the program, its kernels and tables.

The self-test of the machine is one of the machine, not of a process: it is run here, and its report is every child's.
"""

from __future__ import annotations

import gc

import torch

import tests.faults.victim  # noqa: F401 - imports the program
import validator.daemon
from validator.chain.artifacts import CONTRACTS, load
from validator.exact.conformance.check import self_test

torch.set_num_threads(1)
REPORT = self_test(quick=True)
validator.daemon.self_test = lambda **_: REPORT  # type: ignore[assignment]
for contract in CONTRACTS:
    load(contract)
gc.freeze()
