"""The JSON API: each page's answer under the same path, below /api."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from validator.web.answers.contributions import contribution_answer, contributor_answer
from validator.web.answers.manifests import manifest_answer
from validator.web.answers.rounds import round_answer, rounds_answer
from validator.web.answers.terms import terms_answer
from validator.web.answers.validators import validators_answer
from validator.web.models import (
    ContributionDetail,
    ContributorDetail,
    ManifestDetail,
    Problem,
    RelayTerms,
    RoundDetail,
    Rounds,
    Terms,
    Validators,
)
from validator.web.parameters import Address, ContributionId, PageNumber, RoundNumber, Version
from validator.web.source import Source

PROBLEMS: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is nothing under this name."},
    414: {"model": Problem, "description": "The path or the query is too long."},
    422: {"model": Problem, "description": "A parameter makes no sense."},
    503: {"model": Problem, "description": "The chain cannot be read now."},
}


def make_api(source: Source, relay: RelayTerms | None = None) -> APIRouter:
    """The routes of the API."""
    api = APIRouter(prefix="/api", responses=PROBLEMS)

    @api.get("/rounds", summary="All rounds, the newest first")
    def rounds(page: PageNumber = 1) -> Rounds:
        return rounds_answer(source, page)

    @api.get("/rounds/{number}", summary="One round with its validators and contributions")
    def round_(number: RoundNumber, page: PageNumber = 1) -> RoundDetail:
        return round_answer(source, number, page)

    @api.get("/contributions/{number}", summary="One contribution with its score, the reasons, and its proof")
    def contribution(number: ContributionId) -> ContributionDetail:
        return contribution_answer(source, number)

    @api.get("/contributors/{address}", summary="One contributor with its earnings and the proof to claim them")
    def contributor(address: Address, page: PageNumber = 1) -> ContributorDetail:
        return contributor_answer(source, address, page)

    @api.get("/validators", summary="The validator set")
    def validators() -> Validators:
        return validators_answer(source)

    @api.get("/manifest", summary="The DAO's manifest")
    def manifest(version: Version = None) -> ManifestDetail:
        return manifest_answer(source, version)

    @api.get("/terms", summary="What a contribution takes now, and the key that it is sealed to")
    def terms() -> Terms:
        return terms_answer(source, relay)

    return api
