"""No secret in any log line, error or health answer; what is public stays readable."""

from __future__ import annotations

import json
import logging

import pytest
import structlog

from validator.cli.common import setup_logs
from validator.masking import HIDDEN, Masker, secrets_in

KEY = "q7Xw2-LmNo_PqRsTuVwXyZ0123456789"
CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
DIGEST = "9f" * 32

SECRET = [
    f"https://eth.example/v3/{KEY}",
    f"wss://eth.example/{KEY}/rpc",
    "https://someone:hunter2-hunter2@eth.example/rpc",
    f"https://eth.example/rpc?apikey={KEY}&x=1",
    f"https://eth.example/rpc?x=1&access_token={KEY}",
    f"Authorization: Bearer {KEY}",
    f"{{'Authorization': 'Basic {KEY}'}}",
    f"sent bearer {KEY} to the signer",
    f"private key 0x{DIGEST}",
    f"secret={DIGEST}",
    f"-----BEGIN EC PRIVATE KEY-----\n{KEY}\n-----END EC PRIVATE KEY-----",
    f"Traceback ... HTTPSConnectionPool: https://eth.example/v2/{KEY} refused",
]
PUBLIC = [
    "http://127.0.0.1:8545",
    f"http://127.0.0.1:8080/ipfs/{CID}?format=raw",
    "https://first.example/some-longer-name-of-words",
    f"attested digest={DIGEST}",
    "contract 0x5FbDB2315678afecb367f032d93F642f64180aa3 on chain 31337",
    "https://signer.example/api/v1/eth1/sign/0xab",
    "the password for the keystore /home/me/keys/account.json is wrong",
]


@pytest.mark.parametrize("text", SECRET)
def test_text__secret_in_it__is_hidden(text: str):
    masked = Masker().text(text)
    assert HIDDEN in masked
    for word in (KEY, "hunter2", DIGEST):
        assert word not in masked


@pytest.mark.parametrize("text", PUBLIC)
def test_text__nothing_secret__stays_as_it_is(text: str):
    assert Masker().text(text) == text


def test_text__known_secret_without_any_form__is_hidden_wherever_it_stands():
    secrets = secrets_in(
        "https://a.example/lettersonlyfortoken, https://user:word-of-mine@b.example/?k=some-value-here"
    )
    masked = Masker(secrets).text("endpoint says lettersonlyfortoken, word-of-mine and some-value-here are unknown")
    assert masked == f"endpoint says {HIDDEN}, {HIDDEN} and {HIDDEN} are unknown"


@pytest.mark.parametrize("form", ["console", "json"])
def test_logs__every_way_into_them__says_no_secret(form: str, capsys: pytest.CaptureFixture[str]):
    before = structlog.get_config()
    try:
        setup_logs(form, "debug", {"lettersonlyfortoken"})
        log = structlog.get_logger("test")
        for text in SECRET:
            log.warning(text, url=text, nested={"deep": [text]}, error=ValueError(text))
            logging.getLogger("urllib3").warning("retrying %s", text)
        log.info("opened", password="correct horse", auth_token="battery staple", digest=DIGEST, count=7)
        try:
            raise RuntimeError(f"https://eth.example/v3/{KEY} lettersonlyfortoken")
        except RuntimeError:
            log.exception("unexpected fault")
        told = capsys.readouterr().err
    finally:
        structlog.configure(**before)
        logging.basicConfig(handlers=[], force=True)
    for word in (KEY, "hunter2", "correct horse", "battery staple", "lettersonlyfortoken", f"secret={DIGEST}"):
        assert word not in told
    assert f"digest={DIGEST}" in told or f'"digest": "{DIGEST}"' in told
    assert "RuntimeError" in told
    if form == "json":
        assert all(isinstance(json.loads(line), dict) for line in told.splitlines())
