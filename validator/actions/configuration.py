"""The configuration file that `validator init` writes: every option with its meaning, its unit and its default.

It is made from `Settings` itself, so it cannot fall behind the program. A line that begins with `#` and a name shows a
default; a line that begins with `# ` is words.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic.fields import FieldInfo

from validator.actions.versions import program
from validator.settings import Settings

SECTIONS = {
    "rpc": "The chain and the DAO",
    "content": "Content",
    "peers": "Other validators",
    "password_file": "Keys",
    "finality": "Following the chain",
    "threads": "Scoring",
    "memory_mib": "Bounds and fees",
    "host": "Explorer, health and metrics",
    "log_format": "Logs",
}
"""The option that begins each section, in the order of `Settings`."""

_WIDTH = 120
_HEAD = "Configuration of a validator, written by `validator init` of release {release}."
_USE = (
    "Every option is here. `#name = value` shows the default: take the # away and change it. The same option in the "
    "environment, VALIDATOR_<NAME>, comes before this file. No secret belongs into it but what an RPC address holds.",
)


def render(values: Mapping[str, object]) -> str:
    """The text of the file, TOML, with `values` set and every other option at its default."""
    lines = [*_words(_HEAD.format(release=program()), *_USE)]
    for name, field in Settings.model_fields.items():
        if name == "home":  # the file lies in it
            continue
        if name in SECTIONS:
            lines += ["", "", f"# --- {SECTIONS[name]} ---"]
        lines += ["", *_option(name, field, values)]
    return "\n".join(lines) + "\n"


def chosen(settings: Settings) -> dict[str, object]:
    """What was asked for on the command line or in the environment, for a home that has no file yet. Paths are made
    absolute: the file must mean the same wherever the node is started from.
    """
    found = {name: getattr(settings, name) for name in sorted(settings.model_fields_set - {"home"})}
    return {
        name: str(value.expanduser().absolute()) if isinstance(value, Path) else value
        for name, value in found.items()
        if value is not None
    }


def toml(value: object) -> str:
    """A value of an option in TOML: a string, a number, or true and false. JSON writes all of these as TOML does."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _option(name: str, field: FieldInfo, values: Mapping[str, object]) -> Iterator[str]:
    assert field.description, f"internal error: nothing says what the option {name} means"
    yield from _words(" ".join(field.description.split()))
    if name in values:
        yield f"{name} = {toml(values[name])}"
    elif field.default is None:
        example = field.examples[0] if field.examples else "/path/to/file"
        yield f"#{name} = {toml(example)}   # not set"
    else:
        yield f"#{name} = {toml(field.default)}"


def _words(*paragraphs: str) -> Iterator[str]:
    for paragraph in paragraphs:
        yield from textwrap.wrap(paragraph, _WIDTH, initial_indent="# ", subsequent_indent="# ")
