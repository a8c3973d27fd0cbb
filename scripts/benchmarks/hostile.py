"""What hostile inputs cost: every case of the hostile suites, and a few large ones, each in a process of its own that
is asked for its processor time and the most memory that it took beyond the input.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # the tests are no package of ours

from envelope import high_water
from measure import heading, parser_of

from tests.envelope.cases import CASES
from tests.payload import test_jsonl, test_safetensors, test_sequences
from validator.envelope import EnvelopeError, open_envelope
from validator.payload import Malformed, classification, sequences
from validator.payload.jsonl import parse_jsonl
from validator.payload.safetensors_format import parse_safetensors

MIB = 2**20
WIDE = classification((1,), 2, max_records=1 << 28, max_bytes=1 << 28)
LONG = sequences(1 << 20, 2, max_records=1 << 20, max_bytes=1 << 28)
Case = tuple[str, str, Callable[[], object], str]
"""Family, name, what to do, and the reason of its refusal."""


def cases() -> Iterator[Case]:
    """All of them."""
    for name, one in CASES.items():
        data = one.data
        yield (
            "envelope",
            name,
            lambda data=data, one=one: open_envelope(data, one.secret, one.expected, one.limit),
            one.reason,
        )
    suites = (
        ("safetensors", test_safetensors.test_parse__hostile_file__is_malformed_for_its_reason, parse_safetensors),
        ("JSON Lines", test_jsonl.test_parse__hostile_lines__are_malformed_for_their_reason, parse_jsonl),
    )
    rules = {"safetensors": test_safetensors.SCHEMA, "JSON Lines": test_jsonl.SCHEMA}
    for family, test, parse in suites:
        for name, code, data in test.pytestmark[0].args[1]:
            yield family, name, lambda data=data, parse=parse, family=family: parse(data, rules[family]), code
    for test, parse in (
        (test_sequences.test_parse_safetensors__hostile_sequences__are_malformed_for_their_reason, parse_safetensors),
        (test_sequences.test_parse_jsonl__hostile_sequences__are_malformed_for_their_reason, parse_jsonl),
    ):
        for name, code, data in test.pytestmark[0].args[1]:
            yield "sequences", name, lambda data=data, parse=parse: parse(data, test_sequences.SCHEMA), code
    yield from large()


def large() -> Iterator[Case]:
    """What a round may bring at most: 256 MiB, or little that wants to become much."""
    header = json.dumps(
        {f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(10**6)}
    ).encode()
    million = len(header).to_bytes(8, "little") + header
    yield "large", "a million tensors, 66 MiB of header", lambda: parse_safetensors(million, WIDE), "header"
    fits = json.dumps({f"t{n}": {} for n in range(80_000)}).encode()[: MIB - 8]
    yield (
        "large",
        "1 MiB of header that is cut",
        lambda: parse_safetensors(len(fits).to_bytes(8, "little") + fits, WIDE),
        "header",
    )
    newlines = b"\n" * (256 * MIB)
    yield "large", "256 MiB of empty lines", lambda: parse_jsonl(newlines, WIDE), "line"
    brackets = b"[" * (256 * MIB)
    yield "large", "256 MiB of brackets", lambda: parse_jsonl(brackets, WIDE), "line"
    short = b'{"inputs":[0,1]}\n' * 240
    yield "large", "4 KB of short lines that padding would make 2 GiB", lambda: parse_jsonl(short, LONG), "bytes"


def measured(work: Callable[[], object], reason: str) -> tuple[float, float]:
    """(milliseconds of processor time, MiB beyond what was there) of one case, in a fork."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        gc.freeze()
        begun, found = time.process_time(), ""
        with high_water() as taken:
            try:
                work()
            except (EnvelopeError, Malformed) as error:
                found = error.reason if isinstance(error, EnvelopeError) else error.code
        os.write(writing, json.dumps([found, (time.process_time() - begun) * 1e3, taken[0] / MIB]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        found, milliseconds, taken_mib = json.loads(pipe.read())
    os.waitpid(child, 0)
    if found != reason:
        raise AssertionError(f"refused for {found!r}, not for {reason!r}")
    return milliseconds, taken_mib


def main() -> None:
    """Measure all, and print each family's count and extremes, and the large ones one by one."""
    parser_of(__doc__ or "").parse_args()
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for family, name, work, reason in cases():
        found.setdefault(family, {})[name] = measured(work, reason)
    heading("Hostile inputs", 1)
    print("| family | cases | slowest | ms | most memory | MiB |\n|---|---:|---|---:|---|---:|")
    for family, ones in found.items():
        slow, big = max(ones, key=lambda name: ones[name][0]), max(ones, key=lambda name: ones[name][1])
        print(f"| {family} | {len(ones)} | {slow} | {ones[slow][0]:.1f} | {big} | {ones[big][1]:.1f} |")
    print("\n| large case | ms | MiB |\n|---|---:|---:|")
    for name, (milliseconds, taken) in found["large"].items():
        print(f"| {name} | {milliseconds:.1f} | {taken:.1f} |")


if __name__ == "__main__":
    main()
