"""`validator audit`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from validator.cli.bars import bars
from validator.cli.common import Content, Contract, Devices, EngineName, Home, Json, Rpc, emit, settings_for, table

HPKE_KEY_BYTES = 32


class _RoundByDefault(TyperGroup):
    """`validator audit 7` is `validator audit round 7`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's private copy of Click
        """Puts in the word that was left out, before a number or an option."""
        first = args[0] if args else "--help"
        left_out = first != "--help" and (first.startswith("-") or first.isdecimal())
        return super().parse_args(ctx, ["round", *args] if left_out else args)


app = typer.Typer(
    cls=_RoundByDefault,
    help="Check a finalised round again as a stranger, or let somebody do it.",
    no_args_is_help=True,
)


@app.command("round")
def audit(
    number: Annotated[int, typer.Argument(metavar="ROUND", min=1, help="A finalised round.")],
    level: Annotated[
        int, typer.Option(min=1, max=4, help="1 statements, 2 inputs, 3 scores, 4 scores from scratch.")
    ] = 4,
    grant: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A grant of this round, made for this home's key.")
    ] = None,
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    content: Content = None,
    engine: EngineName = None,
    devices: Devices = None,
    as_json: Json = False,
) -> None:
    """Check a finalised round again as a stranger; exits 1 if anything differs. Levels 3 and 4 need a key grant. The
    word `round` can be left out.
    """
    from validator.actions.auditor import audit_round, read_grant
    from validator.actions.connect import open_view
    from validator.actions.engine import engine_of
    from validator.cli.reading import Reading
    from validator.influence.engine import IN_PROCESS

    settings = settings_for(home, rpc=rpc, contract=contract, content=content, engine=engine, devices=devices)
    document = None if grant is None else read_grant(grant)
    # Levels 1 and 2 compute nothing: no worker is hired for them.
    with engine_of(settings) if level > 2 else nullcontext(IN_PROCESS) as where, bars() as progress:
        verdict = audit_round(open_view(settings, Reading()), settings, number, level, progress, where, document)
    if as_json:
        emit(verdict.to_dict(), True)
    else:
        rows = [("ok" if check.ok else "FAIL", check.name, check.detail) for check in verdict.checks]
        table(f"Round {number}, audit level {level}", ("", "check", "found"), rows)
        typer.echo("match" if verdict.match else f"NO MATCH: {verdict.difference or 'see the failed checks'}")
    if not verdict.match:
        raise typer.Exit(1)


@app.command("grant")
def grant(
    number: Annotated[int, typer.Argument(metavar="ROUND", min=1, help="A finalised round.")],
    hpke_key: Annotated[str, typer.Option("--hpke-key", help="The auditor's key, as `validator keys show` prints it.")],
    out: Annotated[Path, typer.Option("--out", dir_okay=False, help="Where the grant is written.")],
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    content: Content = None,
    as_json: Json = False,
) -> None:
    """Hand the keys of one round, and of nothing else, to an auditor. For homes that were granted its key epochs, and
    the steward's.
    """
    from validator.actions.auditor import grant_round
    from validator.actions.connect import open_view
    from validator.actions.home import write_private

    key = _key(hpke_key)
    if out.exists():
        raise typer.BadParameter(f"{out} exists already and is not overwritten; move it away first", param_hint="--out")
    settings = settings_for(home, rpc=rpc, contract=contract, content=content)
    document = grant_round(open_view(settings), settings, number, key)
    write_private(out, document)
    answer = {"round": number, "hpke_key": hpke_key, "bytes": len(document), "file": str(out)}
    emit(answer, as_json, [f"round {number} granted to {hpke_key}: {len(document):,} bytes in {out}"])


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        key = b""
    if len(key) != HPKE_KEY_BYTES:
        raise typer.BadParameter(f"{text!r} is no HPKE key: 0x and 64 hex digits, as `validator keys show` prints it")
    return key
