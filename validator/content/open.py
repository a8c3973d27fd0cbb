"""From the text of a setting to a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from validator.content.errors import BadStore
from validator.content.gateway import GatewaySource
from validator.content.http import Patience
from validator.content.kubo import Auth, KuboStore
from validator.content.layered import LayeredStore
from validator.content.local import DEFAULT_QUOTA, LocalStore
from validator.content.store import ContentSource

_CREDENTIAL_BYTES = 4096


def open_store(
    spec: str, *, auth: Auth | None = None, patience: Patience | None = None, quota: int = DEFAULT_QUOTA
) -> LayeredStore:
    """A store by its address: `local:PATH`, `kubo:URL`, `gateway:URL`, or several with commas, tried in that order.

    `auth` goes to every Kubo RPC named, and nowhere else. `quota`: bytes that an embedded store may hold. Raises
    BadStore with what to write instead.
    """
    makers: dict[str, Callable[[str], ContentSource]] = {
        "local": lambda rest: LocalStore(Path(rest).expanduser(), quota),
        "kubo": lambda rest: KuboStore(rest, auth, patience),
        "gateway": lambda rest: GatewaySource(rest, patience),
    }
    sources: list[ContentSource] = []
    for part in spec.split(","):
        kind, _, rest = part.strip().partition(":")
        if kind not in makers or not rest:
            raise BadStore("a content address is local:PATH, kubo:URL or gateway:URL, several separated by commas")
        sources.append(makers[kind](rest))
    return LayeredStore(sources)


def read_credentials(path: Path) -> Auth:
    """Credentials for a Kubo RPC from a file of one line, as Kubo writes them: `bearer:TOKEN` or `basic:USER:PASSWORD`.

    Raises BadStore without repeating any of it.
    """
    try:
        with path.open("rb") as file:
            line = file.read(_CREDENTIAL_BYTES).decode("ascii").strip()
    except OSError as error:
        raise BadStore(f"credentials file {path}: {error.strerror}; set VALIDATOR_KUBO_AUTH_FILE") from None
    except UnicodeDecodeError:
        line = ""
    kind, _, rest = line.partition(":")
    user, separator, password = rest.partition(":")
    if kind == "bearer" and rest.isprintable() and rest and " " not in rest:
        return rest
    if kind == "basic" and separator and user and line.isprintable():
        return user, password
    raise BadStore(f"credentials file {path}: one line is expected, bearer:TOKEN or basic:USER:PASSWORD")
