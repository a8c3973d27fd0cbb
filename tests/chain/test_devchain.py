"""The embedded chain itself: what clients rely on."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from eth_account import Account

from tests.chain.support import sender_of
from validator.chain.devchain import BALANCE, MNEMONIC, DevChain, derive_keys
from validator.chain.devchain.server import BODY_LIMIT
from validator.chain.rpc import connect
from validator.chain.types import Call

SERVE = "from validator.chain.devchain import serve; serve(0, ready=lambda chain: print(chain.url, flush=True))"


def post(chain: DevChain, body: bytes, length: int | None = None) -> tuple[int, object]:
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(chain.url).port or 0, timeout=10)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", str(len(body) if length is None else length))
    connection.endheaders(body)
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


def test_derive_keys__from_the_documented_phrase__are_the_ones_wallets_find() -> None:
    Account.enable_unaudited_hdwallet_features()
    for index, key in enumerate(derive_keys()):
        account = Account.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}")
        assert (key.address, key.secret) == (account.address, bytes(account.key))


def test_accounts__at_genesis__are_funded(chain: DevChain) -> None:
    w3 = connect(chain.url)
    assert {int(w3.eth.get_balance(key.address)) for key in chain.keys} == {BALANCE}  # type: ignore[arg-type]


def test_finalized__is_two_blocks_behind_the_head(chain: DevChain) -> None:
    w3 = connect(chain.url)
    heights = []
    for _ in range(4):
        heights.append((w3.eth.get_block("finalized")["number"], w3.eth.get_block("safe")["number"]))
        chain.mine()
    assert heights == [(0, 0), (0, 0), (0, 0), (1, 1)]


def test_mine__a_burst_of_blocks__never_runs_ahead_of_the_clock(chain: DevChain) -> None:
    before = int(time.time())
    chain.mine(200)
    w3 = connect(chain.url)
    times = [int(w3.eth.get_block(number)["timestamp"]) for number in range(0, 201, 20)]
    assert times == sorted(times)
    assert before <= times[-1] <= int(time.time())


def test_advance__moves_the_time_of_blocks(chain: DevChain) -> None:
    w3 = connect(chain.url)
    before = int(w3.eth.get_block("latest")["timestamp"])
    chain.advance(3_600)
    assert int(w3.eth.get_block("latest")["timestamp"]) >= before + 3_600


def test_block_seconds__without_transactions__blocks_come_on_their_own() -> None:
    with DevChain(block_seconds=0.02) as chain:
        w3 = connect(chain.url)
        deadline = time.monotonic() + 10
        while int(w3.eth.block_number) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_blockhash__of_the_last_blocks__is_what_contracts_read(chain: DevChain) -> None:
    chain.mine(5)
    w3 = connect(chain.url)
    # Returns blockhash(number - 1).
    code = "0x600143034060005260206000f3"
    answer = bytes(w3.eth.call({"data": code}, 5))  # type: ignore[typeddict-item]
    assert answer == bytes(w3.eth.get_block(4)["hash"])


def test_reorganise__replaced_blocks__have_other_hashes_and_lose_their_transactions(chain: DevChain) -> None:
    w3 = connect(chain.url)
    receipt = sender_of(chain).send(Call(chain.keys[3].address, b"", 7), "gift")
    kept = bytes(w3.eth.get_block(0)["hash"])
    chain.reorganise(1)
    assert bytes(w3.eth.get_block(1)["hash"]) != receipt.block_hash
    assert bytes(w3.eth.get_block(0)["hash"]) == kept
    assert int(w3.eth.get_balance(chain.keys[3].address)) == BALANCE  # type: ignore[arg-type]
    assert sender_of(chain).next_nonce() == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"[" * 100_000, -32700),
        (b"7", -32600),
        (b"[]", -32600),
        (b'{"method": "eth_nonsense", "id": 1}', -32601),
        (b'{"method": "__init__", "id": 1}', -32601),
        (b'{"method": "eth_getBalance", "params": ["0x12"]}', -32602),
        (b'{"method": "eth_getBalance", "params": {"a": 1}}', -32602),
        (b'{"method": "eth_getLogs", "params": [7]}', -32602),
        (b'{"method": "eth_getLogs", "params": [{"fromBlock": "0xffff"}]}', -32000),
        (b'{"method": "eth_call", "params": [{"to": "0x00"}]}', -32602),
        (b'{"method": "eth_sendRawTransaction", "params": ["0x"]}', -32000),
        (b'{"method": "eth_sendRawTransaction", "params": ["0x02f8"]}', -32000),
        (b'{"method": "eth_sendRawTransaction", "params": ["0xc0"]}', -32000),
    ],
)
def test_server__bad_request__is_answered_with_an_error_and_lives(chain: DevChain, body: bytes, code: int) -> None:
    status, answer = post(chain, body)
    assert status == 200
    assert answer["error"]["code"] == code  # type: ignore[index,call-overload]
    assert post(chain, b'{"method": "eth_chainId", "id": 1}')[1] == {"jsonrpc": "2.0", "id": 1, "result": "0x7a69"}


def test_server__batch__answers_each_in_order(chain: DevChain) -> None:
    _, answer = post(chain, b'[{"method": "eth_chainId", "id": 1}, {"method": "eth_blockNumber", "id": 2}]')
    assert [item["result"] for item in answer] == ["0x7a69", "0x0"]  # type: ignore[attr-defined]


def test_server__body_beyond_the_limit__is_refused_unread(chain: DevChain) -> None:
    assert post(chain, b"", length=BODY_LIMIT + 1)[0] == 413


def test_server__several_clients_at_once__all_are_served(chain: DevChain) -> None:
    def work(index: int) -> bool:
        return sender_of(chain, index).send(Call(chain.keys[9].address, b"", 1), "gift").succeeded

    with ThreadPoolExecutor(5) as pool:
        assert all(pool.map(work, range(5)))
    assert int(connect(chain.url).eth.get_balance(chain.keys[9].address)) == BALANCE + 5  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve__told_to_stop__ends_cleanly(number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert connect(url).eth.chain_id == 31337
        os.kill(process.pid, number)
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")
    finally:
        if process.poll() is None:
            process.kill()
