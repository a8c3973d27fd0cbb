"""What the fork server imports, so that no process of a campaign waits for it: the program, its kernels compiled."""

from __future__ import annotations

import gc

import torch

import tests.faults.victim  # noqa: F401 - imports the program
from validator.exact.conformance.check import self_test

torch.set_num_threads(1)
self_test(quick=True)
gc.freeze()
