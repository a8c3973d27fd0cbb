"""From the text of a setting to a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from validator.content.errors import BadStore
from validator.content.gateway import GatewaySource
from validator.content.http import Patience
from validator.content.kubo import Auth, KuboStore
from validator.content.layered import LayeredStore
from validator.content.local import LocalStore
from validator.content.store import ContentSource, Store


def open_store(spec: str, *, auth: Auth | None = None, patience: Patience | None = None) -> Store:
    """A store by its address: `local:PATH`, `kubo:URL`, `gateway:URL`, or several with commas, tried in that order.

    `auth` goes to every Kubo RPC named, and nowhere else. Raises BadStore with what to write instead.
    """
    makers: dict[str, Callable[[str], ContentSource]] = {
        "local": lambda rest: LocalStore(Path(rest).expanduser()),
        "kubo": lambda rest: KuboStore(rest, auth, patience),
        "gateway": lambda rest: GatewaySource(rest, patience),
    }
    sources: list[ContentSource] = []
    for part in spec.split(","):
        kind, _, rest = part.strip().partition(":")
        if kind not in makers or not rest:
            raise BadStore("a content address is local:PATH, kubo:URL or gateway:URL, several separated by commas")
        sources.append(makers[kind](rest))
    if len(sources) == 1 and isinstance(sources[0], LocalStore | KuboStore):
        return sources[0]
    return LayeredStore(sources)
