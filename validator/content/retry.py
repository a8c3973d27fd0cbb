"""The one retry policy of this room: whole blocks, few tries, full jitter."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from validator.content.block import Block
from validator.content.errors import FetchError

_BASE_SECONDS = 0.25
_sleep = time.sleep


def with_tries(fetch: Callable[[], Block], tries: int, sleep: Callable[[float], None] = _sleep) -> Block:
    """Call `fetch` up to `tries` times while the transport fails. Lies, absences and sizes are not retried.

    Waits a random time up to 0.25 s, 0.5 s, ... ("full jitter"), so that many nodes do not come back together.
    """
    for attempt in range(tries - 1):
        try:
            return fetch()
        except FetchError:
            sleep(random.uniform(0, _BASE_SECONDS * 2**attempt))  # noqa: S311 - jitter, not a secret
    return fetch()
