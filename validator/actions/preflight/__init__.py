"""`validator check`: is this home ready to validate? A list of small questions, each answered with pass, warn or fail.

Nothing is changed but for a small file that is put into the content store, and no lock of a running node is taken, so
that it can be asked at any time.
"""

from __future__ import annotations

from validator.actions.preflight.line import Line, State
from validator.actions.preflight.run import preflight

__all__ = ["Line", "State", "preflight"]
