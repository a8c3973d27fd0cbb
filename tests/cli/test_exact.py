"""`validator exact self-test`, and what `validator run` does on a machine that fails it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

from tests.cli.commands import SECONDS, Zygote, environment
from tests.documented import said
from validator.exact import VERSION

FLUSHED = """
import sys, torch
torch.set_flush_denormal(True)
sys.argv = ["validator", *sys.argv[1:]]
from validator.cli import main
main()
"""
"""The program in a process that some library has told to flush denormals: what a build with -ffast-math does."""


def flushed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", FLUSHED, *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
    )


def test_self_test__this_machine__a_table_and_the_certificate(run: Zygote):
    told = run(*said("exact self-test")).answered()
    assert "single operations" in told
    assert told.splitlines()[-1] == f"certified: exact version {VERSION}, torch {torch.__version__}, device cpu"


def test_self_test__no_such_device__is_refused(run: Zygote):
    assert "cannot use the device cuda:99" in run("exact", "self-test", "--device", "cuda:99").refused()


def test_self_test__denormals_flushed__fails_and_names_them(folder: Path):
    done = flushed(folder, "exact", "self-test", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["ok"], told["machine"]["torch"]) == (False, torch.__version__)
    assert told["verdict"].startswith("FAILED: denormal numbers: ")


def test_run__denormals_flushed__does_not_start_and_says_why_in_one_line(folder: Path, places: dict[str, str]):
    done = flushed(folder, "run", "--home", places["auditor"])
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: this machine must not score: FAILED: denormal numbers: ")
    assert "Traceback" not in done.stderr
