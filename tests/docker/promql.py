"""As much of PromQL as our alert rules use, evaluated on prepared series: an answer on every machine, with or without
promtool. What it cannot parse is an error, so no rule goes untested.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
LOOKBACK = 300.0
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:e\d+)?)(?![a-z\w])|(?P<name>[a-zA-Z_:][\w:]*)|(?P<text>\"[^\"]*\")"
    r"|(?P<duration>\[\d+[smhd]\])|(?P<sign>==|!=|>=|<=|[-+*/<>(){},=]))"
)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class Series:
    """Samples (seconds, value) of one series, by time."""

    name: str
    labels: Labels
    samples: tuple[tuple[float, float], ...]


def seconds(text: str) -> float:
    """`5m`, `1h` and the like."""
    return int(text[:-1]) * _UNITS[text[-1]]


def series(notation: str, values: str, interval: float) -> Series:
    """A series of promtool's notation: `name{label="value"}` and `1x3 0+60x2`."""
    name, _, rest = notation.partition("{")
    labels = frozenset(re.findall(r'(\w+)="([^"]*)"', rest))
    found: list[float] = []
    for word in values.split():
        start, step, count = re.fullmatch(r"(-?\d+)(?:([+-]\d+))?(?:x(\d+))?", word).groups()  # type: ignore[union-attr]
        found += [float(start) + float(step or 0) * i for i in range(int(count or 0) + 1)]
    return Series(name, labels, tuple((i * interval, value) for i, value in enumerate(found)))


class Expression:
    """A parsed expression. Raises ValueError for what is outside of the subset. `metrics` are those it names."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._place = 0
        self.metrics: set[str] = set()
        self._evaluate = self._conjunction()
        if self._place != len(self._tokens):
            raise ValueError(f"{text!r}: {self._tokens[self._place]!r} is not understood")

    def at(self, known: Iterable[Series], time: float) -> Vector:
        """Its value at `time`: one entry for each set of labels for which it holds."""
        value = self._evaluate(list(known), time)
        assert isinstance(value, dict), "an alert needs a vector"
        return value

    # The grammar, from the loosest binding on

    def _conjunction(self) -> Callable:  # type: ignore[type-arg]
        left = self._comparison()
        while self._taken("and"):
            left = _both(left, self._comparison())
        return left

    def _comparison(self) -> Callable:  # type: ignore[type-arg]
        left = self._product()
        for sign, compare in _COMPARE.items():
            if self._taken(sign):
                return _filtered(left, self._product(), compare)
        return left

    def _product(self) -> Callable:  # type: ignore[type-arg]
        left = self._term()
        while self._taken("*"):
            left = _times(left, self._term())
        return left

    def _term(self) -> Callable:  # type: ignore[type-arg]
        word = self._next()
        if word == "(":
            inner = self._conjunction()
            self._expect(")")
            return inner
        if word[0].isdigit():
            number = float(word)
            return lambda known, time: number
        if word == "sum":
            return self._sum()
        if self._taken("("):
            if word not in _OVER_TIME:
                raise ValueError(f"function {word} is not known here")
            return self._ranged(word)
        return self._selector(word)

    def _sum(self) -> Callable:  # type: ignore[type-arg]
        self._expect("by")
        self._expect("(")
        names = {self._next()}
        while self._taken(","):
            names.add(self._next())
        self._expect(")")
        self._expect("(")
        inner = self._conjunction()
        self._expect(")")
        return _summed(inner, names)

    def _ranged(self, function: str) -> Callable:  # type: ignore[type-arg]
        name, wanted = self._name_and_labels(self._next())
        span = seconds(self._next().strip("[]"))
        self._expect(")")
        return lambda known, time: {
            each.labels: _OVER_TIME[function](inside)
            for each in known
            if each.name == name and wanted <= each.labels
            if len(inside := [value for when, value in each.samples if time - span <= when <= time]) > 1
        }

    def _selector(self, word: str) -> Callable:  # type: ignore[type-arg]
        name, wanted = self._name_and_labels(word)
        return lambda known, time: {
            each.labels: inside[-1]
            for each in known
            if each.name == name and wanted <= each.labels
            if (inside := [value for when, value in each.samples if time - LOOKBACK <= when <= time])
        }

    def _name_and_labels(self, name: str) -> tuple[str, Labels]:
        if not re.fullmatch(r"[a-zA-Z_:][\w:]*", name):
            raise ValueError(f"{name!r} is no metric")
        self.metrics.add(name)
        wanted = set()
        if self._taken("{"):
            while not self._taken("}"):
                label = self._next()
                self._expect("=")
                wanted.add((label, self._next().strip('"')))
                self._taken(",")
        return name, frozenset(wanted)

    def _next(self) -> str:
        if self._place == len(self._tokens):
            raise ValueError("the expression ends too early")
        self._place += 1
        return self._tokens[self._place - 1]

    def _taken(self, word: str) -> bool:
        found = self._place < len(self._tokens) and self._tokens[self._place] == word
        self._place += found
        return found

    def _expect(self, word: str) -> None:
        if not self._taken(word):
            raise ValueError(f"{word!r} is missing")


class Alert:
    """One rule, evaluated again and again: it fires once its expression has held for as long as it says."""

    def __init__(self, rule: Mapping[str, object]) -> None:
        self.name = str(rule["alert"])
        self.expression = Expression(str(rule["expr"]))
        self._for = seconds(str(rule.get("for", "0s")))
        self._labels = frozenset(rule.get("labels", {}).items())  # type: ignore[attr-defined]
        self._since: dict[Labels, float] = {}

    def firing(self, known: Iterable[Series], time: float) -> set[Labels]:
        """The label sets that fire at `time`; must be asked at every evaluation."""
        holds = self.expression.at(known, time)
        self._since = {labels: self._since.get(labels, time) for labels in holds}
        return {labels | self._labels for labels, since in self._since.items() if time - since >= self._for}


def _tokens(text: str) -> list[str]:
    tokens, place = [], 0
    while place < len(text.rstrip()):
        found = _TOKEN.match(text, place)
        if found is None:
            raise ValueError(f"{text[place : place + 20]!r} is not understood")
        tokens.append(found.group().strip())
        place = found.end()
    return tokens


def _increase(values: list[float]) -> float:
    """What a counter gained, restarts counted from zero."""
    return sum(later - earlier if later >= earlier else later for earlier, later in itertools.pairwise(values))


def _changes(values: list[float]) -> float:
    return sum(later != earlier for earlier, later in itertools.pairwise(values))


_OVER_TIME: dict[str, Callable[[list[float]], float]] = {"increase": _increase, "changes": _changes}


def _both(left: Callable, right: Callable) -> Callable:  # type: ignore[type-arg]
    def evaluate(known: list[Series], time: float) -> Vector:
        others = right(known, time)
        return {labels: value for labels, value in left(known, time).items() if labels in others}

    return evaluate


def _filtered(left: Callable, right: Callable, compare: Callable[[float, float], bool]) -> Callable:  # type: ignore[type-arg]
    def evaluate(known: list[Series], time: float) -> Vector:
        vector, other = left(known, time), right(known, time)
        if isinstance(other, float):
            return {labels: value for labels, value in vector.items() if compare(value, other)}
        return {labels: v for labels, v in vector.items() if labels in other and compare(v, other[labels])}

    return evaluate


def _times(left: Callable, right: Callable) -> Callable:  # type: ignore[type-arg]
    def evaluate(known: list[Series], time: float) -> Vector:
        factor, vector = left(known, time), right(known, time)
        assert isinstance(factor, float), "a number comes first"
        return {labels: factor * value for labels, value in vector.items()}

    return evaluate


def _summed(inner: Callable, names: set[str]) -> Callable:  # type: ignore[type-arg]
    def evaluate(known: list[Series], time: float) -> Vector:
        sums: Vector = {}
        for labels, value in inner(known, time).items():
            kept = frozenset((name, text) for name, text in labels if name in names)
            sums[kept] = sums.get(kept, 0.0) + value
        return sums

    return evaluate
