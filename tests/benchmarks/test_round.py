"""How growth is told, and that a round can be measured at all."""

from __future__ import annotations

import json
import math

import pytest
import round as bench


def test_exponent__power_law__is_its_power() -> None:
    sizes = [10, 100, 1_000, 10_000]
    assert bench.exponent(sizes, [3 * size**1.3 for size in sizes]) == pytest.approx(1.3)
    assert bench.exponent(sizes, [7.0] * 4) == pytest.approx(0.0)
    assert bench.exponent(sizes[-2:], [50 + size for size in sizes[-2:]]) == pytest.approx(math.log10(10_050 / 1_050))


def test_report__rows__hold_both_exponents_and_bytes_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        bench.Measured(n, n / 10, n / 20, 400.0, 500.0 + n / 100, 9_000 * n, 300 * n, 400 * n, n // 2)
        for n in (10, 1_000)
    ]
    bench.report(rows, "classical", {"folds": 2}, 32, as_json=False)
    told = capsys.readouterr().out
    assert "| processor | 1.00 | 1.00 |" in told
    assert "| 1,000 | 500 | 100.0 s |" in told
    assert "`classical` with `folds` 2, otherwise" in told
    assert "envelopes 9,000, bundle 300, journal 400" in told
    bench.report(rows, "classical", {"folds": 2}, 32, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["exponents"]["wall"]["all"] == pytest.approx(1.0)
    assert [row["contributions"] for row in found["rows"]] == [10, 1_000]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_main__small_rounds__are_played_and_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sys.argv",
        ["round.py", "--most", "20", "--records", "2", "--json", "--estimator", "response", "--most-steps", "8"],
    )
    bench.main()
    found = json.loads(capsys.readouterr().out)
    assert [row["contributions"] for row in found["rows"]] == [10, 20]
    assert all(row["peak"] > row["before"] > 50 and row["wall"] > 0 for row in found["rows"])
