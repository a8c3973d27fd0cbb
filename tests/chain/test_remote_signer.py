"""The remote signer against a process that speaks the published API, over real HTTP and TLS, honest and otherwise."""

from __future__ import annotations

import datetime
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from eth_account import Account

from validator.chain.devchain import derive_keys
from validator.chain.errors import SignerFault
from validator.chain.remote_signer import RemoteAccess, RemoteSigner
from validator.chain.signer import LocalSigner
from validator.chain.typed_data import signer_consent

FIRST, SECOND = derive_keys()[:2]
CONTRACT = "0x" + "0A" * 20
DATA = signer_consent(31337, CONTRACT, FIRST.address)
TRANSFER = {
    "type": 2,
    "chainId": 31337,
    "nonce": 0,
    "gas": 21_000,
    "maxFeePerGas": 10**9,
    "maxPriorityFeePerGas": 1,
    "value": 5,
    "data": b"",
    "to": SECOND.address,
}


class Process:
    """The signer as a process."""

    def __init__(self, tls: Path | None = None) -> None:
        program, secrets = Path(__file__).with_name("web3signer.py"), f"{FIRST.secret.hex()},{SECOND.secret.hex()}"
        words = [sys.executable, str(program), secrets, *([str(tls)] if tls else [])]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
        assert self._process.stdout is not None
        self._out = self._process.stdout
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._out.readline().split()[1]}"

    def access(self, fault: str = "", timeout: float = 10.0, **files: Path) -> RemoteAccess:
        return RemoteAccess(f"{self.url}/{fault}", timeout, **files)

    def requests(self) -> list[str]:
        """Stop, and say what was asked."""
        self._process.terminate()
        self._process.wait(10)
        return self._out.read().splitlines()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._out.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def run(*arguments: object) -> Process:
        started.append(Process(*arguments))  # type: ignore[arg-type]
        return started[-1]

    yield run
    for process in started:
        process.close()


@pytest.fixture(scope="module")
def honest() -> Iterator[Process]:
    process = Process()
    yield process
    process.close()


def test_sign_typed_data__honest_signer__is_what_the_key_itself_would_sign(honest: Process) -> None:
    remote = RemoteSigner(honest.access(), SECOND.address)
    assert remote.sign_typed_data(DATA) == LocalSigner(SECOND.secret).sign_typed_data(DATA)


@pytest.mark.parametrize(
    "changes",
    [{}, {"to": None}, {"data": bytes(range(256)) * 40, "nonce": 2**40, "value": 0}, {"chainId": 1, "value": 2**100}],
)
def test_sign_transaction__any_call__is_byte_for_byte_the_local_signer_s(
    honest: Process, changes: dict[str, object]
) -> None:
    fields = {name: value for name, value in {**TRANSFER, **changes}.items() if value is not None}
    raw = RemoteSigner(honest.access(), FIRST.address).sign_transaction(fields)
    assert raw == LocalSigner(FIRST.secret).sign_transaction(fields)
    assert Account.recover_transaction(raw) == FIRST.address


def test_check__key_is_there__passes_and_lowercase_address_will_do(honest: Process) -> None:
    signer = RemoteSigner(honest.access(), FIRST.address.lower())
    signer.check()
    assert signer.address == FIRST.address


def test_sign__several_signatures__the_list_of_keys_is_asked_for_once(start: Callable[..., Process]) -> None:
    process = start()
    signer = RemoteSigner(process.access(), FIRST.address)
    for _ in range(3):
        signer.sign_typed_data(DATA)
    assert [line.split()[0] for line in process.requests()] == ["GET", "POST", "POST", "POST"]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("other-key", "signed with another key"),
        ("other-data", "signed with another key"),
        ("high-s", "no signature"),
        ("short", "no signature: '0x1234'"),
        ("words", "no signature: '<h1>hello</h1>'"),
        ("endless", "larger than 1048576 bytes"),
        ("no-key", "holds 1 keys, none of them of 0x"),
        ("token", "HTTP status 401: check signer_token_file"),
    ],
)
def test_sign__dishonest_or_unwilling_signer__is_refused_in_one_line(honest: Process, fault: str, told: str) -> None:
    signer = RemoteSigner(honest.access(fault), FIRST.address)
    for sign in (lambda: signer.sign_typed_data(DATA), lambda: signer.sign_transaction(TRANSFER)):
        with pytest.raises(SignerFault, match=told) as refused:
            sign()
        assert "\n" not in str(refused.value)


def test_sign__signer_never_answers__ends_at_the_deadline(honest: Process) -> None:
    signer = RemoteSigner(honest.access("silent", 0.6), FIRST.address)
    begun = time.monotonic()
    with pytest.raises(SignerFault, match=r"no answer within 0\.6 s|connection failed"):
        signer.sign_typed_data(DATA)
    assert time.monotonic() - begun < 5


def test_sign__signer_is_gone__says_so_and_nothing_was_asked_before(start: Callable[..., Process]) -> None:
    process = start()
    signer = RemoteSigner(process.access(), FIRST.address)  # a node starts without its signer
    process.close()
    with pytest.raises(SignerFault, match="connection refused"):
        signer.sign_typed_data(DATA)


def test_sign__token_from_a_file__is_sent_and_never_shown(honest: Process, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret-token\n")
    signer = RemoteSigner(honest.access("token", token_file=token), FIRST.address)
    assert signer.sign_typed_data(DATA)
    assert "s3cret" not in repr(signer)


@pytest.mark.parametrize("content", ["", "two words", "líne", "x" * 5000])
def test_open__file_holds_no_token__is_refused_without_its_words(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    with pytest.raises(SignerFault) as refused:
        RemoteSigner(RemoteAccess("http://127.0.0.1:9", token_file=tmp_path / "token"), FIRST.address)
    assert not content or content not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://signer.example:9000", "plain http to signer.example"),
        ("http://10.0.0.7:9000", "plain http to 10.0.0.7"),
        ("ftp://127.0.0.1", "no URL|not a URL"),
        ("https://user:word@127.0.0.1", "signer_token_file"),
        ("https://127.0.0.1/?key=1", "end with its path"),
        ("https://127.0.0.1:99999", "not a URL"),
        ("", "not a URL"),
    ],
)
def test_open__address_that_is_not_safe__is_refused(url: str, told: str) -> None:
    with pytest.raises(SignerFault, match=told) as refused:
        RemoteSigner(RemoteAccess(url), FIRST.address)
    assert "word" not in str(refused.value).replace("password", "")


# TLS


def certificate(folder: Path, name: str, issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None) -> tuple:  # type: ignore[type-arg]
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    by, with_key = issuer or (subject, key)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(with_key.public_key()), critical=False)
    )
    if issuer is None:
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = builder.add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage), critical=True
        )
    made = builder.sign(with_key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return subject, key


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    issuer = certificate(folder, "ca", None)
    certificate(folder, "server", issuer)
    certificate(folder, "client", issuer)
    certificate(folder, "stranger", None)
    return folder


def test_sign__over_tls__only_with_the_authority_that_was_named(start: Callable[..., Process], tls: Path) -> None:
    process = start(tls)
    trusting = RemoteSigner(process.access(ca_file=tls / "ca.pem"), FIRST.address)
    assert trusting.sign_typed_data(DATA)
    for files in ({}, {"ca_file": tls / "stranger.pem"}):
        with pytest.raises(SignerFault, match="certificate is not trusted"):
            RemoteSigner(process.access(**files), FIRST.address).sign_typed_data(DATA)


def test_sign__signer_asks_for_our_certificate__is_shown(
    start: Callable[..., Process], tls: Path, tmp_path: Path
) -> None:
    for name in ("ca", "server"):
        (tmp_path / f"{name}.pem").write_bytes((tls / f"{name}.pem").read_bytes())
    (tmp_path / "mutual").touch()
    process = start(tmp_path)
    known = process.access(ca_file=tls / "ca.pem", certificate_file=tls / "client.pem")
    assert RemoteSigner(known, FIRST.address).sign_typed_data(DATA)
    with pytest.raises(SignerFault, match="failed"):
        RemoteSigner(process.access(ca_file=tls / "ca.pem"), FIRST.address).sign_typed_data(DATA)


def test_open__file_of_authorities_is_missing__is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(SignerFault, match="cannot be read"):
        RemoteSigner(RemoteAccess("https://127.0.0.1:9", ca_file=tmp_path / "none.pem"), FIRST.address)
