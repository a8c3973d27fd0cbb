"""Other validators as sources: what an operator announced on chain, made into a source that can do no harm.

A peer is read like any trustless gateway, with less patience: there are many, and one of them has it or none has.
"""

from __future__ import annotations

from collections.abc import Callable

from validator.content.addresses import is_public, peer_url
from validator.content.gateway import GatewaySource
from validator.content.http import Patience

PATIENCE = Patience(connect=2.0, read=5.0, block=10.0, tries=1)


def peer_opener(*, private: bool, patience: Patience = PATIENCE) -> Callable[[str], GatewaySource]:
    """What opens an announced URL. `private`: also plain http, and addresses that are not public.

    What it returns raises BadStore for a URL that may not be used.
    """

    def open_peer(text: str) -> GatewaySource:
        url = peer_url(text, private=private).geturl()
        allowed = None if private else is_public
        return GatewaySource(url, patience, kind="peer", allowed=allowed, archives=False)

    return open_peer
