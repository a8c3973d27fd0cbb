"""The pages: the answers of the API as HTML. Everything is escaped; only what a wallet is for needs JavaScript."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from validator.rounds.types import Status
from validator.web import words
from validator.web.answers.common import Absent, bundle_of
from validator.web.answers.contributions import LEAF_TYPES, contribution_answer, contributor_answer
from validator.web.answers.manifests import manifest_answer
from validator.web.answers.rounds import round_answer, round_state, rounds_answer
from validator.web.answers.terms import terms_answer
from validator.web.answers.validators import validators_answer
from validator.web.distribution import Distribution, distribution
from validator.web.models import RelayTerms
from validator.web.parameters import Address, ContributionId, PageNumber, RoundNumber, Version
from validator.web.picture import Picture, Tick, picture
from validator.web.source import Source

SMALL = 10**12
"""Reward-token units shown as such rather than as 0.0000 tokens."""


class Pages:
    """Renders templates for one DAO."""

    def __init__(self, source: Source, relay: RelayTerms | None = None) -> None:
        self.source, self.relay = source, relay
        self._templates = Environment(
            loader=PackageLoader("validator.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(
            points=words.points,
            short=words.short,
            span=words.span,
            size=words.size,
            utc=words.utc,
            status_word=words.status_word,
            product=math.prod,
            ticks=_ticks,
            reason=words.reason_words,
            pretty=lambda document: json.dumps(document, indent=2, sort_keys=True),
        )
        self._templates.globals.update(
            phases=words.PHASES, course=words.COURSE, statuses=[status.name.lower() for status in Status]
        )

    def show(self, name: str, status: int = 200, **values: Any) -> HTMLResponse:  # noqa: ANN401
        """A page; amounts in it are in the DAO's tokens."""
        deployment = self.source.view.deployment
        reward, stake = self.source.money(deployment.reward_token), self.source.money(deployment.stake_token)
        template = self._templates.get_template(name)
        html = template.render(
            **values,
            deployment=deployment,
            reward=lambda amount: f"{words.units(amount, reward.decimals)} {reward.symbol}",
            stake=lambda amount: f"{words.units(amount, stake.decimals)} {stake.symbol}",
            reward_money=reward,
            units=words.units,
        )
        return HTMLResponse(html, status)

    def problem(self, status: int, message: str) -> HTMLResponse:
        """A page that says in one line why there is no other. Asks nothing of the chain, which may be the matter."""
        html = self._templates.get_template("problem.html").render(status=status, message=message)
        return HTMLResponse(html, status)

    def pictures(self, number: int) -> tuple[Picture | None, Distribution | None]:
        """The pictures of a round, made once; None until it is final or when its evidence is not to be had."""
        state = round_state(self.source.known(), number)
        bundle, _ = bundle_of(self.source, state)
        if bundle is None:
            return None, None
        lines = bundle.evidence.contributions
        return self.source.answer(("picture", bundle.cid), lambda: (picture(lines), distribution(lines)))


def make_pages(pages: Pages) -> APIRouter:
    """The routes of the pages."""
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    source = pages.source

    @router.get("/")
    def rounds(page: PageNumber = 1) -> HTMLResponse:
        return pages.show("rounds.html", answer=rounds_answer(source, page))

    @router.get("/rounds/{number}")
    def round_(number: RoundNumber, page: PageNumber = 1) -> HTMLResponse:
        answer = round_answer(source, number, page)
        drawn, spread = pages.pictures(number)
        return pages.show("round.html", answer=answer, picture=drawn, distribution=spread)

    @router.get("/contributions/{number}")
    def contribution(number: ContributionId) -> HTMLResponse:
        return pages.show("contribution.html", answer=contribution_answer(source, number), types=LEAF_TYPES)

    @router.get("/contributors/{address}")
    def contributor(address: Address, page: PageNumber = 1) -> HTMLResponse:
        answer = contributor_answer(source, address, page)
        return pages.show("contributor.html", answer=answer, types=LEAF_TYPES["earning"])

    @router.get("/validators")
    def validators() -> HTMLResponse:
        return pages.show("validators.html", answer=validators_answer(source))

    @router.get("/manifest")
    def manifest(version: Version = None) -> HTMLResponse:
        return pages.show("manifest.html", answer=manifest_answer(source, version))

    @router.get("/contribute")
    def contribute() -> HTMLResponse:
        return pages.show("contribute.html", answer=terms_answer(source, pages.relay))

    @router.get("/find")
    def find(q: str = "") -> RedirectResponse:
        return RedirectResponse(_place(q.strip()), 303)

    return router


def _ticks(ticks: Sequence[Tick], digits: int, least: int = 0) -> list[tuple[float, str]]:
    """Where each tick of an axis stands, and what it says."""
    told = words.axis([tick.value for tick in ticks], digits, least)
    return [(tick.y, label) for tick, label in zip(ticks, told, strict=True)]


def _place(text: str) -> str:
    """Where a reader who typed this wants to go: a contribution's id, or a contributor's address."""
    if text.isascii() and text.isdigit() and len(text) < 19 and int(text):
        return f"/contributions/{int(text)}"
    if len(text) == 42 and text[:2] in ("0x", "0X") and all(c in "0123456789abcdef" for c in text[2:].lower()):
        return f"/contributors/{text.lower()}"
    raise Absent("look for the number of a contribution, or for a contributor's address (0x and 40 hex digits)")
