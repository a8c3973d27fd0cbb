"""Envelopes beside one-shot AES-256-GCM over the same bytes, the memory that opening takes, and the parsing worker."""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from measure import Row, Timing, compare, heeded, parser_of, report, timing

from validator.envelope import Context, generate_keypair, open_envelope, open_stream, seal, seal_file
from validator.payload import ParsingWorker, classification, encode_safetensors, parse

MIB = 2**20
SIZES = (MIB, 16 * MIB, 64 * MIB)
LOOPS = 5
LARGE = 256 * MIB
CONTEXT = Context(chain_id=1, contract="0x" + "11" * 20, key_epoch=1, contributor="0x" + "22" * 20)
SCHEMA = classification((64,), 10, max_records=128, max_bytes=1 << 20)

CHILD = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[4:]
from validator.envelope import *
from envelope import CONTEXT, high_water
path, secret = Path(sys.argv[2]), bytes.fromhex(sys.argv[3])
size = path.stat().st_size
open_envelope(seal(b"x", [public_key(secret)], CONTEXT), secret, CONTEXT, 9)  # what is loaded at first use
if sys.argv[1] == "stream":
    with path.open("rb") as file, high_water() as taken:
        plain = open_stream(file, size, secret, CONTEXT, size)
elif sys.argv[1] == "bytes":
    data = path.read_bytes()
    with high_water() as taken:
        plain = open_envelope(data, secret, CONTEXT, size)
else:
    with high_water() as taken:
        plain = b""
        seal_file(path, path.with_suffix(".sealed"), [public_key(secret)], CONTEXT)
print(taken[0], len(plain))
"""


class high_water:  # noqa: N801 - reads like a function
    """Bytes by which the process grew at most within the block: VmHWM, set back before, less VmRSS before."""

    def __enter__(self) -> list[int]:
        Path("/proc/self/clear_refs").write_text("5")
        self.taken: list[int] = []
        self.before = _status("VmRSS")
        return self.taken

    def __exit__(self, *_: object) -> None:
        self.taken.append(_status("VmHWM") - self.before)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name + ":"))) * 1024


def speed(size: int, repeats: int) -> list[Row]:
    """Seal and open `size` bytes for one recipient, turn by turn with the bare cipher, in seconds of processor time:
    what else runs on the machine does not count.
    """
    data, pair = os.urandom(size), generate_keypair()
    cipher, nonce = AESGCM(AESGCM.generate_key(256)), os.urandom(12)
    envelope, sealed = seal(data, [pair.public], CONTEXT), cipher.encrypt(nonce, data, None)
    works: dict[str, Callable[[], object]] = {
        "AES-256-GCM encrypt": lambda: cipher.encrypt(nonce, data, None),
        "seal": lambda: seal(data, [pair.public], CONTEXT),
        "AES-256-GCM decrypt": lambda: cipher.decrypt(nonce, sealed, None),
        "open": lambda: open_envelope(envelope, pair.secret, CONTEXT, size),
        "open from a file": lambda: open_stream(io.BytesIO(envelope), len(envelope), pair.secret, CONTEXT, size),
    }
    below = {"seal": "AES-256-GCM encrypt", "open": "AES-256-GCM decrypt", "open from a file": "AES-256-GCM decrypt"}
    taken = _turns(works, repeats)
    unit = f"{size // 1024} KiB" if size < MIB else f"{size // MIB} MiB"
    rows = []
    for name, one in taken.items():
        ratio = f", {taken[below[name]].median / one.median:.2f} x its speed" if name in below else ""
        rows.append(Row(f"{name}, {unit}", one, f"{size / MIB / one.median:,.0f} MiB/s{ratio}"))
    return rows


def _turns(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            begun = time.process_time()
            for _ in range(LOOPS):
                work()
            if turn:  # the first one warms up
                taken[name].append((time.process_time() - begun) / LOOPS)
    return {name: timing(seconds) for name, seconds in taken.items()}


def memory(size: int) -> list[tuple[str, int]]:
    """Bytes beyond those before that sealing and opening `size` bytes take at most, each in a process of its own."""
    pair, places = generate_keypair(), [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    with tempfile.TemporaryDirectory() as folder:
        plain, sealed = Path(folder, "plain"), Path(folder, "envelope")
        with plain.open("wb") as file:
            for _ in range(size // MIB):
                file.write(os.urandom(MIB))
        seal_file(plain, sealed, [pair.public], CONTEXT)
        found = []
        for how, path in (("seal", plain), ("stream", sealed), ("bytes", sealed)):
            words = [sys.executable, "-c", CHILD, how, str(path), pair.secret.hex(), *places]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            taken, opened = map(int, done.stdout.split())
            assert opened == (0 if how == "seal" else size), "the child opened something else"
            found.append((how, taken))
        return found


def worker(repeats: int) -> list[Row]:
    """What a payload of 128 records of 64 numbers costs."""
    rng = np.random.default_rng(0)
    payload = encode_safetensors(rng.random((128, 64), dtype=np.float32), rng.integers(0, 10, 128))
    with ParsingWorker() as kept:
        works: dict[str, Callable[[], object]] = {
            "parse in a kept worker": lambda: kept.parse(payload, "safetensors", SCHEMA),
            "parse in a worker of its own": lambda: parse(payload, "safetensors", SCHEMA),
        }
        taken = compare(works, repeats)
        held = kept.held
    note = f"namespaces {'yes' if held.namespaces else 'no'}, Landlock {held.landlock or 'no'}"
    return [Row(f"{name}, {len(payload):,} bytes", timing, note) for name, timing in taken.items()]


def main() -> None:
    """Measure and print."""
    parser: argparse.ArgumentParser = parser_of(__doc__ or "")
    parser.add_argument("--mib", type=int, default=LARGE // MIB, help="MiB of the file whose memory is measured")
    given = heeded(parser)
    rows = [row for size in SIZES for row in speed(size, given.repeats)] + worker(given.repeats)
    report("Envelopes and payloads", rows, given.json)
    words = {"seal": "seal a file", "stream": "open a file", "bytes": "open bytes in memory"}
    print(
        f"\n| {given.mib} MiB | most memory beyond what was there, MiB | of it beyond the plaintext |\n|---|---:|---:|"
    )
    for how, taken in memory(given.mib * MIB):
        plain = 0 if how == "seal" else given.mib
        print(f"| {words[how]} | {taken / MIB:.1f} | {taken / MIB - plain:.1f} |")


if __name__ == "__main__":
    main()
