"""Secrets out of everything that is said: logs, errors, health. One function, used by all of them.

What is known to be secret (tokens inside configured addresses) is replaced wherever it stands; what looks like a secret
is replaced too. Digests and addresses are public and stay readable. What is replaced becomes `***`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

HIDDEN = "***"
SHORTEST = 8
"""Letters: a known secret shorter than this would also hide innocent words, and is left to the patterns."""

_URL = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]{0,15}://)([^\s\"'<>|,;]+)")
_USER = re.compile(r"^[^/@]*@")
_QUERY = re.compile(
    r"([?&;][\w.-]{0,40}(?:key|token|secret|auth|pass|pwd|sig|cred|access)[\w.-]{0,40}=)[^&\s\"'#;]+", re.IGNORECASE
)
_HEADER = re.compile(r"(authorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?)(?:\w{1,16}\s+)?[^\s\"',}]+", re.IGNORECASE)
_BEARER = re.compile(r"\b(bearer\s+)[^\s\"',}]+", re.IGNORECASE)
_PRIVATE = re.compile(r"((?:private|secret)[ _-]?(?:key)?\W{0,6})(?:0x)?[0-9a-fA-F]{64}\b", re.IGNORECASE)
_PEM = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,30}-----|\Z)", re.DOTALL)
_NAME = re.compile(r"(password|passwd|secret|private_key|(^|_)token($|_)|authorization|mnemonic|credential)", re.I)
# A segment of a path that is a key: long, of one piece. What follows /ipfs/ or begins with 0x is public.
_KEY = re.compile(r"[A-Za-z0-9_~.-]{16,}")
_PUBLIC_AFTER = {"ipfs", "ipns"}


class Masker:
    """Replaces `secrets` and whatever looks like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Longest first: one secret may hold another.
        self._known = sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """`text` with every secret replaced."""
        for secret in self._known:
            text = text.replace(secret, HIDDEN)
        text = _PEM.sub(HIDDEN, text)
        text = _URL.sub(lambda found: found[1] + _place(found[2]), text)
        for pattern in (_QUERY, _HEADER, _BEARER, _PRIVATE):
            text = pattern.sub(lambda found: found[1] + HIDDEN, text)
        return text

    def value(self, name: str, value: Any) -> Any:  # noqa: ANN401 - whatever is logged
        """A logged value; all of it is replaced where its name says that it is a secret."""
        if _NAME.search(name):
            return HIDDEN
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.value(str(key), item) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.value("", item) for item in value]
        if value is None or isinstance(value, (bool, int, float)):
            return value
        return self.text(str(value))

    def processor(self) -> Callable[[Any, str, MutableMapping[str, Any]], MutableMapping[str, Any]]:
        """For structlog: the last step before an event is rendered."""

        def masked(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ANN401
            return {name: self.value(name, value) for name, value in event.items()}

        return masked


def secrets_in(address: str) -> set[str]:
    """What an address (or several, with commas) holds that may be a secret: user, password, keys in path or query."""
    found: set[str] = set()
    for part in address.split(","):
        try:
            url = urlsplit(part.strip().removeprefix("kubo:").removeprefix("gateway:"))
        except ValueError:
            continue
        found |= {word for word in (url.username, url.password) if word}
        found |= {value for name, value in parse_qsl(url.query)}
        found |= {segment for segment in url.path.split("/") if _KEY.fullmatch(segment)}
    return found


def _place(rest: str) -> str:
    """Host, path and query of a URL without user part and keys in the path."""
    rest = _USER.sub(f"{HIDDEN}@", rest)
    host, slash, path = rest.partition("/")
    path, question, query = path.partition("?")
    segments = path.split("/")
    shown = [
        segment if _is_public(segment, before) else HIDDEN
        for segment, before in zip(segments, ["", *segments], strict=False)
    ]
    return host + slash + "/".join(shown) + question + query


def _is_public(segment: str, before: str) -> bool:
    if segment.startswith("0x") or before in _PUBLIC_AFTER or not _KEY.fullmatch(segment):
        return True
    return not any(letter.isdigit() for letter in segment) and "-" in segment  # a name of words
