"""`validator score`: one contribution, or all of an account."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from validator.cli.common import Content, Contract, Home, Json, Rpc, checked_address, emit, settings_for, table
from validator.words import points, units

if TYPE_CHECKING:
    from validator.actions.connect import View
    from validator.actions.standing import Standing
    from validator.settings import Settings


def score(
    contribution: Annotated[int | None, typer.Argument(min=1, help="Id of the contribution.")] = None,
    mine: Annotated[bool, typer.Option("--mine", help="All contributions of this home's account.")] = False,
    account: Annotated[str | None, typer.Option(help="All contributions of this account.")] = None,
    home: Home = None,
    rpc: Rpc = None,
    contract: Contract = None,
    content: Content = None,
    as_json: Json = False,
) -> None:
    """What became of a contribution, or of all of an account: status, score with its error, rank, payment, and why."""
    from validator.actions.connect import open_view
    from validator.actions.home import account as own_account
    from validator.actions.standing import Lookout
    from validator.cli.reading import Reading

    if (contribution is not None) + mine + (account is not None) != 1:
        raise typer.BadParameter("name one contribution by its id, or take --mine, or --account ADDRESS")
    who = None if account is None else checked_address(account)
    settings = settings_for(home, rpc=rpc, contract=contract, content=content)
    if mine:
        who = own_account(settings).address
    view = open_view(settings, Reading())
    if who is not None:
        _all(who, Lookout(view).of(who), as_json)
        return
    assert contribution is not None
    standing = Lookout(view).standing(contribution)
    own = repeats_of(settings, view, standing)
    answer = scored(standing)
    if own is not None:
        answer["repeated_from"] = {str(id_): count for id_, count in own.items()}
    emit(answer, as_json, score_words(standing, own))


def scored(standing: Standing) -> dict[str, Any]:
    """Where a contribution stands, for machines: scores in 1e-9, amounts in base units, times in seconds."""
    from validator.rounds.types import Status

    line = standing.line
    known = {"id": standing.id, "round": standing.round, "phase": standing.phase.name.lower()}
    if line is None:
        return {**known, "seconds_left": standing.left}
    return {
        **known,
        "status": Status(line.status).name.lower(),
        "reason": line.reason,
        "words": line.words(),
        "why": standing.why,
        "raw": line.raw,
        "stderr": line.stderr,
        "score": line.payable,
        "rank": standing.rank,
        "scored": standing.scored,
        "paid": line.paid,
        "records": line.records,
        "repeats": line.repeats,
    }


def score_words(standing: Standing, own: dict[int, int] | None) -> Iterator[str]:
    """The same for people; `own`: which earlier contributions of this home hold its records, None if not known."""
    line = standing.line
    if line is None:
        yield f"contribution {standing.id} {where(standing)}; no score yet"
        return
    yield f"contribution {standing.id}, round {standing.round}: {line.words()}"
    if standing.rank is not None:
        yield f"  score {points(line.raw)} +- {points(line.stderr)}, payable {points(line.payable)}, in thousandths"
        yield f"  rank {standing.rank} of {standing.scored} scored in its round"
    repeats = f", {line.repeats} repeated ones left out" if line.repeats else ""
    yield f"  {line.records} records scored{repeats}"
    yield f"  paid {units(line.paid)} tokens"
    yield "why:"
    yield from (f"  {sentence}" for sentence in standing.why)
    if line.repeats and own:
        held = ", ".join(f"{count} in contribution {id_}" for id_, count in own.items())
        yield f"  Of its records you had sent before, from this home: {held}."
    elif line.repeats and own is not None:
        yield "  None of its records was sent before from this home: the DAO held them, or somebody else was first."


def where(standing: Standing) -> str:
    """Where a contribution without a score stands."""
    from validator.rounds.lifecycle import Phase

    if standing.round is None:
        return "waits for a round to open"
    left = f", for at most {standing.left} s more" if standing.left is not None else ""
    phase = (
        "is closed, and its seed is drawn next"
        if standing.phase is Phase.CLOSED
        else f"is {standing.phase.name.lower()}"
    )
    return f"is in round {standing.round}, which {phase}{left}"


def repeats_of(settings: Settings, view: View, standing: Standing) -> dict[int, int] | None:
    """Which earlier contributions of this home hold records of this one, and how many; None where it has no repeats, or
    was not sent from here.
    """
    from validator.actions.sent import FILE, read, repeated

    if standing.line is None or not standing.line.repeats:
        return None
    sent = read(settings.path(FILE), view.deployment.chain_id, view.deployment.rounds)
    return repeated(sent, standing.id) if standing.id in sent else None


def waited(view: View, contribution: int, poll_seconds: float) -> Standing:
    """Wait for the final round with a line that says what is waited for, on a terminal's standard error."""
    from rich.console import Console

    from validator.actions.standing import wait_until_final

    console = Console(stderr=True)
    with console.status("waiting") as status:

        def tell(standing: Standing | None) -> None:
            words = "is sent, and not final yet" if standing is None else where(standing)
            status.update(f"contribution {contribution} {words}")

        if not console.is_terminal:
            status.stop()
        return wait_until_final(view, contribution, tell, poll_seconds)


def _all(account: str, standings: list[Standing], as_json: bool) -> None:
    paid = sum(standing.line.paid for standing in standings if standing.line is not None)
    answer = {"account": account, "paid": paid, "contributions": [scored(standing) for standing in standings]}
    if as_json:
        emit(answer, True)
        return
    columns = ("id", "round", "status", "score", "rank", "paid")
    table(
        f"Contributions of {account}", columns, map(_cells, standings), right=("id", "round", "score", "rank", "paid")
    )
    typer.echo(
        f"{units(paid)} tokens earned by these; `validator score ID` says why, `validator claim` pays what is due"
    )


def _cells(standing: Standing) -> tuple[object, ...]:
    from validator.rounds.types import Status

    line, number = standing.line, standing.round if standing.round is not None else "-"
    if line is None:
        return (standing.id, number, standing.phase.name.lower() if standing.round else "waits", "", "", "")
    status = Status(line.status).name.lower().replace("_", " ") + (f" ({line.reason})" if line.reason else "")
    judged = standing.rank is not None
    value = f"{points(line.raw)} +- {points(line.stderr)}" if judged else ""
    return (
        standing.id,
        number,
        status,
        value,
        f"{standing.rank} of {standing.scored}" if judged else "",
        units(line.paid),
    )
