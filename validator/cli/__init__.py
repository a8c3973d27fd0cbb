"""The command `validator`: words and tables around what the rooms do. Heavy imports wait until a command needs them."""

from __future__ import annotations

from validator.cli.app import main

__all__ = ["main"]
