"""A world around the smallest model that can be scored, so that what is tested is the node and not the arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from tests.support import CLEAN, World
from validator.exact.random import Stream
from validator.influence.models import build, dump_weights, initialise
from validator.payload import encode_safetensors

MODEL: dict[str, int | str | list[int]] = {"inputs": 2, "hidden": [4], "classes": 2, "activation": "relu"}

MANIFEST = """\
name = "tiny"

[model]
family = "mlp"
config = {{ inputs = 2, hidden = [4], classes = 2, activation = "relu" }}

[estimator]
{estimator}

[payload]
format = "safetensors"
dtype = "float32"
shape = [2]
minimum = "-9"
maximum = "9"
classes = 2

[limits]
envelope_bytes = 4096
min_records = 1
max_records = 64

[scoring]
objective = "expected_error"
kappa_milli = 0
floor = 0
contribution_cap = 1000000000
memory_records = 256

[rewards]
full_pool_score = 1
contributor_cap_bps = 10000
"""

RESPONSE = """\
name = "response"

[estimator.params]
epochs = 4
batch = 8
rows = 4
replicas = 2
settle = 1
"""

FIRST = """\
name = "classical"

[estimator.params]
iterations = 1
folds = 2
"""
"""What ten thousand contributions can be judged by in reasonable time."""


class TinyWorld(World):
    """Records are two numbers; the sign of the first is the class."""

    options: ClassVar[dict[str, str | int | float]] = {"poll_seconds": 0.1, "stagger_seconds": 0.0}
    estimator: ClassVar[str] = RESPONSE

    def write_dao(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.toml").write_text(MANIFEST.format(estimator=self.estimator))
        model = build("mlp", MODEL)
        initialise(model, Stream(b"tiny", "model"))
        (folder / "weights.safetensors").write_bytes(dump_weights(model))
        rng = np.random.default_rng(7)
        for name, count in (("anchor", 8), ("queries", 32)):
            (folder / f"{name}.safetensors").write_bytes(encode_safetensors(*labelled(rng, count)))

    def payload(self, kind: str = CLEAN) -> bytes:
        inputs, targets = labelled(self._rng, 6)
        return encode_safetensors(inputs, targets if kind == CLEAN else 1 - targets)


def labelled(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` fresh records and their classes."""
    inputs = rng.normal(size=(count, 2)).astype(np.float32)
    return inputs, (inputs[:, 0] > 0).astype(np.int64)
