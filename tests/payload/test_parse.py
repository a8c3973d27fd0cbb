"""The worker as it really runs: spawned, limited, timed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from validator.payload import Limits, Malformed, WorkerFault, classification, encode_safetensors, parse
from validator.payload.worker import Request, Status, read_frame, write_frame

# The package's `parse` is the function; the module of that name holds what it starts.
parse_module: Any = sys.modules["validator.payload.parse"]

SCHEMA = classification((8,), 10, max_records=100, max_bytes=1 << 20)
INPUTS = np.random.default_rng(1).random((20, 8), dtype=np.float32)
TARGETS = np.arange(20) % 10
GOOD = encode_safetensors(INPUTS, TARGETS)


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run other code in the worker's place: what a worker does once hostile bytes have taken it over."""

    def choose(code: str) -> None:
        monkeypatch.setattr(parse_module, "_START", "import sys; sys.path.append(sys.argv[1])\n" + code)

    return choose


def test_parse__safetensors__comes_back_through_the_worker() -> None:
    parsed = parse(GOOD, "safetensors", SCHEMA)

    assert np.array_equal(parsed.arrays["inputs"], INPUTS)
    assert np.array_equal(parsed.targets, TARGETS)
    assert parsed.arrays["inputs"].flags.writeable


def test_parse__json_lines_of_the_same_records__give_the_same_arrays() -> None:
    lines = [
        {"inputs": row.tolist(), "target": int(one)} for row, one in zip(INPUTS.astype(float), TARGETS, strict=True)
    ]

    parsed = parse(b"\n".join(msgspec.json.encode(one) for one in lines), "jsonl", SCHEMA)

    assert np.array_equal(parsed.arrays["inputs"], INPUTS)


@pytest.mark.parametrize(("data", "fmt", "code"), [(b"junk", "safetensors", "header"), (b"junk" * 9, "jsonl", "line")])
def test_parse__malformed__is_a_verdict(data: bytes, fmt: str, code: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse(data, fmt, SCHEMA)
    assert caught.value.code == code


def test_parse__too_many_bytes__needs_no_worker(starts: Any) -> None:
    starts("sys.exit(1)")

    with pytest.raises(Malformed) as caught:
        parse(bytes((1 << 20) + 1), "safetensors", SCHEMA)
    assert caught.value.oversized


def test_parse__unknown_format__is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="pickle"):
        parse(GOOD, "pickle", SCHEMA)


@pytest.mark.parametrize("limits", [{"cpu_seconds": 0}, {"wall_seconds": 0.0}, {"memory": -1}])
def test_limits__that_would_mean_no_limit__are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="limits"):
        Limits(**limits)


def test_parse__worker_that_only_computes__is_ended_by_its_processor_time(starts: Any) -> None:
    starts(
        "import validator.payload.worker as worker\n"
        "worker.parse_safetensors = None\n"
        "worker.PARSERS['safetensors'] = lambda data, schema: any(iter(int, 1))\n"
        "sys.exit(worker.main())"
    )

    with pytest.raises(WorkerFault, match="status -"):
        parse(GOOD, "safetensors", SCHEMA, Limits(cpu_seconds=1, wall_seconds=60.0))


def test_parse__too_little_memory__is_a_fault_and_no_verdict() -> None:
    big = encode_safetensors(np.zeros((100_000, 8), np.float32), np.zeros(100_000, np.int64))
    schema = classification((8,), 10, max_records=100_000, max_bytes=8 << 20)

    # Less than the interpreter already uses: its next large allocation fails.
    with pytest.raises(WorkerFault):
        parse(big, "safetensors", schema, Limits(memory=0))


@pytest.mark.parametrize(
    ("name", "code"),
    {
        "dies at once": "sys.exit(3)",
        "dies by a signal": "import os; os.kill(os.getpid(), 11)",
        "answers text": "print('hello'); sys.stdout.flush()",
        "claims 4 GiB of status": "sys.stdout.buffer.write(b'\\xff' * 4)",
        "status is no json": "sys.stdout.buffer.write(b'\\x02\\0\\0\\0{]' + bytes(8))",
        "status of unknown kind": 'sys.stdout.buffer.write(b\'\\x0e\\0\\0\\0{"kind":"new"}\' + bytes(8))',
        "malformed for no known reason": (
            'sys.stdout.buffer.write(b\'\\x21\\0\\0\\0{"kind":"malformed","code":"evil"}\' + bytes(8))'
        ),
        "parsed nothing": 'sys.stdout.buffer.write(b\'\\x11\\0\\0\\0{"kind":"parsed"}\' + bytes(8))',
        "claims 2**64 bytes": "sys.stdout.buffer.write(b'\\x11\\0\\0\\0{\"kind\":\"parsed\"}' + b'\\xff' * 8)",
        "answers half": "sys.stdout.buffer.write(b'\\x11\\0\\0\\0{\"kind\":\"parsed\"}' + b'\\x10' + bytes(7) + b'x')",
    }.items(),
)
def test_parse__worker_taken_over__is_a_fault(starts: Any, name: str, code: str) -> None:
    starts(code)

    with pytest.raises(WorkerFault) as caught:
        parse(GOOD, "safetensors", SCHEMA)
    assert "\n" not in str(caught.value)


def test_parse__worker_answers_values_out_of_range__is_a_fault(starts: Any) -> None:
    starts(
        "import numpy as np\n"
        "from validator.payload import encode_safetensors\n"
        "body = encode_safetensors(np.full((2, 8), 7, np.float32), np.zeros(2, np.int64))\n"
        "sys.stdout.buffer.write(b'\\x11\\0\\0\\0{\"kind\":\"parsed\"}' + len(body).to_bytes(8, 'little') + body)"
    )

    with pytest.raises(WorkerFault, match="nonsense"):
        parse(GOOD, "safetensors", SCHEMA)


@pytest.mark.parametrize(
    "code", ["sys.stdin.buffer.read(); import time; time.sleep(60)", "import time; time.sleep(60)"]
)
def test_parse__worker_hangs__is_killed_in_time(starts: Any, code: str) -> None:
    starts(code)
    start, threads = time.monotonic(), threading.active_count()

    with pytest.raises(WorkerFault, match="did not end"):
        parse(GOOD, "safetensors", SCHEMA, Limits(wall_seconds=0.3))
    assert time.monotonic() - start < 5.0
    assert threading.active_count() == threads


def test_parse__worker_floods_its_output__is_stopped(starts: Any) -> None:
    head = 'sys.stdout.buffer.write(b\'\\x11\\0\\0\\0{"kind":"parsed"}\' + bytes(8))'
    starts(head + "\nwhile True: sys.stdout.buffer.write(bytes(65536))")

    with pytest.raises(WorkerFault):
        parse(GOOD, "safetensors", SCHEMA)


PROBE = """
import json, os, resource, validator.payload.worker as worker
request = worker.msgspec.json.decode(worker.read_frame(sys.stdin.buffer, 4, 1 << 20), type=worker.Request)
worker._give_up_rights(request)
def tries(call):
    try:
        call()
        return "allowed"
    except Exception as error:
        return type(error).__name__
found = {
    # The directory listing itself takes one descriptor.
    "inherited": sorted(int(n) for n in os.listdir("/proc/self/fd") if int(n) > 2)[1:],
    "environment": sorted(os.environ), "torch": "torch" in sys.modules, "directory": os.getcwd(),
    "write": tries(lambda: open(PATH, "wb", buffering=0).write(b"x" * 10)),
    "memory": tries(lambda: bytearray(8 << 30)),
    "descriptors": tries(lambda: [os.dup(0) for _ in range(30)]),
    "core": resource.getrlimit(resource.RLIMIT_CORE), "cpu": resource.getrlimit(resource.RLIMIT_CPU),
    "dumpable": worker.ctypes.CDLL(None).prctl(3), "isolated": sys.flags.isolated,
}
status = worker.Status("fault", "", json.dumps(found))
worker.write_frame(sys.stdout.buffer, 4, worker.msgspec.json.encode(status))
worker.write_frame(sys.stdout.buffer, 8, b"")
"""


def test_worker__after_giving_up_its_rights__can_do_nothing_but_think(
    starts: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("POC_SECRET", "hunter2")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    starts(PROBE.replace("PATH", repr(str(tmp_path / "plaintext"))))
    request = parse_module._request(len(GOOD), "safetensors", SCHEMA, Limits(cpu_seconds=7))
    leak = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leak, True)

    status, _ = parse_module._ask(GOOD, request, 20.0)
    os.close(leak)
    found = msgspec.json.decode(status.message)

    assert not [name for name in found["environment"] if "SECRET" in name or name.startswith("PYTHON")]
    assert (found["torch"], found["directory"], found["isolated"]) == (False, "/", 1)
    assert (found["write"], found["memory"], found["descriptors"]) == ("OSError", "MemoryError", "OSError")
    assert (found["core"], found["cpu"], found["dumpable"]) == ([0, 0], [7, 7], 0)
    assert found["inherited"] == []


def test_worker__importing_it__loads_nothing_heavy() -> None:
    code = "import sys, validator.payload.worker; print(sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout

    assert "'numpy'" in loaded
    for heavy in ("torch", "pydantic", "requests", "ipfshttpclient", "cryptography", "safetensors", "asyncio"):
        assert f"'{heavy}'" not in loaded


def test_frames__too_long_or_cut__are_refused(tmp_path: Path) -> None:
    with (tmp_path / "frame").open("w+b") as file:
        write_frame(file, 4, b"12345")
        file.seek(0)
        with pytest.raises(ValueError, match="at most 4"):
            read_frame(file, 4, 4)
        file.truncate(8)
        file.seek(0)
        with pytest.raises(EOFError):
            read_frame(file, 4, 10)


def test_request__schema__survives_the_frame() -> None:
    request = Request("jsonl", SCHEMA, 3, 1 << 30)

    assert msgspec.json.decode(msgspec.json.encode(request), type=Request) == request
    assert msgspec.json.decode(msgspec.json.encode(Status("parsed")), type=Status) == Status("parsed")
