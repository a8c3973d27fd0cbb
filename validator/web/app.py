"""The application: pages, API, static files, health and metrics, and one way for all of them to fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import PurePath
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException

from validator.errors import ValidatorError
from validator.web.answers.common import Absent
from validator.web.api import make_api
from validator.web.health import Health, Vitals, alive, healthy, ready, worst
from validator.web.http import Guard
from validator.web.metrics import Machine, exposition, make_registry
from validator.web.models import Problem
from validator.web.pages import Pages, make_pages
from validator.web.relay import PATH, TERMS, Refusal, Relay
from validator.web.source import Source
from validator.web.uploads import make_uploads

MACHINE_PATHS = ("/api/", "/live", "/health", "/ready", "/metrics")
TYPES = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".js": "text/javascript; charset=utf-8"}
RETRY_SECONDS = "2"


def make_app(
    source: Source,
    node: Vitals | Mapping[str, Vitals] | None = None,
    machine: Machine | None = None,
    relay: Relay | None = None,
) -> FastAPI:
    """The explorer of one DAO; with `node`, also the health and metrics of that node, or of those of several DAOs by
    contract; with `machine`, also of what they run on; with `relay`, sealed envelopes are taken too.
    """
    nodes = {source.view.deployment.rounds: node} if isinstance(node, Vitals) else dict(node or {})
    app = FastAPI(
        title="Proof of Contribution",
        summary="Rounds, scores, proofs and payments of one data DAO. "
        + ("Takes sealed envelopes." if relay else "Read-only."),
        version="1",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    offer = TERMS if relay else None
    pages = Pages(source, offer)
    app.include_router(make_api(source, offer))
    if relay is not None:
        app.include_router(make_uploads(relay))
    app.include_router(make_pages(pages))
    _add_static(app)
    _add_health(app, source, nodes, make_registry(source, nodes, machine))
    _add_failures(app, pages)
    app.add_middleware(Guard, posts=frozenset({PATH} if relay else ()))
    return app


def _add_static(app: FastAPI) -> None:
    folder = resources.files("validator.web").joinpath("static")
    files = {file.name: (TYPES[PurePath(file.name).suffix], file.read_bytes()) for file in folder.iterdir()}

    @app.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        if name not in files:
            raise Absent("there is no such file")
        # Scripts import each other: after an upgrade none may meet an older one.
        kept = "no-cache" if name.endswith(".js") else "public, max-age=3600"
        media_type, content = files[name]
        return Response(content, media_type=media_type, headers={"Cache-Control": kept})


def _add_health(app: FastAPI, source: Source, nodes: Mapping[str, Vitals], registry: CollectorRegistry) -> None:
    unwell: dict[int | str, dict[str, Any]] = {503: {"model": Health, "description": "It is not."}}

    def told(look: Callable[[Vitals], Health], without: Callable[[], Health]) -> Response:
        return _health(worst({dao: look(vitals) for dao, vitals in nodes.items()}) if nodes else without())

    @app.get("/live", response_model=Health, responses=unwell, summary="Whether the process works: else restart it")
    def live() -> Response:
        return told(alive, lambda: alive(None))

    @app.get("/health", response_model=Health, responses=unwell, summary="Whether nothing keeps it from its duty")
    def health() -> Response:
        return told(healthy, lambda: healthy(None))

    @app.get("/ready", response_model=Health, responses=unwell, summary="Whether it does its duty")
    def readiness() -> Response:
        return told(ready, lambda: _readable(source))

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(exposition(registry), media_type="text/plain; version=0.0.4; charset=utf-8")


def _readable(source: Source) -> Health:
    try:
        source.known()
    except ValidatorError as fault:
        return Health(ok=False, reason=_one_line(str(fault)))
    return Health(ok=True, reason="")


def _health(answer: Health) -> JSONResponse:
    return JSONResponse(answer.model_dump(mode="json"), 200 if answer.ok else 503)


def _add_failures(app: FastAPI, pages: Pages) -> None:
    def failed(request: Request, status: int, message: str) -> Response:
        message = _one_line(message)
        if request.url.path.startswith(MACHINE_PATHS):
            response: Response = JSONResponse(Problem(error=message).model_dump(), status)
        else:
            response = pages.problem(status, message)
        if status in (429, 503):
            response.headers["Retry-After"] = RETRY_SECONDS
        return response

    @app.exception_handler(Absent)
    def absent(request: Request, error: Absent) -> Response:
        return failed(request, 404, str(error))

    @app.exception_handler(Refusal)
    def unwanted(request: Request, error: Refusal) -> Response:
        return failed(request, error.status, str(error))

    @app.exception_handler(ValidatorError)
    def unavailable(request: Request, error: ValidatorError) -> Response:
        return failed(request, 503, str(error))

    @app.exception_handler(RequestValidationError)
    def senseless(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return failed(request, 422, f"{first['loc'][-1]}: {first['msg']}")

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        return failed(request, error.status_code, "there is no such page" if error.status_code == 404 else error.detail)


def _one_line(message: str) -> str:
    return " ".join(message.split())
