"""`validator contribute`, `score`, `claim` and `settle`."""

from __future__ import annotations

from typing import Annotated

import typer

from validator.cli.common import Content, Contract, Home, Json, Rpc, checked_address, emit, settings_for
from validator.cli.convert import (
    Classes,
    Columns,
    DocumentsIn,
    Label,
    Skip,
    Source,
    Take,
    Tokenizer,
    described,
    options_from,
    told,
)
from validator.words import points, reason_words, units


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("contribute")(contribute)
    app.command("score")(score)
    app.command("claim")(claim)
    app.command("settle")(settle)


def contribute(
    source: Source,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Convert and check, and send nothing.")] = False,
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
    """Convert your file or folder by the DAO's rules if need be, seal it in your name, store it and submit it."""
    from validator.actions.connect import open_wallet
    from validator.actions.contributor import check_size, open_manifest
    from validator.actions.contributor import contribute as send
    from validator.actions.convert import convert

    options = options_from(label, columns, classes, documents, tokenizer, skip, take)
    wallet = open_wallet(settings_for(home, rpc=rpc, contract=contract, content=content))
    manifest = open_manifest(wallet)
    converted = convert(source, manifest, options)
    check_size(wallet, converted.payload, manifest)
    if dry_run:
        emit(described(converted), as_json, [*told(converted), "dry run: nothing was sent"])
        return
    done = send(wallet, converted.payload)
    answer = {**described(converted), "id": done.id, "cid": done.cid, "size": done.size, "gas": done.gas}
    words = f"contribution {done.id}: {done.size:,} bytes sealed, {done.cid}"
    emit(answer, as_json, [*told(converted), words, f"look it up with: validator score {done.id}"])


def score(
    contribution: Annotated[int, typer.Argument(min=1, help="Id of the contribution.")],
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    content: Content = None,
    as_json: Json = False,
) -> None:
    """What became of a contribution: status, score with its error, payment, and why."""
    from validator.actions.connect import open_view
    from validator.actions.contributor import look_up
    from validator.cli.reading import Reading
    from validator.rounds.types import Status

    view = open_view(settings_for(home, rpc=rpc, contract=contract, content=content), Reading())
    standing = look_up(view, contribution)
    line = standing.line
    if line is None:
        phase = standing.phase.name.lower()
        words = f"contribution {contribution} is in round {standing.round}, which is {phase}; no score yet"
        emit({"id": contribution, "round": standing.round, "phase": phase}, as_json, [words])
        return
    answer = {
        "id": contribution,
        "round": standing.round,
        "phase": "finalised",
        "status": Status(line.status).name.lower(),
        "reason": line.reason,
        "words": line.words(),
        "raw": line.raw,
        "stderr": line.stderr,
        "score": line.payable,
        "paid": line.paid,
        "records": line.records,
        "repeats": line.repeats,
    }
    why = f"{line.words()}{f': {reason_words(line.reason)}' if line.reason else ''}"
    repeats = f", {line.repeats} repeated ones left out" if line.repeats else ""
    lines = [
        f"contribution {contribution}, round {standing.round}: {why}",
        f"  score {points(line.raw)} +- {points(line.stderr)}, payable {points(line.payable)}, in thousandths",
        f"  {line.records} records scored{repeats}",
        f"  paid {units(line.paid)} tokens",
    ]
    emit(answer, as_json, lines)


def claim(
    account: Annotated[str | None, typer.Argument(help="Account to pay; by default this home's.")] = None,
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    content: Content = None,
    as_json: Json = False,
) -> None:
    """Pay out all that an account has earned and not yet been paid. Anyone may send it; the account is paid."""
    from validator.actions.connect import open_wallet
    from validator.actions.contributor import claim as pay

    payee = None if account is None else checked_address(account)
    wallet = open_wallet(settings_for(home, rpc=rpc, contract=contract, content=content))
    payee = payee or wallet.signer.address
    amount, receipt = pay(wallet, payee)
    answer = {"account": payee, "amount": amount, "transaction": "0x" + receipt.transaction_hash.hex()}
    emit(answer, as_json, [f"{units(amount)} tokens paid to {payee}"])


def settle(
    contribution: Annotated[int, typer.Argument(min=1, help="Id of the contribution.")],
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    content: Content = None,
    as_json: Json = False,
) -> None:
    """Get a deposit back, or see it forfeited: record the score of a final round, and pay out the payer's credit."""
    from validator.actions.connect import open_wallet
    from validator.actions.settle import Fate
    from validator.actions.settle import settle as settle_deposit

    wallet = open_wallet(settings_for(home, rpc=rpc, contract=contract, content=content))
    done = settle_deposit(wallet, contribution)
    answer = {
        "id": done.id,
        "fate": done.fate,
        "deposit": done.deposit,
        "why": done.why,
        "settled_now": done.settled_now,
        "payer": done.payer,
        "withdrawn": done.withdrawn,
    }
    if done.fate is Fate.NONE:
        first = f"contribution {done.id} has no deposit: {done.why}"
    else:
        when = "is" if done.settled_now else "was, before,"
        first = f"the deposit of contribution {done.id}, {done.deposit} wei, {when} {done.fate}: {done.why}"
    paid = f"{done.withdrawn} wei paid to {done.payer}" if done.withdrawn else f"{done.payer} has no credit to pay out"
    emit(answer, as_json, [first, paid])
