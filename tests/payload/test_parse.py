"""The worker as it really runs: spawned, confined, forked for each payload, timed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from validator.payload import (
    Limits,
    Malformed,
    ParsingWorker,
    WorkerFault,
    classification,
    encode_safetensors,
    parse,
    sequences,
)
from validator.payload.frames import read_frame, reader, write_frame, writer
from validator.payload.worker import Request, Status

# The package's `parse` is the function; the module of that name holds what it starts.
parse_module: Any = sys.modules["validator.payload.parse"]

SCHEMA = classification((8,), 10, max_records=100, max_bytes=1 << 20)
INPUTS = np.random.default_rng(1).random((20, 8), dtype=np.float32)
TARGETS = np.arange(20) % 10
GOOD = encode_safetensors(INPUTS, TARGETS)


HEAD = "import sys; sys.path.append(sys.argv[1])\n"
CHILD = """
import os, validator.payload.worker as worker
from validator.payload.frames import read_frame, reader, write_frame, writer
def child(pipe, request):
    say = lambda data: os.write(pipe, data)
    {}
sys.exit(worker.main(child))
"""


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run other code in the worker's place."""
    return lambda code: monkeypatch.setattr(parse_module, "_START", HEAD + code)


@pytest.fixture
def child(starts: Any) -> Any:
    """Run other code in the place of the worker's child: what it does once hostile bytes have taken it over."""
    return lambda code: starts(CHILD.replace("{}", code.replace("\n", "\n    ")))


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


def test_parse__child_that_only_computes__is_ended_by_its_processor_time(
    child: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parse_module, "TRIES", 1)
    child("any(iter(int, 1))")

    with pytest.raises(WorkerFault, match="status -"):
        parse(GOOD, "safetensors", SCHEMA, Limits(cpu_seconds=1, wall_seconds=60.0))


def test_parse__too_little_memory__is_a_fault_and_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = parse_module._request
    monkeypatch.setattr(parse_module, "_request", lambda *given: replace(asked(*given), address_space=1 << 20))
    big = encode_safetensors(np.zeros((100_000, 8), np.float32), np.zeros(100_000, np.int64))

    with pytest.raises(WorkerFault):
        parse(big, "safetensors", classification((8,), 10, max_records=100_000, max_bytes=8 << 20))


PARSED = b'\x11\0\0\0{"kind":"parsed"}'


@pytest.mark.parametrize(
    ("name", "code"),
    {
        "dies at once": "os._exit(3)",
        "dies by a signal": "os.kill(os.getpid(), 11)",
        "closes its end": "os.close(pipe)",
        "answers text": "say(b'hello')",
        "claims 4 GiB of status": "say(b'\\xff' * 4)",
        "status is no json": "say(b'\\x02\\0\\0\\0{]' + bytes(8))",
        "status of unknown kind": 'say(b\'\\x0e\\0\\0\\0{"kind":"new"}\' + bytes(8))',
        "malformed for no known reason": 'say(b\'\\x21\\0\\0\\0{"kind":"malformed","code":"evil"}\' + bytes(8))',
        "parsed nothing": f"say({PARSED!r} + bytes(8))",
        "claims 2**64 bytes": f"say({PARSED!r} + b'\\xff' * 8)",
        "answers half": f"say({PARSED!r} + b'\\x10' + bytes(7) + b'x')",
        "floods": f"say({PARSED!r} + (1 << 20).to_bytes(8, 'little'))\nwhile True: say(bytes(65536))",
        "answers values out of range": (
            "import numpy as np\n"
            "body = worker.encode_safetensors(np.full((2, 8), 7, np.float32), np.zeros(2, np.int64))\n"
            f"say({PARSED!r} + len(body).to_bytes(8, 'little') + body)"
        ),
    }.items(),
)
def test_parse__child_taken_over__is_a_fault_twice_and_never_a_verdict(child: Any, name: str, code: str) -> None:
    child(code)
    heard: list[WorkerFault] = []

    with ParsingWorker(heard.append) as worker, pytest.raises(WorkerFault) as caught:
        worker.parse(GOOD, "safetensors", SCHEMA, Limits(wall_seconds=5.0))
    assert "\n" not in str(caught.value)
    assert "within" not in str(caught.value)
    assert (len(heard), worker.faults) == (2, 2)


@pytest.mark.parametrize("code", ["import os; os._exit(3)", "print('hello')", "import time; time.sleep(60)"])
def test_parse__worker_itself_is_broken__is_a_fault(starts: Any, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(parse_module, "_START_SECONDS", 0.3)
    starts(code)

    with pytest.raises(WorkerFault, match="is gone"):
        parse(GOOD, "safetensors", SCHEMA)


@pytest.mark.parametrize("code", ["import time; time.sleep(60)", "read_frame(reader(pipe), 8, 9**9)\nos.read(pipe, 1)"])
def test_parse__child_hangs__is_killed_in_time(child: Any, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(parse_module, "TRIES", 1)
    child(code)
    start, threads = time.monotonic(), threading.active_count()

    with pytest.raises(WorkerFault, match="did not end"):
        parse(GOOD, "safetensors", SCHEMA, Limits(wall_seconds=0.3))
    assert time.monotonic() - start < 5.0
    assert threading.active_count() == threads


def test_parse__child_dies_the_first_time__is_mended_by_a_second_try(child: Any) -> None:
    child("os.kill(os.getpid(), 9) if request.cpu_seconds < 100 else worker.answer(pipe, request)")
    heard: list[WorkerFault] = []

    with ParsingWorker(heard.append) as worker:
        assert worker.parse(GOOD, "safetensors", SCHEMA).records == 20
    assert [str(fault).split(":")[0] for fault in heard] == ["the parsing worker ended with status -9"]


def test_parse__many_payloads__are_served_by_one_process_and_each_by_a_child_of_its_own(child: Any) -> None:
    child(
        "read_frame(reader(pipe), 8, 1 << 20)\n"  # an answer before the payload was heard would break the pipe
        "status = worker.Status('malformed', 'line', f'{os.getppid()} {os.getpid()}')\n"
        "write_frame(writer(pipe), 4, worker.msgspec.json.encode(status))\n"
        "write_frame(writer(pipe), 8, b'')"
    )
    told = set()

    with ParsingWorker() as worker:
        for _ in range(20):
            with pytest.raises(Malformed) as caught:
                worker.parse(GOOD, "safetensors", SCHEMA)
            told.add(tuple(str(caught.value).split()))
        assert worker._process is not None
        pid = str(worker._process.pid)
    assert {parent for parent, _ in told} == {pid}
    assert len({own for _, own in told}) == 20


def test_parse__from_many_threads__gives_each_its_own_records() -> None:
    found: dict[int, int] = {}

    def one(records: int) -> None:
        data = encode_safetensors(INPUTS[:records], TARGETS[:records])
        found[records] = worker.parse(data, "safetensors", SCHEMA).records

    with ParsingWorker() as worker:
        threads = [threading.Thread(target=one, args=(records,)) for records in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {records: records for records in range(1, 9)}


def test_parse__node_dies__takes_the_worker_with_it() -> None:
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from validator.payload.parse import _spawn\n"
        "process, control = _spawn(); print(process.pid, flush=True); control.recv(1); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(Path.cwd())], capture_output=True, text=True, check=False)
    stat, deadline = Path(f"/proc/{int(done.stdout)}/stat"), time.monotonic() + 10

    while stat.exists() and ") Z " not in stat.read_text():
        assert time.monotonic() < deadline, "the worker outlived its node"
        threading.Event().wait(0.01)


PROBE = """
import json, resource, socket
def tries(call):
    try:
        call()
        return "allowed"
    except BaseException as error:
        return type(error).__name__
found = {
    "descriptors": [n for n in range(64) if tries(lambda n=n: os.fstat(n)) == "allowed"],
    "environment": sorted(os.environ), "torch": "torch" in sys.modules, "directory": os.getcwd(),
    "read": tries(lambda: open("/etc/passwd").read()),
    "unlink": tries(lambda: os.unlink(PATH)),
    "signal": tries(lambda: os.kill(os.getppid(), 0)),
    "memory": tries(lambda: bytearray(8 << 30)),
    "dup": tries(lambda: os.dup(pipe)),
    "socket": tries(lambda: socket.socket()),
    "fork": tries(os.fork),
    "more descriptors": tries(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))),
    "core": resource.getrlimit(resource.RLIMIT_CORE), "cpu": resource.getrlimit(resource.RLIMIT_CPU),
    "file size": resource.getrlimit(resource.RLIMIT_FSIZE),
    "isolated": sys.flags.isolated,
}
status = worker.Status("fault", "", json.dumps(found))
write_frame(writer(pipe), 4, worker.msgspec.json.encode(status))
write_frame(writer(pipe), 8, b"")
"""


def test_worker__child_after_giving_up_its_rights__can_do_nothing_but_think(
    child: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("POC_SECRET", "hunter2")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    kept = tmp_path / "kept"
    kept.touch()
    # Imported before: a child cannot read files any more.
    child(PROBE.replace("PATH", repr(str(kept))).replace("import json, resource, socket\n", ""))
    monkeypatch.setattr(parse_module, "_START", "import json, resource, socket\n" + parse_module._START)
    leak = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leak, True)

    with ParsingWorker() as worker:
        status, _ = worker._ask(GOOD, parse_module._request(len(GOOD), "safetensors", SCHEMA, Limits(cpu_seconds=7)))
        held = worker.held
    os.close(leak)
    found = msgspec.json.decode(status.message)

    assert not [name for name in found["environment"] if "SECRET" in name or name.startswith("PYTHON")]
    assert (found["torch"], found["directory"], found["isolated"]) == (False, "/", 1)
    assert len(found["descriptors"]) == 2  # its pipe, and the lifeline
    assert (found["read"], found["memory"], found["dup"]) == ("OSError", "MemoryError", "OSError")
    assert (found["socket"], found["fork"]) == ("PermissionError", "PermissionError")
    assert (found["core"], found["cpu"], found["file size"]) == ([0, 0], [7, 7], [0, 0])
    if held.namespaces or os.getuid():
        assert found["more descriptors"] == "ValueError"
    if held.landlock:
        assert found["unlink"] == "PermissionError"
        assert kept.exists()
    if held.landlock >= 6:
        assert found["signal"] == "PermissionError"


NETWORK = r"""
import ctypes, sys
sys.path.insert(0, sys.argv[1])
import validator.payload.sandbox as sandbox
held = sandbox.leave_the_network()
native = ctypes.CDLL(None, use_errno=True)
before = native.socket(2, 1, 0)
address = (ctypes.c_ubyte * 16)(2, 0, *int(sys.argv[2]).to_bytes(2, "big"), 127, 0, 0, 1)
reached = native.connect(before, address, 16)
refused = ctypes.get_errno()
sandbox.confine(held, 5, 1 << 33)
print(held.namespaces, before >= 0, reached, refused, native.socket(2, 1, 0))
"""


def test_sandbox__native_code__reaches_no_network_even_on_loopback() -> None:
    """The calls go past Python and its audit hook: what refuses them is the kernel."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        words = [sys.executable, "-c", NETWORK, str(Path.cwd()), str(server.getsockname()[1])]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    namespaces, opened, reached, refused, later = done.stdout.split()

    assert opened == "True"
    if namespaces == "True":
        assert (reached, refused) == ("-1", "101")  # ENETUNREACH: not even loopback is up
    assert later == "-1"  # no descriptor is left


def test_sandbox__no_namespaces_and_no_landlock_to_be_had__still_leaves_no_descriptor() -> None:
    code = (
        "import socket, validator.payload.sandbox as sandbox\n"
        "sandbox.confine(sandbox.Held(), 5, 1 << 33)\n"
        "for call in (socket.socket, lambda: open('/etc/passwd')):\n"
        "    try: call()\n"
        "    except OSError as error: print(error.errno, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())

    assert done.stdout.split("\n")[0] == "None socket.__new__ is not for a parsing worker"
    assert done.stdout.split("\n")[1].startswith("24 ")


def test_worker__importing_it__loads_nothing_heavy() -> None:
    code = "import sys, validator.payload.worker; print(sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout

    assert "'numpy'" in loaded
    for heavy in ("torch", "pydantic", "requests", "ipfshttpclient", "cryptography", "safetensors", "asyncio"):
        assert f"'{heavy}'" not in loaded


def test_frames__too_long_or_cut__are_refused(tmp_path: Path) -> None:
    with (tmp_path / "frame").open("w+b", buffering=0) as file:
        write_frame(writer(file.fileno()), 4, b"12345")
        file.seek(0)
        with pytest.raises(ValueError, match="at most 4"):
            read_frame(reader(file.fileno()), 4, 4)
        file.truncate(8)
        file.seek(0)
        with pytest.raises(EOFError):
            read_frame(reader(file.fileno()), 4, 10)


def test_request__schema__survives_the_frame() -> None:
    request = Request("jsonl", SCHEMA, 9, 3, 1.5, 1 << 30)

    assert msgspec.json.decode(msgspec.json.encode(request), type=Request) == request
    assert msgspec.json.decode(msgspec.json.encode(Status("parsed")), type=Status) == Status("parsed")


def test_request__sequences_of_a_huge_schema__asks_for_no_more_memory_than_padding_may_take() -> None:
    schema = sequences(1 << 20, 2, max_records=1 << 20, max_bytes=1 << 28)

    assert parse_module._request(4096, "jsonl", schema, Limits(memory=0)).address_space == 4 * (4096 + (1 << 20))
