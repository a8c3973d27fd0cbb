"""What a node must not forget: finalised events, its own steps, its transactions, and what it has signed."""

from __future__ import annotations

from validator.journal.database import Journal, JournalError
from validator.journal.protection import ProtectionError, SigningProtection

__all__ = ["Journal", "JournalError", "ProtectionError", "SigningProtection"]
