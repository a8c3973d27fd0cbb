"""Every case of the catalogue is refused with its own error and reason, in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.content.hostile import CASES, Case, Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


def test_catalogue__names__are_many_and_each_its_own() -> None:
    names = [case.name for case in CASES]

    assert len(names) == len(set(names)) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile__each_case__is_refused_for_its_own_reason_in_time(lab: Lab, case: Case) -> None:
    started = time.monotonic()

    with pytest.raises(case.error, match=case.reason) as caught:
        case.act(lab)

    assert case.error is OSError or type(caught.value) is case.error
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert time.monotonic() - started < 10.0
