"""What is inside an envelope: records in a format that cannot execute code, parsed in a process that cannot do harm.

`Malformed` is a verdict on the data, reached by counting, the same everywhere. `WorkerFault` is about this machine.
"""

from __future__ import annotations

from validator.payload.errors import BadSchema, Malformed, PayloadError, WorkerFault
from validator.payload.jsonl import encode_jsonl
from validator.payload.parse import FORMATS, ParsingWorker, parse
from validator.payload.safetensors_format import encode_safetensors
from validator.payload.schema import Field, Parsed, Schema, classification, sequences
from validator.payload.worker import Limits

__all__ = [
    "FORMATS",
    "BadSchema",
    "Field",
    "Limits",
    "Malformed",
    "Parsed",
    "ParsingWorker",
    "PayloadError",
    "Schema",
    "WorkerFault",
    "classification",
    "encode_jsonl",
    "encode_safetensors",
    "parse",
    "sequences",
]
