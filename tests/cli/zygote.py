"""A process that has imported the program and forks a run of it for each line of JSON on standard input.

Usage: zygote.py OUT ERR. Each run writes its streams to these two files; its exit code is the answer, one line each.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import sys
import traceback
from typing import Any

import torch._dynamo  # noqa: F401 - two seconds, wherever something is scored

import validator.actions.auditor
import validator.actions.contributor
import validator.actions.found
import validator.actions.operator
import validator.actions.standing
import validator.daemon  # noqa: F401 - what most commands load, and most of the time that a run takes
from validator.cli.app import command


def run(request: dict[str, Any]) -> None:
    """The child: becomes `python -m validator ARGUMENTS`."""
    signal.alarm(request["seconds"])
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for number, path in enumerate(sys.argv[1:3], start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["validator", *request["arguments"]]
    code: object = 0
    try:
        runpy.run_module("validator", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)  # without the second that taking all modules down would take


command()
gc.freeze()
for line in sys.stdin:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        run(json.loads(line))
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
