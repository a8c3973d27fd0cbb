"""The one base of every error that a person may read."""

from __future__ import annotations


class ValidatorError(Exception):
    """One line for the reader: what happened, to which id, and what to do about it.

    The command line prints the message and exits non-zero; a traceback means that something else, a bug, went wrong.
    """
