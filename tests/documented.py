"""Commands exactly as the documents show them, for tests to run.

`said("score 41", {"41": "1"})` is the argument list of a command that some document shows. `tests/cli/test_docs.py`
finds these calls in the tests and fails for every documented command that no test runs.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def typed() -> Iterator[tuple[str, str]]:
    """(document, command line) for each command in a console block."""
    for document in DOCUMENTS:
        for block in re.findall(r"^```console\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("$ "):
                    yield document.name, line.removeprefix("$ ").strip()


def shown() -> Iterator[tuple[str, str]]:
    """(document, command line after `validator `) for each command of ours in a console block."""
    for document, words in typed():
        if words.startswith("validator "):
            yield document, words.removeprefix("validator ")


def said(words: str, places: Mapping[str, object] | None = None) -> list[str]:
    """The arguments of a documented command, with the words in `places` replaced by what they are in this test.

    What a shell would make of it: quotes go, a redirection is left out. Raises AssertionError for a command that no
    document shows and for a place that is not in it.
    """
    return said_to("validator", words, places)


def said_to(program: str, words: str, places: Mapping[str, object] | None = None) -> list[str]:
    """The arguments of a documented command of any program."""
    assert f"{program} {words}" in {command for _, command in typed()}, f"no document shows `{program} {words}`"
    arguments = shlex.split(words.split(" > ")[0])
    for old, new in (places or {}).items():
        assert old in arguments, f"{old} is no word of `{program} {words}`"
        arguments = [str(new) if word == old else word for word in arguments]
    return arguments
