"""One method on one task in a process of its own, so that its memory and its time are its own.

Needs torch and nothing else of ours: peers run it in environments that do not know this project. A method is a
function that fits and returns another, which scores.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Given:
    """A task as the method sees it: float32 inputs (n, features), int64 targets, the network's `state` as torch names
    it in a Sequential of Flatten, Linear, ReLU, Linear, and the weight decay that it was trained with.
    """

    inputs: Tensor
    targets: Tensor
    query_inputs: Tensor
    query_targets: Tensor
    state: State
    decay: float
    params: dict[str, Any]


Score = Callable[[], Tensor]
Method = Callable[[Given], Score]
"""Scores are (records, queries), or (records, 1) of the mean objective: positive where the record helps."""


def given(path: str, flipped: bool, params: dict[str, Any]) -> Given:
    """Read a task; with `flipped`, its variant with wrong labels and the network that was trained on them."""
    found = torch.load(path, weights_only=True)
    return Given(
        found["inputs"],
        found["flipped_targets" if flipped else "targets"],
        found["query_inputs"],
        found["query_targets"],
        found["flipped_state" if flipped else "state"],
        found["weight_decay"],
        params,
    )


def network(state: State, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """The multilayer perceptron of a state, as any user of torch would write it."""
    weights = [w for name, w in state.items() if name.endswith("weight")]
    layers: list[nn.Module] = [nn.Flatten()]
    for i, w in enumerate(weights):
        layers += ([activation()] if i else []) + [nn.Linear(w.shape[1], w.shape[0])]
    module = nn.Sequential(*layers)
    module.load_state_dict(state)
    return module.eval()


def main(methods: Mapping[str, Method], warm: Method | None = None) -> None:
    """Run the named method, and write its values and what they cost; `warm` runs first on a few records, unmeasured:
    what is compiled once a machine is no cost of a method.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("method", choices=list(methods))
    parser.add_argument("task")
    parser.add_argument("out", type=Path)
    parser.add_argument("--params", type=json.loads, default={})
    parser.add_argument("--flipped", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    task = given(options.task, options.flipped, options.params)
    if warm is not None:
        few = replace(task, inputs=task.inputs[:20], targets=task.targets[:20])
        warm(replace(few, query_inputs=task.query_inputs[:4], query_targets=task.query_targets[:4]))()
    _forget_peak()
    start = _memory_mb("VmRSS")
    begun, cpu = time.perf_counter(), time.process_time()
    score = methods[options.method](task)
    fitted = time.perf_counter()
    values = score()
    done = time.perf_counter()
    cost = {
        "fit_s": fitted - begun,
        "score_s": done - fitted,
        "cpu_s": time.process_time() - cpu,
        "start_mb": start,
        "peak_mb": _memory_mb("VmHWM"),
    }
    torch.save({"values": values.detach().to(torch.float64), **cost}, options.out)


def _forget_peak() -> None:
    """What came before is no cost of the method. The kernel's own count of a child's peak would not do: it starts at
    its parent's size.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        print("the peak of memory includes the start of the process", file=sys.stderr)


def _memory_mb(what: str) -> float:
    """VmRSS, memory that the process holds now, or VmHWM, the most it held; the latter too where there is no /proc."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = next(line for line in status.read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    sys.exit("run influence_ours.py, influence_yardsticks.py or peers/run_NAME.py")
