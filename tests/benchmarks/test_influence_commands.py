"""The commands of docs/influence-bench.md ask for what the benchmark has."""

from __future__ import annotations

import shlex

import pytest
from influence import entries, parser

from tests.documented import typed

START = "./scripts/bench influence"
SHOWN = [words for document, words in typed() if document == "influence-bench.md"]


def test_document__commands__are_all_of_this_benchmark() -> None:
    assert len(SHOWN) > 3
    assert [words for words in SHOWN if not words.startswith(START)] == []


@pytest.mark.parametrize("words", SHOWN)
def test_document__each_command__is_understood_and_measures_something(words: str) -> None:
    given = parser().parse_args(shlex.split(words.removeprefix(START), comments=True))

    assert entries(given)


@pytest.mark.parametrize("words", ["--quicker", "--tasks nowhere", "--jobs two"])
def test_command__not_of_the_benchmark__is_refused(words: str) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(words.split())
