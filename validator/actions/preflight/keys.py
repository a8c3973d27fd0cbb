"""What this home can sign with, and what it has signed."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from validator.actions.home import ACCOUNT, HPKE, PROTECTION, SIGNING, account, attester, hpke_secret
from validator.actions.preflight.line import Line, failed, passed, warned
from validator.chain.remote_signer import RemoteSigner
from validator.chain.signer import Signer
from validator.chain.types import Deployment
from validator.envelope import public_key
from validator.journal.interchange import UNKNOWN
from validator.journal.protection import inspect
from validator.rounds.lifecycle import Fact
from validator.settings import Settings
from validator.stages.history import ours


@dataclass(slots=True)
class Keys:
    """What `keys` found, for the questions after it. `hpke_secret`: 32 bytes."""

    account: Signer | None = None
    attester: Signer | None = None
    hpke_secret: bytes = b""

    @property
    def operator(self) -> str:
        """The account's address; "" if it cannot be read."""
        return self.account.address if self.account is not None else ""


def keys(settings: Settings, found: Keys) -> Iterator[Line]:
    """Whether the keys can be read, and a remote signer answers with the right one."""
    found.account = account(settings)
    found.attester = attester(settings, found.account)
    for name, signer in (("account key", found.account), ("signing key", found.attester)):
        if name == "signing key" and signer.address == found.account.address:
            continue
        where = "keystore"
        if isinstance(signer, RemoteSigner):
            signer.check()
            where = f"remote signer {signer.name}"
        yield passed(name, f"{signer.address} ({where})")
    found.hpke_secret = hpke_secret(settings)
    yield passed("HPKE key", "0x" + public_key(found.hpke_secret).hex())


def modes(settings: Settings) -> Iterator[Line]:
    """Whether others on this machine can read what is secret."""
    files = [settings.path(name) for name in (ACCOUNT, SIGNING, HPKE, PROTECTION)]
    files += [file for file in (settings.password_path(), settings.signer_token_file) if file is not None]
    open_ = [file for file in files if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077]
    if open_:
        listed = ", ".join(map(str, open_))
        yield warned("file modes", f"others may read or write {listed}", f"chmod 600 {' '.join(map(str, open_))}")
    else:
        yield passed("file modes", "keys and signing history are this user's alone")


def protection(path: Path, keys: Keys, deployment: Deployment | None, facts: list[Fact]) -> Iterator[Line]:
    """Whether the signing history is sound, and knows all that the chain shows this operator signed."""
    if not path.exists():
        cure = "`validator keys protection-import` it, `protection-rebuild` it, or `protection-create` for a new key"
        yield failed("signing history", f"{path} is missing", cure)
        return
    rows = dict(inspect(path))
    blocked = sum(digest == UNKNOWN for digest in rows.values())
    yield passed("signing history", f"sound: {len(rows)} entries" + (f", {blocked} of them blocked" if blocked else ""))
    if deployment is None or not keys.operator:
        return
    shown = list(ours(deployment, keys.operator, facts))
    lacking = [slot for slot, digest in shown if rows.get(slot.lowered()) not in (digest, UNKNOWN)]
    if lacking:
        words = f"the chain shows {len(lacking)} attestations that it does not know, first round {lacking[0].round}"
        cure = "stop the node; import the history of the machine that signed, or `validator keys protection-rebuild`"
        yield failed("signing history and chain", words, cure)
    else:
        yield passed("signing history and chain", f"it knows all {len(shown)} attestations that the chain shows")
