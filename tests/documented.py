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


def shown() -> Iterator[tuple[str, str]]:
    """(document, command line after `validator `) for each command of ours in a console block."""
    for document in DOCUMENTS:
        for block in re.findall(r"^```console\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = line.removeprefix("$ ").strip()
                if line.startswith("$ ") and words.startswith("validator "):
                    yield document.name, words.removeprefix("validator ")


def said(words: str, places: Mapping[str, object] | None = None) -> list[str]:
    """The arguments of a documented command, with the words in `places` replaced by what they are in this test.

    What a shell would make of it: quotes go, a redirection is left out. Raises AssertionError for a command that no
    document shows and for a place that is not in it.
    """
    assert words in {command for _, command in shown()}, f"no document shows `validator {words}`"
    arguments = shlex.split(words.split(" > ")[0])
    for old, new in (places or {}).items():
        assert old in arguments, f"{old} is no word of `validator {words}`"
        arguments = [str(new) if word == old else word for word in arguments]
    return arguments
