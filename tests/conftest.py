"""Shared by all tests: `--full` turns on the long campaigns."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
import structlog

# One thread for each process, before anything loads torch: several run side by side, and threads that wait for work
# spin, a third of all processor time. What holds for several threads is tested by tests that ask for them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the long campaigns too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="a long campaign: run with --full"))


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    """A command that runs in a test sets logs up for its own standard error, which is gone after it."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
