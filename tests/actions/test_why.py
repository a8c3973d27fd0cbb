"""Why a contribution was paid what it was paid: every rule has its sentence, and the numbers in it are the round's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.rounds.test_score import MANIFEST
from tests.web.test_picture import line
from validator.actions.why import deposit_words, why
from validator.influence.training import ResponseSettings
from validator.manifest import Manifest
from validator.rounds.earnings import divide_pool, payable_score
from validator.rounds.evidence import FORMAT, Evidence, Line, Versions
from validator.rounds.types import FORFEITS, WORDS, Status
from validator.words import REASONS, UNIT

PROTOCOL = (Path(__file__).parents[2] / "docs/protocol.md").read_text()
DIGESTS = ("manifest", "beacon", "seed", "previous", "probes", "accepted", "memory")
DIGESTS += ("inputs_root", "scores_root", "earnings_root")
NUMBERS = ("accepted_count", "memory_count", "memory_size", "memory_epoch", "round_total", "earned_total")


def ruled(kappa_milli: int = 1000, floor: int = 0, cap: int = 10**9, full: int = 1, share: int = 10_000) -> Manifest:
    scoring = MANIFEST.scoring.model_copy(update={"kappa_milli": kappa_milli, "floor": floor, "contribution_cap": cap})
    rewards = MANIFEST.rewards.model_copy(update={"full_pool_score": full, "contributor_cap_bps": share})
    return MANIFEST.model_copy(update={"scoring": scoring, "rewards": rewards})


def judged(manifest: Manifest, *raw_and_stderr: tuple[int, int], pool: int = 1000) -> Evidence:
    """A bundle of contributions of different people, scored by the manifest's rules; scores in thousandths."""
    scored = [line(number, raw * UNIT, doubt * UNIT) for number, (raw, doubt) in enumerate(raw_and_stderr, 1)]
    payable = [payable_score(one.raw, one.stderr, manifest.scoring) for one in scored]
    paid = divide_pool(
        pool, [(str(one.id), score) for one, score in zip(scored, payable, strict=True)], manifest.rewards
    )
    lines = [
        msgspec.structs.replace(one, payable=score, paid=amount, status=Status.PAID if score else Status.BELOW_NOISE)
        for one, score, amount in zip(scored, payable, paid, strict=True)
    ]
    return bundle(lines, pool)


def bundle(lines: list[Line], pool: int = 0) -> Evidence:
    digests: dict[str, Any] = dict.fromkeys(DIGESTS, "00" * 32)
    numbers: dict[str, Any] = dict.fromkeys(NUMBERS, 0)
    place: dict[str, Any] = {"chain_id": 1, "contract": "0x" + "11" * 20, "round": 1, "attempt": 1, "pool": pool}
    versions = Versions(exact=2, influence=3, rounds=2)
    return Evidence(format=FORMAT, versions=versions, contributions=lines, earnings=[], **place, **digests, **numbers)


def reasons(manifest: Manifest, evidence: Evidence, index: int = 0) -> str:
    return " ".join(why(evidence.contributions[index], evidence, manifest, lambda amount: f"{amount} RWD"))


def test_why__paid__follows_the_arithmetic_to_the_amount() -> None:
    manifest = ruled(kappa_milli=1500)
    told = reasons(manifest, judged(manifest, (40, 10), (80, 10)))

    assert "falls by 40.00 thousandths, with a standard error of 10.00" in told
    assert "1.5 times the standard error comes off, which leaves 25.00" in told
    assert "The pool of 1000 RWD is shared out over 90.00 thousandths, all payable scores" in told
    assert "25.00 of them earn 277 RWD" in told


@pytest.mark.parametrize(
    ("rules", "scores", "words"),
    [
        ({}, (5, 9), "comes off, which leaves -4.00"),
        ({}, (-5, 1), "rises by 5.00 thousandths"),
        ({"floor": 8 * UNIT}, (9, 2), "That is below the floor of 8.00"),
        ({"cap": 20 * UNIT}, (60, 2), "At most 20.00 are payable to one contribution"),
        ({"full": 100 * UNIT}, (60, 0), "over 100.00 thousandths, the least for which all is paid out"),
        ({"share": 2500}, (60, 0), "One contributor takes at most 25 % of a pool, so 250 RWD are paid"),
    ],
)
def test_why__rule_that_bound__is_named_with_its_number(
    rules: dict[str, int], scores: tuple[int, int], words: str
) -> None:
    manifest = ruled(**rules)

    assert words in reasons(manifest, judged(manifest, scores))


@pytest.mark.parametrize(
    ("estimator", "params", "told"),
    [
        ("response", {}, ResponseSettings().control > 0),
        ("response", {"control": "0.5"}, True),
        ("response", {"control": 0}, False),
        ("response", {"control": "0"}, False),
        ("classical", {}, False),
    ],
)
def test_why__gains_stand_against_a_control__is_told(estimator: str, params: dict[str, int | str], told: bool) -> None:
    other = MANIFEST.estimator.model_copy(update={"name": estimator, "params": params})
    manifest = ruled().model_copy(update={"estimator": other})

    assert ("under false names of their classes" in reasons(manifest, judged(manifest, (40, 10)))) is told


def test_why__records_known_before__are_counted_in_words() -> None:
    manifest = ruled()
    evidence = judged(manifest, (40, 1))
    evidence = bundle([msgspec.structs.replace(evidence.contributions[0], records=1, repeats=2)], 1000)
    told = reasons(manifest, evidence)

    assert "2 of 3 records were known before, and are not scored." in told
    assert "1 record is scored" in told


@pytest.mark.parametrize("status", Status)
def test_why__any_status__begins_with_it_and_the_deposit_has_its_fate(status: Status) -> None:
    one = msgspec.structs.replace(line(1, records=0), status=status, raw=0, stderr=0)
    told = reasons(ruled(), bundle([one]))

    assert told[1:].startswith(WORDS[status][1:] + ".")
    assert deposit_words(status) == ("forfeited" if status in FORFEITS else "comes back")


def test_why__every_reason_of_the_protocol__has_words() -> None:
    named = PROTOCOL.partition("The `reason` of a line is a stable code:")[2].partition("It is empty otherwise")[0]
    codes = re.findall(r"`([a-z_]+)`", named)

    assert len(codes) > 12
    for code in codes:
        one = msgspec.structs.replace(line(1, records=0), status=Status.MALFORMED, reason=code)
        assert f"The rule it broke: {REASONS[code]}." in reasons(ruled(), bundle([one]))
