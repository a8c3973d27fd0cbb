"""The DAO's manifest, by version."""

from __future__ import annotations

from validator.content import Cid
from validator.errors import ValidatorError
from validator.web.answers.common import Absent, hexed
from validator.web.models import ManifestDetail
from validator.web.source import Source

RAW = 0


def manifest_answer(source: Source, version: int | None = None) -> ManifestDetail:
    """Version `version` from 1, by default the latest. Raises Absent."""
    digests = source.known().ledger.manifests
    if not digests:
        raise Absent("the DAO has published no manifest yet")
    number = version if version is not None else len(digests)
    if number > len(digests):
        raise Absent(f"there is no manifest version {number}: the latest is {len(digests)}")
    digest = digests[number - 1]
    document, fault = None, None
    try:
        document = source.manifest(digest).model_dump()
    except ValidatorError as refused:
        fault = str(refused)
    return ManifestDetail(
        version=number,
        versions=len(digests),
        digest=hexed(digest),
        cid=str(Cid.from_chain(digest, RAW)),
        document=document,
        fault=fault,
    )
