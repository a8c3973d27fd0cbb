"""`validator convert`, and the options by which a contributor's own files become a payload."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from validator.cli.common import Content, Contract, Home, Json, Rpc, emit, settings_for

if TYPE_CHECKING:
    from validator.actions.convert import Converted, Options
    from validator.manifest import Manifest, PayloadRules


class Documents(StrEnum):
    """What is one document of a text."""

    LINES = "lines"
    FILES = "files"


Source = Annotated[
    Path,
    typer.Argument(
        exists=True, readable=True, help="Payload, .csv, .tsv, .npz or .txt file, or a folder of pictures or text."
    ),
]
Label = Annotated[str | None, typer.Option(help="Table: column of the class; by default target or label.")]
Columns = Annotated[str | None, typer.Option(help="Table: columns of a record, separated by commas; else all others.")]
Classes = Annotated[str | None, typer.Option(help="Names of the classes in order, separated by commas, or @FILE.")]
DocumentsIn = Annotated[Documents | None, typer.Option("--documents", help="Text: what is one document.")]
Tokenizer = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="Text: tokenizer.json of the DAO; else bytes.")
]
Skip = Annotated[int, typer.Option(min=0, help="Leave out so many records at the beginning.")]
Take = Annotated[int | None, typer.Option(min=1, help="Take so many records at most.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("convert")(convert)


def options_from(
    label: str | None,
    columns: str | None,
    classes: str | None,
    documents: Documents | None,
    tokenizer: Path | None,
    skip: int,
    take: int | None,
) -> Options:
    """The options of a command line."""
    from validator.actions.convert import Options, class_names

    return Options(
        label=label,
        columns=tuple(name.strip() for name in columns.split(",")) if columns else (),
        classes=class_names(classes) if classes else (),
        documents=documents.value if documents else None,
        tokenizer=tokenizer,
        skip=skip,
        take=take,
    )


def convert(
    source: Source,
    out: Annotated[Path, typer.Option(dir_okay=False, help="File to write the payload to.")],
    manifest: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="The DAO's manifest; by default that of the open round."),
    ] = None,
    label: Label = None,
    columns: Columns = None,
    classes: Classes = None,
    documents: DocumentsIn = None,
    tokenizer: Tokenizer = None,
    skip: Skip = 0,
    take: Take = None,
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    content: Content = None,
    as_json: Json = False,
) -> None:
    """Make a payload of your own files by the DAO's rules, and say what is in it. Nothing is sent."""
    from validator.actions.connect import open_view
    from validator.actions.contributor import open_manifest
    from validator.actions.convert import convert as make
    from validator.manifest import read_rules

    options = options_from(label, columns, classes, documents, tokenizer, skip, take)
    if out.exists() and out.samefile(source):
        raise typer.BadParameter(f"{out} is the source itself: write the payload elsewhere")
    rules: Manifest | PayloadRules
    if manifest is not None:
        rules = read_rules(manifest.read_bytes())
    else:
        rules = open_manifest(open_view(settings_for(home, rpc=rpc, contract=contract, content=content)))
    converted = make(source, rules, options)
    out.write_bytes(converted.payload)
    emit({**described(converted), "file": str(out)}, as_json, [*told(converted), f"written to {out}"])


def described(converted: Converted) -> dict[str, Any]:
    """What is in a payload, for machines."""
    from validator.actions.convert.payload import SHOWN

    return {
        "records": converted.records,
        "classes": converted.classes,
        "tokens": converted.tokens,
        "bytes": len(converted.payload),
        "repeats": converted.repeats,
        "dropped": [
            {"reason": reason, "count": len(places), "first": places[:SHOWN]}
            for reason, places in sorted(converted.dropped.items())
        ],
    }


def told(converted: Converted) -> Iterator[str]:
    """The same for people."""
    kinds = f"tokens: {converted.tokens:,}, different ones: " if converted.tokens else "classes: "
    yield f"records: {converted.records:,}, {kinds}{converted.classes:,}, bytes: {len(converted.payload):,}"
    for entry in described(converted)["dropped"]:
        words = f"left out {entry['count']:,}: {entry['reason']} ({', '.join(entry['first'])}{_more(entry)})"
        yield "".join(letter if letter.isprintable() else "?" for letter in words)  # names of files hold anything
    if converted.repeats:
        yield f"warning: exact repeats of a record within this source: {converted.repeats:,}; they earn nothing"


def _more(entry: dict[str, Any]) -> str:
    return ", ..." if entry["count"] > len(entry["first"]) else ""
