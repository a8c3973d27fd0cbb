"""`validator prove-equivocation` and `charge-unrevealed`: anyone may prove a validator's fault."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from validator.cli.common import Contract, Home, Json, Rpc, emit, settings_for

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="JSON: attestation, signature.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("prove-equivocation")(prove)
    app.command("charge-unrevealed")(charge)


def prove(
    file_a: File,
    file_b: File,
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    as_json: Json = False,
) -> None:
    """Prove that a validator signed two answers for one round and attempt: slashed, with a share for this account."""
    from validator.actions.connect import open_wallet
    from validator.actions.faults import prove_equivocation, read_signed

    wallet = open_wallet(settings_for(home, rpc=rpc, contract=contract))
    done = prove_equivocation(wallet, read_signed(file_a), read_signed(file_b))
    words = f"{done.operator} signed twice in round {done.round}, attempt {done.attempt}: {done.taken} units slashed"
    emit(asdict(done), as_json, [f"{words}, {done.reward} of them to {wallet.signer.address}"])


def charge(
    number: Annotated[int, typer.Argument(metavar="ROUND", min=1, help="A round with an attempt that is over.")],
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    as_json: Json = False,
) -> None:
    """Charge every validator that committed in a round and did not reveal, with a share for this account."""
    from validator.actions.connect import open_wallet
    from validator.actions.faults import charge_unrevealed

    done = charge_unrevealed(open_wallet(settings_for(home, rpc=rpc, contract=contract)), number)
    passed_over = [{"attempt": at, "operator": who, "reason": why} for (at, who), why in done.passed_over.items()]
    answer = {"round": number, "charged": [asdict(one) for one in done.charged], "passed_over": passed_over}
    words = [f"{one.operator} charged {one.taken} units for attempt {one.attempt}" for one in done.charged]
    words += [f"{who} passed over in attempt {at}: {why}" for (at, who), why in done.passed_over.items()]
    emit(answer, as_json, words)
