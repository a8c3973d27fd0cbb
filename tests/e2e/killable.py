"""`validator`, but the process kills itself with SIGKILL at a named point. Usage: killable.py POINT LEDGER ARGUMENTS...

POINT is WHEN:WHAT:KEY, for example `after:signed:` or `before:step:scored`. What is watched is the program's own list
of steps (journal, signing protection, transaction log, broadcast, signature), wrapped from outside: the program holds
no hook for tests. Every signature over an attestation is written to LEDGER, durably and before it is handed on, so that
a test can count them.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from validator.chain.sender import Sender
from validator.chain.signer import LocalSigner
from validator.cli import main
from validator.content import LocalStore
from validator.journal import Journal, SigningProtection
from validator.stages.transaction_log import JournalledTransactions

WHEN, WHAT, KEY = sys.argv[1].split(":")
LEDGER = sys.argv[2]


def strike(when: str, what: str, key: str) -> None:
    if (when, what) == (WHEN, WHAT) and key.startswith(KEY):
        os.kill(os.getpid(), signal.SIGKILL)


def watch(owner: type, method: str, what: str, key_of: Callable[..., str]) -> None:
    original = getattr(owner, method)

    @functools.wraps(original)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        key = key_of(*args, **kwargs)
        strike("before", what, key)
        result = original(self, *args, **kwargs)
        strike("after", what, key)
        return result

    setattr(owner, method, watched)


def sign_and_record(self: Any, data: Any) -> bytes:
    strike("before", "signed", "")
    with Path(LEDGER).open("a") as file:
        file.write(f"{data.message['round']} {data.message['attempt']} {data.digest.hex()}\n")
        file.flush()
        os.fsync(file.fileno())
    signature = sign(self, data)
    strike("after", "signed", "")
    return signature


sign = LocalSigner.sign_typed_data
LocalSigner.sign_typed_data = sign_and_record  # type: ignore[method-assign]
watch(Journal, "take_step", "step", lambda round_, attempt, step, data: step)
watch(Journal, "record", "events", lambda events, mark: "")
watch(Journal, "set_content", "content", lambda digest, codec, size, state, *rest: state)
watch(SigningProtection, "register", "protected", lambda slot, digest: "")
watch(JournalledTransactions, "prepare", "prepared", lambda intent: intent.key)
watch(JournalledTransactions, "settled", "settled", lambda intent, *rest: intent.key)
watch(Sender, "send", "sent", lambda call, intent, *rest: intent)
watch(LocalStore, "put", "stored", lambda data: "")

sys.argv = ["validator", *sys.argv[3:]]
main()
