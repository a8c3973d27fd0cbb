"""The rules of a round as pure functions: no clock, socket, disk or key. The daemon and auditors share every line."""

from __future__ import annotations

from validator.rounds.types import VERSION, Carry, Opened, Status, Submission, Terms

__all__ = ["VERSION", "Carry", "Opened", "Status", "Submission", "Terms"]
