"""Writes the seeds of the corpus: sound inputs, and hostile ones of the suites. `python -m tests.fuzz.seeds FOLDER`."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from tests.envelope import cases
from tests.fuzz.targets import BODY, GRANTED, HEADER_BYTES, OPENPGP
from tests.vana.writer import compressed, literal, partial

MOST = 2_000
LINE = b'{"inputs":[0,0.5,1],"target":3}\n'


def main() -> None:
    folder = Path(sys.argv[1])
    envelopes = [case.data for case in cases.CASES.values()] + [cases.SHORT, cases.AGAIN]
    texts = [data[19 : 19 + int.from_bytes(data[15:19], "big")] for data in envelopes]
    lines = [
        LINE,
        LINE * 3,
        LINE[:-1],
        LINE.replace(b"0.5", b"1e999"),
        LINE.replace(b"3}", b'3,"target":1}'),
        b"\n" * 9,
    ]
    tokens = [
        b'{"inputs":[1,2,3,4]}\n{"inputs":[0,9]}\n',
        b'{"inputs":[]}',
        b'{"inputs":[-1,2]}',
        b'{"inputs":[1,2,3,4,5]}',
    ]
    seeds = {
        "envelope_header": texts,
        "envelope": envelopes,
        "safetensors_header": [BODY[8 : 8 + HEADER_BYTES], b"{}", b"[]"],
        "safetensors": [BODY, BODY[:-1], BODY + b"\0", bytes(8)],
        "jsonl": lines,
        "jsonl_sequences": tokens,
        "openpgp": [OPENPGP, OPENPGP[:-1], OPENPGP + b"\0", b"-----BEGIN PGP MESSAGE-----"],
        "openpgp_packets": [
            literal(b"x"),
            compressed(literal(bytes(99))),
            compressed(literal(b"x"), 1),
            partial(11, LINE),
        ],
        "eccrypto": [GRANTED.encode(), GRANTED[:-2].encode(), b"0x" + GRANTED.encode()],
    }
    for name, inputs in seeds.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for data in inputs:
            if len(data) <= MOST:
                (folder / name / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


if __name__ == "__main__":
    main()
