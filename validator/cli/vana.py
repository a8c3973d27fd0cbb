"""`validator vana`: score and prove files of Vana's data DAOs. Off until its addresses are configured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from validator.cli.common import Content, Home, Json, Rpc, emit, settings_for, setup_logs, table

if TYPE_CHECKING:
    from validator.actions.vana.run import Standing
    from validator.settings import Settings
    from validator.stages.vana.judge import Verdict
    from validator.stages.vana.node import VanaNode

app = typer.Typer(help="Score and prove files of Vana's data DAOs (docs/vana.md).", no_args_is_help=True)
FileId = Annotated[
    int, typer.Argument(min=1, max=2**63 - 1, metavar="FILE", help="Id of the file in the DataRegistry.")
]


@app.command("create-key")
def create_key(
    home: Home = None,
    light: Annotated[bool, typer.Option("--light", help="Weak key derivation: demonstration networks only.")] = False,
    ask: Annotated[bool, typer.Option("--ask-password", help="Ask for a password and keep it nowhere.")] = False,
    as_json: Json = False,
) -> None:
    """Create the prover's key, for nothing else, and its empty signing history."""
    from validator.actions.vana.keys import create, refuse_shared

    settings = settings_for(home)
    key = create(settings, light=light, ask=ask)
    refuse_shared(settings, key.address)
    answer = {"address": key.address, "public_key": "0x" + key.public.hex(), "home": str(settings.home)}
    words = [
        f"address     {key.address}",
        f"public key  0x{key.public.hex()}",
        "the TeePool's maintainer registers both by addTee; contributors encrypt to the public key",
    ]
    emit(answer, as_json, words)


@app.command("check")
def check(home: Home = None, rpc: Rpc = None, content: Content = None, as_json: Json = False) -> None:
    """Ask whether this home is ready to prove files: key, contracts and their versions, registration, DAO folder.

    Exits 1 if anything fails. May be run beside a running node.
    """
    from validator.actions.preflight.line import State
    from validator.actions.vana.check import check as ask

    settings = settings_for(home, rpc=rpc, content=content)
    setup_logs(settings.log_format, "error", settings.secrets())  # the lines say it all
    lines = []
    for line in ask(settings):
        lines.append(line)
        if not as_json:
            typer.echo(f"{line.state}  {line.check}: {line.found}")
            if line.cure:
                typer.echo(f"      -> {line.cure}")
    ok = all(line.state is not State.FAIL for line in lines)
    if as_json:
        typer.echo(json.dumps({"ok": ok, "lines": [line.to_dict() for line in lines]}, sort_keys=True))
    if not ok:
        raise typer.Exit(1)


@app.command("watch")
def watch(home: Home = None, rpc: Rpc = None, content: Content = None, as_json: Json = False) -> None:
    """The jobs that were assigned to this prover: judged, proven, cancelled or waiting."""
    from validator.actions.vana.run import standings

    node = _open(settings_for(home, rpc=rpc, content=content), dry_run=True)
    try:
        found = standings(node)
    finally:
        node.close()
    if as_json:
        emit({"account": node.account, "jobs": [_standing(one) for one in found]}, True)
        return
    columns = ("job", "file", "fee (wei)", "state", "status", "score")
    table(f"Jobs of {node.account}", columns, map(_cells, found), right=("job", "file", "fee (wei)", "score"))


@app.command("score")
def score(
    file: FileId,
    out: Annotated[Path | None, typer.Option(help="Write results.json here, as Vana's containers do.")] = None,
    home: Home = None,
    rpc: Rpc = None,
    content: Content = None,
    as_json: Json = False,
) -> None:
    """Dry run: fetch, open and score one file whose key was granted to this prover. Signs and sends nothing."""
    from validator.actions.vana.run import score as score_file

    node = _open(settings_for(home, rpc=rpc, content=content), dry_run=True)
    try:
        verdict = score_file(node, file)
    finally:
        node.close()
    if out is not None:
        out.write_text(json.dumps(verdict.results, indent=2, sort_keys=True) + "\n")
    emit(verdict.results, as_json, _words(file, verdict))


@app.command("run")
def run(
    once: Annotated[bool, typer.Option("--once", help="Do what is due, then return.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge, but sign and send nothing.")] = False,
    home: Home = None,
    rpc: Rpc = None,
    content: Content = None,
) -> int:
    """Follow Vana's contracts, score the files that are assigned to this prover, and prove them, until SIGTERM."""
    from validator.actions.vana.run import prepare, run_once
    from validator.actions.vana.run import run as run_on

    settings = settings_for(home, rpc=rpc, content=content)
    node = _open(settings, dry_run=dry_run)
    try:
        prepare(node)
        if not once:
            return run_on(node, settings.poll_seconds)
        ledger = run_once(node)
        for job in ledger.open_jobs():
            typer.echo(f"job {job.id}, file {job.file_id}: {node.waits.get(job.id, 'waits')}")
        return 0
    finally:
        node.close()


@app.command("claim")
def claim(home: Home = None, rpc: Rpc = None, content: Content = None, as_json: Json = False) -> None:
    """Take this prover's fees out of the TeePool. Stop `validator vana run` first, or set vana_claim_wei for it."""
    from validator.stages.vana.claim import fees

    node = _open(settings_for(home, rpc=rpc, content=content), dry_run=False)
    try:
        amount = fees(node)
    finally:
        node.close()
    emit({"account": node.account, "claimed": amount}, as_json, [f"{amount} wei paid to {node.account}"])


@app.command("reward")
def reward(file: FileId, home: Home = None, rpc: Rpc = None, content: Content = None, as_json: Json = False) -> None:
    """Have the data DAO pay the owner of a file that this prover proved. Anybody could send it; we pay the gas."""
    from validator.stages.vana.claim import reward as request

    node = _open(settings_for(home, rpc=rpc, content=content), dry_run=False)
    try:
        index = request(node, file)
    finally:
        node.close()
    emit({"file": file, "proof_index": index}, as_json, [f"file {file} is paid for, by proof {index}"])


@app.command("rebuild-history")
def rebuild_history(
    sure: Annotated[
        bool, typer.Option("--no-other-machine", help="Nothing else signs with this key: I have made sure of it.")
    ] = False,
    home: Home = None,
    rpc: Rpc = None,
    as_json: Json = False,
) -> None:
    """Rebuild a lost signing history from the chain. Nothing is signed for files whose jobs are open now."""
    from validator.actions.vana.rebuild import rebuild

    if not sure:
        raise typer.BadParameter(
            "two machines with this key could sign two answers for one file: stop the other for ever, then add "
            "--no-other-machine; a backup is better than this, if there is one"
        )
    made = rebuild(settings_for(home, rpc=rpc))
    words = [
        f"{made.proven} proofs found on the chain",
        f"{made.blocked} files have open jobs: nothing is signed for them",
    ]
    emit({"proven": made.proven, "blocked": made.blocked}, as_json, words)


def _open(settings: Settings, *, dry_run: bool) -> VanaNode:
    import torch

    from validator.actions.vana.open import open_vana

    torch.set_num_threads(settings.threads)
    return open_vana(settings, dry_run=dry_run)


def _standing(one: Standing) -> dict[str, Any]:
    known: dict[str, Any] = {"job": one.job.id, "file": one.job.file_id, "fee": one.job.bid, "state": one.outcome}
    if one.verdict is not None:
        status = one.verdict.status.name.lower()
        known |= {"status": status, "reason": one.verdict.reason, "score_wad": str(one.verdict.data.score)}
    return known


def _cells(one: Standing) -> tuple[object, ...]:
    known = _standing(one)
    score = f"{one.verdict.data.score / 10**18:.6f}" if one.verdict is not None else ""
    return (known["job"], known["file"], known["fee"], known["state"], known.get("status", ""), score)


def _words(file: int, verdict: Verdict) -> list[str]:
    said = verdict.results
    attributes = said["attributes"]
    return [
        f"file {file}: {attributes['words']}" + (f" ({verdict.reason})" if verdict.reason else ""),
        f"  score {said['score']:.6f} of 1, uniqueness {said['uniqueness']:.3f}",
        f"  {attributes['records']} records scored, {attributes['repeats']} repeated ones left out",
        f"  metadata {verdict.data.metadata}",
        "nothing was signed or sent",
    ]
