"""`validator audit`."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from validator.cli.auditing import Auditing, parse_rounds
from validator.cli.common import Content, Contract, Devices, EngineName, Home, Json, Rpc, emit, settings_for

HPKE_KEY_BYTES = 32


class _RoundByDefault(TyperGroup):
    """`validator audit 7` is `validator audit round 7`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's private copy of Click
        """Puts in the word that was left out, before numbers or an option."""
        first = args[0] if args else "--help"
        left_out = first != "--help" and (first.startswith("-") or first[:1].isdecimal())
        return super().parse_args(ctx, ["round", *args] if left_out else args)


app = typer.Typer(
    cls=_RoundByDefault,
    help="Check a finalised round again as a stranger, or let somebody do it.",
    no_args_is_help=True,
)


@app.command("round")
def audit(
    rounds: Annotated[
        str | None, typer.Argument(metavar="ROUND", help="A finalised round, or several: 1-5, or 1,3,7-9.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All finalised rounds.")] = False,
    level: Annotated[
        int | None,
        typer.Option(min=1, max=4, help="1 statements, 2 inputs, 3 scores, 4 scores from scratch; by default 4."),
    ] = None,
    from_chain: Annotated[
        bool,
        typer.Option(
            "--from-chain", help="Use --rpc, --contract and --content alone, and no home; by default level 2."
        ),
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Sign what was found: the file to write, or for several rounds the folder.")
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="Put the signed report into the content store too.")
    ] = False,
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
    """Check finalised rounds again as a stranger; exits 1 if anything differs. Levels 3 and 4 need a key grant. The
    word `round` can be left out.
    """
    from validator.actions.connect import open_view
    from validator.actions.engine import engine_of
    from validator.cli.reading import Reading
    from validator.influence.engine import IN_PROCESS

    if (rounds is None) != every:
        raise typer.BadParameter("name a ROUND, or several as in 1-5 or 1,3,7-9, or take --all")
    wanted = None if rounds is None else parse_rounds(rounds)
    several = wanted is None or len(wanted) > 1 or wanted[0][0] != wanted[0][1]
    if several and grant is not None:
        raise typer.BadParameter("a --grant is of one round: audit that one")
    if from_chain and (None in (rpc, contract, content) or home or grant or report or publish):
        raise typer.BadParameter("--from-chain needs --rpc, --contract and --content, and takes nothing from a home")
    deepest = level or (2 if from_chain else 4)
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory())) if from_chain else home
        settings = settings_for(place, rpc=rpc, contract=contract, content=content, engine=engine, devices=devices)
        if deepest > 2:
            import torch

            torch.set_num_threads(settings.threads)
        # Levels 1 and 2 compute nothing: no worker is hired for them.
        where = stack.enter_context(engine_of(settings) if deepest > 2 else nullcontext(IN_PROCESS))
        auditing = Auditing(open_view(settings, Reading()), settings, deepest, report, publish, as_json, where)
        match = auditing.several(wanted) if several else auditing.one((wanted or [(0, 0)])[0][0], grant)
    if not match:
        raise typer.Exit(1)


@app.command("verify-report")
def verify_report(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A signed audit report.")],
    offline: Annotated[
        bool, typer.Option("--offline", help="Check the signature alone, not against the chain.")
    ] = False,
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    as_json: Json = False,
) -> None:
    """Who signed an audit report, and whether it is about the answer that its round ended with. Exits 1 if not; what
    the report says of the round is another matter, and is printed.
    """
    from validator.actions.connect import open_view
    from validator.actions.report import check_against_chain, report_bytes
    from validator.audit.report import read_report

    view = None if offline else open_view(settings_for(home, rpc=rpc, contract=contract))
    found = read_report(report_bytes(file))
    if view is not None:
        check_against_chain(view, found)
    failed = [check.name for check in found.checks.checks if not check.ok]
    answer = {
        "auditor": found.auditor,
        "round": found.round,
        "attempt": found.attempt,
        "attestation": found.attestation,
        "level": found.level,
        "match": found.matches,
        "failed": failed,
        "checked_against_chain": not offline,
    }
    said = "match" if found.matches else f"NO MATCH: {', '.join(failed) or 'the bundle differs'}"
    lines = [
        f"signed by {found.auditor}, as it says",
        f"round {found.round}, attempt {found.attempt}, audited at level {found.level}: {said}",
        "not checked against the chain" if offline else "the answer that it names is the one the round ended with",
    ]
    emit(answer, as_json, lines)


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
