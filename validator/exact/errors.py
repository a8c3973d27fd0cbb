"""What exact arithmetic says when it will not go on. This room imports nothing of ours, so its base is its own."""

from __future__ import annotations


class ExactError(RuntimeError):
    """The computation cannot be made to give the same bits on every device. The message says what to change.

    `where`, when known, is the module whose code asked for it ("layers.3.attn (SelfAttention)"), or the node of the
    backward pass ("the backward of ProdBackward0"); it ends the message.
    """

    where: str | None = None

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.where is None else f"{message} [in {self.where}]"


class UnsupportedOp(ExactError):
    """An operator outside the table, or a form of it that has no exact rule. `op` is its aten name."""

    def __init__(self, op: str, why: str = "it has no exact rule") -> None:
        super().__init__(f"{op} is refused under exact(): {why}")
        self.op = op


class NonFinite(ExactError):
    """An operator met infinity, NaN, or a magnitude beyond its range. `op` is its aten name."""

    def __init__(
        self, op: str, why: str = "an operand holds infinity or NaN; lower the learning rate or check the data"
    ) -> None:
        super().__init__(f"{op}: {why}")
        self.op = op
