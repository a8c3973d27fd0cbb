"""Every command that a document shows is one that the program has, with options that it takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.tree import commands

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def shown() -> Iterator[tuple[str, str]]:
    """(document, command) for each line of a console block that starts our program."""
    for document in DOCUMENTS:
        for block in re.findall(r"^```console\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = line.removeprefix("$ ").strip()
                if line.startswith("$ ") and words.startswith("validator "):
                    yield document.name, words


@pytest.mark.parametrize(("document", "words"), sorted(set(shown())), ids=lambda text: text[:60])
def test_document__each_command__exists_with_its_options(document: str, words: str) -> None:
    given = shlex.split(words.split(" > ")[0].split(" | ")[0], comments=True)[1:]
    known = commands()
    named = ("audit", "round") if given[0] == "audit" and ("audit", given[1]) not in known else None
    path = named or next((tuple(given[:size]) for size in (2, 1) if tuple(given[:size]) in known), None)
    assert path is not None, f"{document} shows a command that there is not: {words}"
    options = {option for parameter in known[path].params for option in (*parameter.opts, *parameter.secondary_opts)}
    used = {word.split("=")[0] for word in given if word.startswith("--")}
    assert used <= options | {"--help"}, f"{document} shows options that there are not: {words}"


def test_documents__links_to_each_other__lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
