"""`response`: the counterfactual referee that pays. Train on reference + contribution, and ask the queries.

From one start, every contribution gets a short training run of its own on reference + contribution; a baseline run
trains on the reference alone. The score is the baseline's objective on the queries less the contribution's. Several
schedules (replicas) are averaged; their spread is part of the standard error. See training.py for the runs.

`score` asks what each contribution is worth alone. `in_order` asks what it adds to those accepted before it: when one
is accepted, the reference grows by its records, its trained networks become the start (with `refresh`, shaken again),
and the baseline is trained anew. Accepted values then telescope: their sum is about the gain of training on everything
that was accepted. So a near-copy of what was accepted adds nothing, and data split over many accounts earn together
what they would in one.

Networks that have settled gain by any shock, noise included. So in order a value above zero has to stand against a
control: the same run of the same records under false names of their classes. What the control gains as well no label
has taught, and it is taken off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from safetensors.torch import save
from torch import Tensor

from validator.exact import NonFinite, exact
from validator.exact.digest import digest
from validator.influence.engine import IN_PROCESS, Engine
from validator.influence.errors import InfluenceError
from validator.influence.foresight import Window
from validator.influence.groups import members
from validator.influence.models import Kinds, load_tensors
from validator.influence.problem import Problem, Weights
from validator.influence.records import Growing, Records
from validator.influence.scores import Scores
from validator.influence.settings import write_header
from validator.influence.training import ResponseSettings
from validator.influence.trials import Place, Trials

Progress = Callable[[int, int], None]
Accepts = Callable[[int, int], bool]
"""Whether a contribution is accepted, from its value and standard error in fixed-point units of the objective."""

NAME = "response"
AHEAD_BYTES = 64 << 20
"""Of records that are held before they are judged, at most: each is of use only if those before it are refused."""


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """A fitted referee: the networks that runs start from, (replicas, 1, ...), the baseline's objective on each query,
    float32 (replicas, queries), and how to train against it.
    """

    problem: Problem
    settings: ResponseSettings
    seed: bytes
    per_query: bool
    start: Weights
    baseline: Tensor

    def score(
        self,
        records: Records,
        groups: Tensor | None = None,
        chunk: int | None = None,
        progress: Progress | None = None,
        engine: Engine = IN_PROCESS,
    ) -> Scores:
        """What each record, or each group in ascending order of its id, is worth by itself.

        `chunk` groups are trained at once, as many as the memory at hand allows by default; neither it nor the engine
        changes a bit. A run that leaves the finite range counts as the worst objective on every query, and harms no
        other. Raises InfluenceError on an empty record set, ids of another shape, or records that do not fit the model.
        """
        chosen = members(len(records), groups)
        self.problem.check(records)
        trials, place = self._begin(engine)
        parts = [records.select(part) for part in chosen]
        batch = trials.room(place, len(parts)) if chunk is None else _checked(chunk)
        objectives, _ = trials.tried(place, parts, batch, lambda done: _tell(progress, done, len(parts)))
        with exact(), torch.no_grad():
            return _summary(torch.stack([self._drop(place, found) for found in objectives]), self.per_query)

    def in_order(
        self,
        parts: Sequence[Records],
        accepts: Accepts,
        chunk: int | None = None,
        progress: Progress | None = None,
        engine: Engine = IN_PROCESS,
    ) -> Scores:
        """What each of `parts` adds to the reference and the parts accepted before it; see `judged`."""
        found = list[Scores]()
        for one in self.judged(parts, accepts, count=len(parts), chunk=chunk, engine=engine):
            found.append(one)
            _tell(progress, len(found), len(parts))
        nothing = torch.zeros(0, dtype=torch.float64)
        return Scores(
            torch.cat([nothing, *(one.values for one in found)]), torch.cat([nothing, *(one.stderr for one in found)])
        )

    def judged(
        self,
        parts: Iterable[Records],
        accepts: Accepts,
        *,
        count: int,
        chunk: int | None = None,
        most_bytes: int = AHEAD_BYTES,
        engine: Engine = IN_PROCESS,
    ) -> Iterator[Scores]:
        """The score of each of at most `count` parts, as soon as it is known. Parts are taken when they are needed, and
        let go unless they are accepted.

        Up to `chunk` parts, by default as many as the memory at hand allows, are tried at once from one place, of
        about `most_bytes` at most; those behind an accepted one are tried again from the next, so neither these numbers
        nor the engine change a bit. A part whose training leaves the finite range, or with which the next baseline
        does, counts as the worst objective on every query and is not accepted. Raises InfluenceError on records that do
        not fit the model, and for a referee fitted per query.
        """
        if self.per_query:
            raise InfluenceError("contributions are judged in order by the mean over the queries, not per query")
        ahead, done, source = deque[Records](), 0, self._that_fit(parts)
        first = next(source, None)
        if first is None:
            return
        ahead.append(first)
        trials, place = self._begin(engine)
        batch = trials.room(place, count) if chunk is None else _checked(chunk)
        abreast = max(1, engine.width // self.settings.replicas)
        window, grown = Window(abreast, abreast * batch), Growing(place.reference)
        while ahead:
            some = window.ahead(done)
            fill(ahead, source, some, most_bytes)
            tried = list(islice(ahead, some))
            judged, place, verdicts = self._advance(trials, place, grown, tried, batch, accepts)
            window.learn(done, len(judged), verdicts)
            done += len(judged)
            for one in judged:
                ahead.popleft()
                yield one
            fill(ahead, source, 1, most_bytes)

    def _that_fit(self, parts: Iterable[Records]) -> Iterator[Records]:
        for part in parts:
            self.problem.check(part)
            yield part

    def _advance(
        self,
        trials: Trials,
        place: Place,
        grown: Growing,
        parts: Sequence[Records],
        batch: int,
        accepts: Accepts,
    ) -> tuple[list[Scores], Place, list[bool]]:
        """Judge `parts` from one place up to the first accepted one: the judged, the place after them, and which of
        `parts` would be accepted from here. `grown` holds the reference of the place.
        """
        objectives, ends = trials.tried(place, parts, batch)
        with exact(), torch.no_grad():
            scores = [_summary(self._drop(place, found).unsqueeze(0), per_query=False) for found in objectives]
        verdicts = [end is not None and accepts(*_fixed(one)) for one, end in zip(scores, ends, strict=True)]
        done = 0
        while done < len(parts):
            position = next((later for later in range(done, len(parts)) if verdicts[later]), len(parts) - 1)
            some = slice(done, position + 1)  # controls of what is behind an acceptable part might be for nothing
            scores[some] = self._controlled(trials, place, parts[some], scores[some], batch)
            done, end = position + 1, ends[position]
            verdicts[position] = verdicts[position] and accepts(*_fixed(scores[position]))
            if not verdicts[position] or end is None:
                continue
            try:
                following = trials.arrive(end, grown.with_more(place.reference, parts[position]))
            except NonFinite:
                with exact(), torch.no_grad():
                    scores[position] = _summary(self._drop(place, None).unsqueeze(0), per_query=False)
                verdicts[position] = False
            else:
                return scores[: position + 1], following, verdicts
        return scores, place, verdicts

    def _controlled(
        self, trials: Trials, place: Place, parts: Sequence[Records], scores: Sequence[Scores], batch: int
    ) -> list[Scores]:
        """`scores` of `parts` from a place, less what the controls of those above zero gain."""
        found = list(scores)
        above = [position for position, one in enumerate(scores) if self.settings.control and float(one.values[0]) > 0]
        objectives = trials.controls(place, [parts[position] for position in above], batch)
        with exact(), torch.no_grad():
            for position, objective in zip(above, objectives, strict=True):
                gain = _likely_gain(self._drop(place, objective), self.settings.control)
                found[position] = Scores(found[position].values - gain, found[position].stderr)
        return found

    def _drop(self, place: Place, found: Tensor | None) -> Tensor:
        """Drop of the objective, float32 (replicas, queries), from what a run found; the worst if it found nothing."""
        return place.baseline - (self.problem.measure().worst if found is None else found)

    def _begin(self, engine: Engine = IN_PROCESS) -> tuple[Trials, Place]:
        trials = Trials(self.problem, self.settings, self.seed, engine)
        return trials, Place(self.start, self.problem.anchor, self.baseline)

    def to_bytes(self) -> bytes:
        """A safetensors file: the baseline and a header. The problem is named by its digest, not included; the start
        follows from it.
        """
        return bytes(save(self._tensors()))

    def digest(self) -> bytes:
        """32 bytes over the tensors and the header."""
        return digest(self._tensors())

    def _tensors(self) -> dict[str, Tensor]:
        header = write_header(NAME, self.seed, self.problem.digest(), self.per_query, self.settings)
        return {"baseline": self.baseline, "header": header}


def fit_response(
    problem: Problem,
    settings: ResponseSettings,
    seed: bytes,
    per_query: bool,
    progress: Progress,
    parts: MutableMapping[str, bytes],
    engine: Engine = IN_PROCESS,
) -> Response:
    """Train the start and the baseline; finished trainings are taken from and put into `parts`."""
    trials, steps = Trials(problem, settings, seed, engine), settings.settle + 1
    try:
        start = settled(trials, problem, settings, parts, lambda done: progress(done, steps))
        if "baseline" not in parts:
            parts["baseline"] = bytes(save({"baseline": trials.baseline(start, problem.anchor)}))
    except NonFinite as error:
        raise InfluenceError(f"training on the anchor alone diverges, lower the learning rate: {error}") from error
    expected: Kinds = {"baseline": (torch.float32, (settings.replicas, len(problem.queries)))}
    baseline = load_tensors(parts["baseline"], expected)["baseline"]
    progress(steps, steps)
    return Response(problem, settings, seed, per_query, start, baseline)


def load_response(
    problem: Problem,
    settings: ResponseSettings,
    seed: bytes,
    per_query: bool,
    baseline: Tensor,
    engine: Engine = IN_PROCESS,
) -> Response:
    """A referee from its stored baseline: the start is trained again."""
    start = settled(Trials(problem, settings, seed, engine), problem, settings, {}, lambda done: None)
    return Response(problem, settings, seed, per_query, start, baseline)


def settled(
    trials: Trials,
    problem: Problem,
    settings: ResponseSettings,
    parts: MutableMapping[str, bytes],
    progress: Callable[[int], None],
) -> Weights:
    """The shaken weights after `settle` trainings on the anchor, with `refresh` shaken again, (replicas, 1, ...): where
    the first runs start.
    """
    with exact(), torch.no_grad():
        weights = trials.runs.begin()
    for turn in range(settings.settle):
        key = f"settled-{turn}"
        if key not in parts:
            trained = trials.settled(weights, problem.anchor)
            parts[key] = bytes(save({name: w.contiguous() for name, w in trained.items()}))
        weights = load_tensors(parts[key], {name: (w.dtype, tuple(w.shape)) for name, w in weights.items()})
        progress(turn + 1)
    return trials.refreshed(weights, problem.anchor)


def fill(ahead: deque[Records], source: Iterator[Records], count: int, most_bytes: int) -> None:
    """Take parts from `source` until `count` are `ahead`, or `most_bytes` of them; one in any case."""
    held = sum(part.nbytes for part in ahead)
    while len(ahead) < count and (not ahead or held < most_bytes):
        part = next(source, None)
        if part is None:
            return
        ahead.append(part)
        held += part.nbytes


def _checked(chunk: int) -> int:
    if chunk < 1:
        raise InfluenceError(f"chunk must be at least 1, not {chunk}")
    return chunk


def _fixed(one: Scores) -> tuple[int, int]:
    """Value and standard error of a single score, in fixed-point units."""
    values, stderr = one.to_fixed()
    return values[0], stderr[0]


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


def _summary(drops: Tensor, per_query: bool) -> Scores:
    """From drops float32 (groups, replicas, queries) to the mean and its standard error.

    Two independent sources: queries are a sample (variance of the paired differences over queries / queries),
    schedules are a sample (variance of the mean over replicas / replicas).
    """
    exactly = drops.to(torch.float64)
    by_query = exactly.mean(1)
    if per_query:
        return Scores(by_query, torch.zeros_like(by_query))
    by_replica = exactly.mean(2)
    return Scores(by_query.mean(1), torch.sqrt(_variance_of_mean(by_query) + _variance_of_mean(by_replica)))


def _likely_gain(drops: Tensor, deviations: float) -> Tensor:
    """What drops float32 (replicas, queries) of a control come to, float64 (1,): their mean and so many standard
    deviations of a replica, which has false names of its own; nothing below zero.
    """
    by_replica = drops.to(torch.float64).mean(1).unsqueeze(0)
    deviation = torch.sqrt(_variance_of_mean(by_replica) * by_replica.shape[1])
    return (by_replica.mean(1) + deviations * deviation).clamp(min=0)


def _variance_of_mean(sample: Tensor) -> Tensor:
    """Unbiased variance of the mean over the last dimension of (groups, n); zero for a sample of one."""
    count = sample.shape[1]
    if count < 2:
        return torch.zeros_like(sample[:, 0])
    centred = sample - sample.mean(1, keepdim=True)
    return (centred * centred).sum(1) / (count * (count - 1))
