"""What exact arithmetic says when it will not go on. This room imports nothing of ours, so its base is its own."""

from __future__ import annotations


class ExactError(RuntimeError):
    """The computation cannot be made to give the same bits on every device. The message says what to change."""


class UnsupportedOp(ExactError):
    """An operator outside the table, or a form of it that has no exact rule. `op` is its aten name."""

    def __init__(self, op: str, why: str = "it has no exact rule") -> None:
        super().__init__(f"{op} is refused under exact(): {why}")
        self.op = op


class NonFinite(ExactError):
    """A product or a sum met infinity, NaN, or a magnitude beyond its range. `op` is its aten name."""

    def __init__(
        self, op: str, why: str = "an operand holds infinity or NaN; lower the learning rate or check the data"
    ) -> None:
        super().__init__(f"{op}: {why}")
        self.op = op
