"""The JSON API against its own document: requests made from it at random, answers held to what it promises."""

from __future__ import annotations

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import negative_data_rejection

PATHS = (
    "/api/rounds",
    "/api/rounds/{number}",
    "/api/contributions/{number}",
    "/api/contributors/{address}",
    "/api/validators",
    "/api/manifest",
    "/api/terms",
    "/health",
    "/live",
    "/ready",
)


@pytest.fixture(scope="module")
def described(app: FastAPI) -> schemathesis.BaseSchema:
    """The API of the played DAO by its OpenAPI document."""
    return schemathesis.openapi.from_asgi("/api/openapi.json", app)


def test_paths__all_of_the_document__are_tried_here(described: schemathesis.BaseSchema) -> None:
    assert {found.ok().path for found in described.get_all_operations()} == set(PATHS)


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("path", PATHS)
def test_api__any_request__answered_as_the_document_says(
    described: schemathesis.BaseSchema, path: str, mode: schemathesis.GenerationMode
) -> None:
    operation = described[path]["GET"]
    if mode is schemathesis.GenerationMode.NEGATIVE and not (operation.path_parameters or operation.query):
        return  # without parameters there is nothing to get wrong

    @settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def holds(case: schemathesis.Case) -> None:
        # A parameter given several times counts by its last value, so not all that breaks the schema is refused.
        case.call_and_validate(excluded_checks=[negative_data_rejection])

    holds()
