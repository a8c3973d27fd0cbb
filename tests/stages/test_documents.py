from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.rounds.test_score import MANIFEST
from validator.content import LocalStore, TooLarge
from validator.envelope import Context, Keypair, Undecryptable, generate_keypair, seal
from validator.influence import Records
from validator.influence.models import build, dump_weights
from validator.stages.documents import DocumentError, file_digest, load_judgement, pack_sealed, read_by_digest
from validator.stages.keyring import EpochKeys

SMALL, LARGE = b'{"a":1}', b'{"a":"' + b"x" * 3_000_000 + b'"}'
CONTEXT = Context(1, "0x" + "aa" * 20, 1, "0x" + "bb" * 20)


def keys(pair: Keypair) -> EpochKeys:
    return EpochKeys({CONTEXT.key_epoch: pair.secret})


@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "one raw block", "many blocks"])
def test_read_by_digest__file_of_any_size__comes_back_whole(tmp_path: Path, data: bytes):
    store = LocalStore(tmp_path)
    assert store.put(data).digest == file_digest(data)
    assert read_by_digest(store, file_digest(data), 2**22) == data


def test_read_by_digest__larger_than_allowed__is_refused(tmp_path: Path):
    store = LocalStore(tmp_path)
    with pytest.raises(TooLarge):
        read_by_digest(store, store.put(LARGE).digest, 1_000)


def _stored(store: LocalStore, data: bytes) -> dict[str, object]:
    cid = store.put(data)
    return {"digest": cid.digest.hex(), "codec": cid.codec, "size": len(data)}


def _manifest(store: LocalStore, sealed: bytes, weights: bytes):
    config = {"inputs": 2, "hidden": [3], "classes": 2, "activation": "relu"}
    document = MANIFEST.model_dump()
    document["model"] = {"family": "mlp", "config": config, "weights": _stored(store, weights)}
    document["sealed"] = {"file": _stored(store, sealed), "key_epoch": 1}
    return type(MANIFEST).model_validate(document)


def _records(count: int) -> Records:
    return Records(torch.linspace(0, 1, 2 * count).reshape(count, 2), torch.arange(count) % 2)


WEIGHTS = dump_weights(build("mlp", {"inputs": 2, "hidden": [3], "classes": 2, "activation": "relu"}))


def test_load_judgement__what_the_steward_sealed__is_what_validators_judge_by(tmp_path: Path):
    store, pair = LocalStore(tmp_path), generate_keypair()
    sealed = seal(pack_sealed(_records(4), _records(6), b"k" * 32), [pair.public], CONTEXT)
    found = load_judgement(store, _manifest(store, sealed, WEIGHTS), keys(pair), CONTEXT)
    assert torch.equal(found.problem.anchor.inputs, _records(4).inputs)
    assert len(found.problem.queries) == 6
    assert found.record_key == b"k" * 32


def test_load_judgement__other_key__does_not_open(tmp_path: Path):
    store, pair = LocalStore(tmp_path), generate_keypair()
    sealed = seal(pack_sealed(_records(4), _records(6), b"k" * 32), [pair.public], CONTEXT)
    with pytest.raises(Undecryptable):
        load_judgement(store, _manifest(store, sealed, WEIGHTS), keys(generate_keypair()), CONTEXT)


def test_load_judgement__queries_with_a_class_for_sequences__are_refused(tmp_path: Path):
    # Else every contribution would have targets of another shape than the queries, and none could be scored.
    store, pair = LocalStore(tmp_path), generate_keypair()
    sealed = seal(pack_sealed(_records(4), _records(6), b"k" * 32), [pair.public], CONTEXT)
    manifest = _manifest(store, sealed, WEIGHTS)
    tokens = {"task": "next_token", "dtype": "int64", "minimum": "0", "maximum": "1"}
    payload = manifest.payload.model_copy(update=tokens)
    with pytest.raises(DocumentError, match="payload schema does not fit"):
        load_judgement(
            store,
            manifest.model_copy(update={"payload": payload}),
            keys(pair),
            CONTEXT,
        )


@pytest.mark.parametrize("plain", [b"", b"junk", pack_sealed(_records(4), _records(6), b"short")])
def test_load_judgement__sealed_file_lacks_a_part__is_said_in_one_line(tmp_path: Path, plain: bytes):
    store, pair = LocalStore(tmp_path), generate_keypair()
    sealed = seal(plain, [pair.public], CONTEXT)
    with pytest.raises(DocumentError) as caught:
        load_judgement(store, _manifest(store, sealed, WEIGHTS), keys(pair), CONTEXT)
    assert "\n" not in str(caught.value)
