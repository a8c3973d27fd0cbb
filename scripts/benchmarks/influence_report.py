"""How the attribution benchmark tells what it found."""

from __future__ import annotations

from collections.abc import Sequence

from influence_cost import BATCH, RECORDS, Cost
from influence_methods import YARDSTICK
from influence_metrics import Agreement
from influence_runs import Measured
from measure import Row, in_words, machine


def opening(jobs: int) -> str:
    """Title, date and machine."""
    where = machine()
    return (
        f"## Influence estimators beside their peers\n\n{where['date']}, {where['cpu']}, {where['cores']} cores at "
        f"load {where['load']}, Python {where['python']}, torch {where['torch']}; every method in a process of its own "
        f"with one thread, {jobs} at a time\n"
    )


def attribution(name: str, recipe: str, halves: Agreement, most: Agreement, rows: Sequence[Measured]) -> str:
    """One task's table, best per query first within ours, yardsticks and peers."""
    lines = [
        f"### {name}\n\n{recipe.removeprefix(f'{name}: ')}.\n",
        f"The truth agrees with itself (halves of the seeds) at {halves.per_query:.3f} per query and "
        f"{halves.mean_objective:.3f} for the mean objective; a perfect estimate would reach {most.per_query:.3f} and "
        f"{most.mean_objective:.3f}.\n",
        "| method | LDS per query | LDS mean objective | mislabel AUC | fit | score | records/s | CPU | peak MB | "
        "above start | |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
        *(line(row) for row in rows),
    ]
    return "\n".join(lines) + "\n"


def line(row: Measured) -> str:
    """A method's line."""
    if row.refused:
        return f"| {row.entry.name} | | | | | | | | | | not run: {row.refused.replace('|', '/')} |"
    cells = [
        row.entry.name,
        *(_number(value) for value in (row.per_query, row.mean_objective, row.auc)),
        f"{row.fit_s:.1f} s",
        f"{row.score_s:.2f} s",
        f"{row.records_s:,.0f}",
        f"{row.cpu_s:.1f} s",
        f"{row.peak_mb:,.0f}",
        f"{row.grown_mb:,.0f}",
        "truth: expected error" if row.entry.errors else row.entry.note,
    ]
    return f"| {' | '.join(cells)} |"


def verdicts(rows: Sequence[Measured]) -> str:
    """Each asked-for relation with its numbers; a relation whose rows are missing is left out."""
    named = {row.entry.name: row for row in rows if not row.refused and row.per_query is not None}
    lines, classical = [], named.get("classical")
    yardsticks = [row for row in named.values() if row.entry.of == YARDSTICK]
    peers = [row for row in named.values() if _is_peer(row)]
    if classical is not None and yardsticks:
        best = max(yardsticks, key=_per_query)
        share = _per_query(classical) / _per_query(best)
        lines.append(_said("`classical` >= 0.97 of the best dense GGN influence", share >= 0.97, f"{share:.3f}"))
    if classical is not None and peers:
        best = max(peers, key=_per_query)
        gap = f"{_per_query(classical):.3f} against {_per_query(best):.3f}, {best.entry.name}"
        lines.append(_said("`classical` above every peer", _per_query(classical) > _per_query(best), gap))
    for other in peers:
        if classical is not None and other.entry.name.startswith("dattri CG"):
            seconds, grown = classical.cpu_s / other.cpu_s, classical.grown_mb / other.grown_mb
            words = f"{seconds:.2f} of the CPU time, {grown:.2f} of the memory above start"
            lines.append(
                _said(f"a tenth of the time and memory of {other.entry.name}", max(seconds, grown) <= 0.1, words)
            )
    bayesian, theirs = named.get("bayesian"), [row for row in peers if row.entry.of == "devinterp"]
    if bayesian is not None:
        found = _per_query(bayesian)
        lines.append(_said("`bayesian` >= 0.62 per query", found >= 0.62, f"{found:.3f}"))
    if bayesian is not None and theirs:
        best = max(theirs, key=_per_query)
        gap = f"{_per_query(bayesian):.3f} against {_per_query(best):.3f}"
        lines.append(_said("`bayesian` above devinterp's", _per_query(bayesian) > _per_query(best), gap))
    mirrored = named.get("mirrored")
    if mirrored is not None and classical is not None:
        gap = _per_query(classical) - _per_query(mirrored)
        lines.append(_said("`mirrored` (proximal) within 0.05 of `classical`", gap <= 0.05, f"{gap:.3f} below"))
    return "\n".join(lines) + "\n"


def scoring(found: Sequence[Cost], repeats: int) -> str:
    """What scoring costs beside forward passes."""
    lines = [
        f"### Scoring {RECORDS} records in batches of {BATCH}, median of {repeats} repeats in turns\n",
        "| model | work | time | over plain float32 forward | over exact forward |",
        "|---|---|---:|---:|---:|",
        *(
            f"| {c.model} | {c.work} | {in_words(c.seconds.median)} | {c.over_plain:.2f} | {c.over_exact:.2f} |"
            for c in found
        ),
    ]
    return "\n".join(lines) + "\n"


def response(rows: Sequence[Row]) -> str:
    """The referee's fit and scoring on the demonstration's digits."""
    lines = ["### `response` on the demonstration's digits\n", "| what | median | IQR | |", "|---|---:|---:|---|"]
    lines += [
        f"| {row.what} | {in_words(row.timing.median)} | {in_words(row.timing.spread)} | {row.note} |" for row in rows
    ]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _per_query(row: Measured) -> float:
    return row.per_query or 0.0


def _is_peer(row: Measured) -> bool:
    return row.entry.of not in ("ours", YARDSTICK)


def _said(what: str, met: bool, found: str) -> str:
    return f"- {what}: {'met' if met else 'MISSED'} ({found})"
