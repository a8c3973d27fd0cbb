"""`validator content`: what this node holds and pins, where it can fetch from, and what can go."""

from __future__ import annotations

from typing import Annotated

import typer

from validator.cli.common import Content, Contract, Home, Json, Rpc, emit, settings_for, table

app = typer.Typer(help="The content store: its sources, pins and quota.", no_args_is_help=True)


@app.command()
def status(
    home: Home = None, rpc: Rpc = None, contract: Contract = None, content: Content = None, as_json: Json = False
) -> None:
    """Ask every source whether it answers, and tell what is held. Exit code 1 when a configured one does not."""
    from validator.actions.content import status as ask

    found = ask(settings_for(home, rpc=rpc, contract=contract, content=content))
    if as_json:
        emit(found.to_dict(), True)
    else:
        held = found.local
        lines = [] if held is None else [f"held: {held.used} of {held.quota} bytes, {held.pins} files pinned"]
        lines.append(f"announced: {found.announced or 'nothing'}")
        lines += [f"peer of {operator} is not used: {reason}" for operator, reason in found.refused.items()]
        if found.rounds_to_release:
            lines.append(f"rounds to release: {', '.join(map(str, found.rounds_to_release))} (`validator content gc`)")
        emit({}, False, lines)
        rows = [(one.name, "yes" if one.ok else "no", one.answer, f"{one.seconds:.2f}") for one in found.sources]
        table("Sources", ("source", "answers", "what it said", "seconds"), rows, ("seconds",))
    if not found.ok:
        raise typer.Exit(1)


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would go, and change nothing.")] = False,
    grace: Annotated[
        float, typer.Option(min=0.0, max=1e9, help="Seconds for which what is fetched but not pinned yet stays.")
    ] = 3600.0,
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    content: Content = None,
    as_json: Json = False,
) -> None:
    """Unpin what rounds beyond dispute no longer need, and delete what nothing pins. Safe beside a running node."""
    from validator.actions.content import collect

    done = collect(settings_for(home, rpc=rpc, contract=contract, content=content), dry_run=dry_run, grace=grace)
    answer = {"pins": {str(number): list(cids) for number, cids in done.pins.items()}, "freed": done.freed}
    word = "would be unpinned" if dry_run else "unpinned"
    lines = [f"round {number}: {len(cids)} files {word}" for number, cids in done.pins.items()]
    lines.append(f"{done.freed} bytes {'would be freed' if dry_run else 'freed'}, {done.used} in use")
    emit({**answer, "used": done.used, "dry_run": dry_run}, as_json, lines)
