"""The demonstration in words and pictures, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from validator.demo.play import Played
from validator.rounds.types import Status
from validator.words import points, units

_COLOURS = {Status.PAID: "green", Status.BELOW_NOISE: "yellow"}
_WIDTH = 24


def print_round(console: Console, played: Played) -> None:
    """Who brought what, how it was scored, what it was paid, and why not."""
    state, lines = played.state, played.evidence.contributions
    title = (
        f"Round {state.round}: final, {len(state.attestations)} equal attestations, "
        f"{units(sum(line.paid for line in lines))} of {units(state.pool)} tokens paid"
    )
    table = Table(title=title, title_justify="left", header_style="bold")
    for name, justify in (("id", "right"), ("what it really is", "left"), ("status", "left"), ("score", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("paid", justify="right")
    table.add_column("")
    truth = {entry.submitted.id: entry for entry in played.entries}
    most = max((line.paid for line in lines), default=0) or 1
    for line in lines:
        entry, status = truth[line.id], Status(line.status)
        colour = _COLOURS.get(status, "red")
        scored = f"{points(line.raw)} ± {points(line.stderr)}" if line.records else ""
        reason = f" ({line.reason})" if line.reason not in ("", status.name.lower()) else ""
        words = f"[{colour}]{status.name.lower().replace('_', ' ')}{reason}[/]"
        bar = f"[{colour}]{'█' * round(_WIDTH * line.paid / most)}[/]"
        table.add_row(str(line.id), f"{entry.kind}: {entry.detail}", words, scored, units(line.paid), bar)
    console.print(table)


def print_shares(console: Console, shares: Mapping[str, float]) -> None:
    """Share of all payments by kind, as bars."""
    console.print("\n[bold]Who got the money[/]")
    for kind, share in shares.items():
        console.print(f"  {kind:<12} {share:7.2%}  {'█' * round(share * 50)}")


def print_gas(console: Console, gas: Mapping[str, int]) -> None:
    """What the chain charged, in one line."""
    console.print("\n[bold]Gas[/]  " + "  ".join(f"{name} {amount:,}" for name, amount in gas.items()))
