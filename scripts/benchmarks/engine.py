"""One round by one process, by two worker processes and by two Ray workers: seconds, ratio, and that the bits agree.

Two DAOs: the demonstration's digits (a small network: a batch costs hardly more than a run) and a GPT of 14,816
parameters on letters of a made-up language (a run fills a processor by itself). Contributions are judged in order.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from influence_response import parameters, problem_and_pool
from measure import Row, compare, report

from validator.engines import EngineSpec, open_engine
from validator.exact.random import Stream
from validator.influence import Problem, Records, Scores, fit
from validator.influence.engine import IN_PROCESS, Engine
from validator.influence.models import build, initialise
from validator.influence.response import Response

LETTERS, POSITIONS = 32, 32
OLD_CHUNK = 16


@dataclass(frozen=True, slots=True)
class World:
    """A fitted referee and what it has to judge."""

    name: str
    fitted: Response
    parts: list[Records]

    def judged(self, engine: Engine, chunk: int | None = None) -> Scores:
        """About every second contribution is accepted, whatever it is worth: a round of both kinds."""
        return self.fitted.in_order(self.parts, lambda raw, stderr: raw % 2 == 0, chunk=chunk, engine=engine)


def letters(count: int, name: str) -> Records:
    """Sentences of a language in which each letter prefers a few others, int64 (count, 32), and what comes next."""
    stream = Stream(b"bench", name)
    follow = Stream(b"bench", "language").integers(LETTERS, (LETTERS, 4))
    tokens = [stream.integers(LETTERS, (count,))]
    choices = stream.integers(4, (count, POSITIONS))
    for position in range(POSITIONS):
        tokens.append(follow[tokens[-1], choices[:, position]])
    whole = torch.stack(tokens, 1)
    return Records(whole[:, :-1].contiguous(), whole[:, 1:].contiguous())


def worlds(small: bool) -> Iterator[World]:
    """Digits, and letters."""
    problem, pool = problem_and_pool()
    fitted = fit(problem, "response", seed=b"bench", **parameters())
    count = 4 if small else 12
    assert isinstance(fitted, Response)
    yield World("digits", fitted, [pool.select(torch.arange(32 * i, 32 * (i + 1))) for i in range(count)])
    model = build("gpt", {"vocabulary": LETTERS, "context": POSITIONS, "width": 32, "heads": 2, "layers": 1})
    initialise(model, Stream(b"bench", "gpt"))
    problem = Problem(model, letters(64, "anchor"), letters(64, "queries"))
    params = {"adam": 1, "learning_rate": 0.01, "replicas": 4, "epochs": 1 if small else 3, "settle": 1}
    fitted = fit(problem, "response", seed=b"bench", **params)
    assert isinstance(fitted, Response)
    yield World("letters", fitted, [letters(32, f"part {i}") for i in range(2 if small else 6)])


def rows(repeats: int, small: bool = False) -> list[Row]:
    """Seconds of judging all contributions of each world."""
    torch.set_num_threads(1)
    found = []
    with ExitStack() as stack:
        engines: dict[str, Engine] = {"one process": IN_PROCESS}
        for name, spec in (
            ("2 processes", EngineSpec(devices="cpu,cpu")),
            ("2 Ray workers", EngineSpec(engine="ray", workers=2)),
        ):
            opened = open_engine(spec)
            stack.callback(opened.close)
            engines[name] = opened.engine
        for world in worlds(small):
            works: dict[str, Callable[[], object]] = {
                f"one process, {OLD_CHUNK} at once": lambda w=world: w.judged(IN_PROCESS, OLD_CHUNK)
            }
            works |= {name: lambda w=world, e=engine: w.judged(e) for name, engine in engines.items()}
            expected = world.judged(IN_PROCESS).to_fixed()
            for name, engine in engines.items():
                if world.judged(engine).to_fixed() != expected:
                    raise SystemExit(f"{world.name}, {name}: other bits")
            taken = compare(works, repeats)
            base = taken["one process"].median
            for name, timing in taken.items():
                note = f"{base / timing.median:.2f} x as fast as one process"
                found.append(Row(f"{world.name}, {len(world.parts)} contributions, {name}", timing, note))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument(
        "--repeats", type=int, default=3, help="turns, at least 2; a turn takes minutes on a busy machine"
    )
    parser.add_argument("--small", action="store_true", help="hardly anything to do: does it run at all?")
    given = parser.parse_args()
    report("Engines", rows(max(2, given.repeats), given.small), given.json)


if __name__ == "__main__":  # worker processes import this file too
    main()
