"""The walkthrough that docs/walkthrough.md was written from: it still runs, and the page is of the script as it is."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT, PAGE = ROOT / "scripts/walkthrough.py", ROOT / "docs/walkthrough.md"


def steps() -> list[str]:
    """The titles of the script's steps, in order."""
    calls = [node for node in ast.walk(ast.parse(SCRIPT.read_text())) if isinstance(node, ast.Call)]
    named = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "step"]
    return [call.args[0].value for call in sorted(named, key=lambda call: call.lineno)]  # type: ignore[attr-defined]


def test_page__of_a_real_run__has_every_step_of_the_script_with_its_time():
    text = PAGE.read_text()
    assert re.findall(r"^## \d+\. (.*)$", text, re.MULTILINE) == steps()
    assert [re.search(rf"^\| {re.escape(title)} \| \d+ \| \d+ \|$", text, re.MULTILINE) for title in steps()].count(
        None
    ) == 0
    assert re.search(r"from a run on \d{4}-\d\d-\d\d", text)
    assert text.count("        # ") > 30  # commands with their seconds
    assert "/tmp/" not in text


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_walkthrough__run_again__goes_from_nothing_to_an_audit():
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^## \d+\. (.*)$", done.stdout, re.MULTILINE) == steps()
