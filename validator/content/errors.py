"""What can go wrong between a CID and its bytes, and whose fault it is."""

from __future__ import annotations

from validator.errors import ValidatorError


class ContentError(ValidatorError):
    """Content could not be stored, found or trusted. One line for the reader."""


class BadCid(ContentError):
    """The text or bytes are not a CID that this protocol allows."""


class BadBlock(ContentError):
    """A source answered with bytes that do not hash to the CID: the source lies or its disk is rotten.

    Try another one.
    """


class BadDag(ContentError):
    """Verified blocks that do not form a file within our bounds.

    Every source would give the same: the author's fault.
    """


class TooLarge(ContentError):
    """More bytes, blocks, links or levels than allowed.

    Found by counting in verified blocks, hence the same on every machine; never retried. A verdict on the content: what
    a source merely sends too much of is a Flood.
    """


class NotFound(ContentError):
    """This source does not have the block. Another one may."""


class FetchError(ContentError):
    """The transport failed: connection, HTTP status, a cut answer. Worth another try."""


class Flood(FetchError):
    """The source wants to send more than the question can have for an answer. Says nothing about the content."""


class Deadline(FetchError):
    """The source did not finish in the time allowed."""


class QuotaExceeded(ContentError):
    """The local store would grow beyond its quota. Nothing was written."""


class BadStore(ContentError):
    """A store address that cannot be used, or a write to something that only reads."""
