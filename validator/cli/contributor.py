"""`validator contribute`, `score`, `claim` and `settle`."""

from __future__ import annotations

from typing import Annotated

import typer

from validator.cli.common import Content, Contract, Home, Json, Rpc, checked_address, emit, settings_for
from validator.cli.contribution import price_words, priced, remember
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
from validator.cli.score import repeats_of, score, score_words, scored, waited
from validator.words import units


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("contribute")(contribute)
    app.command("score")(score)
    app.command("claim")(claim)
    app.command("settle")(settle)


def contribute(
    source: Source,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Convert, check and price, and send nothing.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until its round is final, and say what became of it.")
    ] = False,
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
    from validator.actions.contributor import ContributorError, open_manifest, prepare, submit
    from validator.actions.convert import convert

    options = options_from(label, columns, classes, documents, tokenizer, skip, take)
    settings = settings_for(home, rpc=rpc, contract=contract, content=content)
    wallet = open_wallet(settings)
    manifest = open_manifest(wallet)
    converted = convert(source, manifest, options)
    sealed = prepare(wallet, converted.payload, manifest)
    if sealed.why_not and not dry_run:
        raise ContributorError(sealed.why_not)
    plan = {**described(converted), **priced(sealed)}
    if not as_json:
        emit(plan, False, [*told(converted), *price_words(sealed)])
    if dry_run:
        emit(plan, as_json, ["dry run: nothing was sent"])
        return
    done = submit(wallet, sealed.envelope, sealed.epoch)
    remember(settings, wallet, done, converted)
    answer = {**plan, "id": done.id, "cid": done.cid, "size": done.size, "gas": done.gas}
    words = [f"contribution {done.id}: {done.size:,} bytes sealed, {done.cid}"]
    if not wait:
        emit(answer, as_json, [*words, f"look it up with: validator score {done.id}"])
        return
    if not as_json:
        emit(answer, False, words)
    standing = waited(wallet, done.id, settings.poll_seconds)
    emit({**answer, **scored(standing)}, as_json, score_words(standing, repeats_of(settings, wallet, standing)))


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
