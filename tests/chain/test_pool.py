"""Several endpoints of a real chain behind proxies that misbehave: who is asked, set aside, and taken back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from eth_account import Account
from structlog.testing import capture_logs

from tests.chain.support import Clock
from tests.rpcs.proxy import Proxy
from validator.chain.devchain import DevChain
from validator.chain.errors import RpcFault, RpcRefusal, WrongChain
from validator.chain.pool import MOST_PAUSE_SECONDS, REMEMBERED_SECONDS, STALE_BLOCKS, SURVEY_SECONDS, Pool
from validator.chain.rpc import connect
from validator.chain.verdict import Condition

TIMEOUT = 2.0


@pytest.fixture
def proxies(chain: DevChain) -> Iterator[list[Proxy]]:
    chain.mine(100)
    with ExitStack() as stack:
        yield [stack.enter_context(Proxy(chain.url, seed)) for seed in range(3)]


def pool_over(proxies: list[Proxy]) -> tuple[Pool, Clock]:
    clock = Clock()
    pool = Pool([proxy.url for proxy in proxies], TIMEOUT, clock=clock, jitter=random.Random(0))
    pool.start()
    return pool, clock


def head(pool: Pool) -> int:
    return int(pool.make_request("eth_blockNumber", [])["result"], 16)  # type: ignore[arg-type]


def conditions(pool: Pool) -> list[Condition]:
    return [status.condition for status in pool.status()]


def test_request__first_endpoint_is_healthy__is_the_only_one_asked(proxies: list[Proxy]) -> None:
    pool, _ = pool_over(proxies)
    before = [proxy.asked.total() for proxy in proxies]
    assert head(pool) == 100
    assert [proxy.asked.total() - known for proxy, known in zip(proxies, before, strict=True)] == [1, 0, 0]


def test_request__first_endpoint_fails__the_next_answers_and_the_first_comes_back_after_its_pause(
    proxies: list[Proxy],
) -> None:
    pool, clock = pool_over(proxies)
    proxies[0].only(error=1.0)
    assert head(pool) == 100
    assert conditions(pool)[0] is Condition.FAILING
    proxies[0].only()
    asked = proxies[0].asked.total()
    assert head(pool) == 100
    assert proxies[0].asked.total() == asked, "it was not left in peace"
    clock.now += pool.status()[0].retry_in
    assert head(pool) == 100
    assert conditions(pool)[0] is Condition.HEALTHY


def test_request__endpoint_keeps_failing__pauses_double_up_to_a_limit_with_jitter(proxies: list[Proxy]) -> None:
    pool, clock = pool_over(proxies)
    proxies[0].only(cut=1.0)
    pauses = []
    for _ in range(14):
        clock.now += MOST_PAUSE_SECONDS
        pool.survey()
        pauses.append(pool.status()[0].retry_in)
    for number, pause in enumerate(pauses):
        most = min(2.0**number, MOST_PAUSE_SECONDS)
        assert most / 2 <= pause <= most
    assert len(set(pauses)) == len(pauses), "no jitter"


def test_request__endpoint_answers_validly_but_is_days_behind__is_not_asked(proxies: list[Proxy]) -> None:
    proxies[0].behind = STALE_BLOCKS + 1
    proxies[0].only(behind=1.0)
    pool, _ = pool_over(proxies)
    assert head(pool) == 100
    assert conditions(pool) == [Condition.LAGGING, Condition.HEALTHY, Condition.HEALTHY]
    assert pool.status()[0].behind == STALE_BLOCKS + 1


def test_request__only_a_stale_endpoint_is_left__is_refused_until_the_better_head_is_forgotten(
    proxies: list[Proxy],
) -> None:
    proxies[0].behind = STALE_BLOCKS + 1
    proxies[0].only(behind=1.0)
    pool, clock = pool_over(proxies[:2])
    proxies[1].only(error=1.0)
    for words in ("internal error", r"is at block 83, others are at 100; .* internal error"):
        with pytest.raises(RpcFault, match=words):
            head(pool)
    clock.now += REMEMBERED_SECONDS + 1
    assert head(pool) == 83


def test_request__endpoint_claims_a_head_that_nobody_has__is_set_aside_and_logged_without_its_token(
    proxies: list[Proxy],
) -> None:
    pool, clock = pool_over(proxies)
    proxies[1].only(ahead=1.0)
    clock.now += SURVEY_SECONDS
    with capture_logs() as said:
        assert head(pool) == 100
    assert conditions(pool)[1] is Condition.LYING
    assert [line["condition"] for line in said] == ["lying"]
    assert "claims block 1100, most endpoints are at 100" in said[0]["reason"]
    assert "secret-token" not in repr(said) + repr(pool.status())


def test_request__endpoint_changes_its_chain__is_set_aside(proxies: list[Proxy]) -> None:
    pool, clock = pool_over(proxies[:2])
    proxies[0].only(other_chain=1.0)
    clock.now += SURVEY_SECONDS
    assert head(pool) == 100
    assert pool.status()[0].reason == "serves chain 5, not 31337"


def test_connect__one_of_two_serves_another_chain__is_refused_in_one_line(proxies: list[Proxy]) -> None:
    proxies[1].only(other_chain=1.0)
    with pytest.raises(WrongChain, match="serves chain 5, not 31337: check the RPC addresses"):
        connect([proxy.url for proxy in proxies])


def test_connect__one_of_two_is_down__starts_and_holds_it_to_the_chain_when_it_comes(proxies: list[Proxy]) -> None:
    proxies[1].only(error=1.0)
    pool, clock = pool_over(proxies[:2])
    proxies[1].only(other_chain=1.0)
    clock.now += SURVEY_SECONDS
    assert head(pool) == 100
    assert conditions(pool) == [Condition.HEALTHY, Condition.LYING]


def test_connect__the_same_address_twice__is_refused(chain: DevChain) -> None:
    with pytest.raises(RpcFault, match="configured twice: one endpoint has one voice"):
        connect([chain.url, chain.url])


def test_consistently__endpoint_fails_half_way__the_work_is_begun_anew_on_the_next(proxies: list[Proxy]) -> None:
    pool, _ = pool_over(proxies)
    seen: list[str] = []

    def work() -> int:
        seen.append(pool.pinned_key)
        first = head(pool)
        if len(seen) == 1:
            proxies[0].only(garbage=1.0)
        return first + head(pool)

    assert pool.consistently(work) == 200
    assert len(set(seen)) == len(seen) == 2


def test_consistently__works_though_another_endpoint_is_healthier__never_mixes_them(proxies: list[Proxy]) -> None:
    pool, _ = pool_over(proxies)
    before = [proxy.asked.total() for proxy in proxies]
    pool.consistently(lambda: [head(pool) for _ in range(5)])
    assert [proxy.asked.total() - known for proxy, known in zip(proxies, before, strict=True)] == [5, 0, 0]


def transfer(chain: DevChain, nonce: int = 0) -> str:
    fields = {"to": chain.keys[1].address, "value": 1, "gas": 21_000, "maxFeePerGas": 10**10, "nonce": nonce}
    fields |= {"maxPriorityFeePerGas": 10**9, "chainId": chain.chain_id, "type": 2}
    return Account.sign_transaction(fields, chain.keys[0].secret).raw_transaction.to_0x_hex()


def test_broadcast__first_endpoint_drops_the_transaction__the_others_have_it(
    chain: DevChain, proxies: list[Proxy]
) -> None:
    pool, _ = pool_over(proxies)
    proxies[0].only(drop=1.0)
    pool.make_request("eth_sendRawTransaction", [transfer(chain)])  # type: ignore[arg-type]
    assert [proxy.asked["eth_sendRawTransaction"] for proxy in proxies] == [1, 1, 1]
    assert head(pool) == 101


def test_broadcast__all_refuse__the_refusal_is_told(chain: DevChain, proxies: list[Proxy]) -> None:
    pool, _ = pool_over(proxies)
    proxies[0].only(cut=1.0)
    pool.make_request("eth_sendRawTransaction", [transfer(chain)])  # type: ignore[arg-type]
    with pytest.raises(RpcRefusal, match="nonce too low"):
        pool.make_request("eth_sendRawTransaction", [transfer(chain)])  # type: ignore[arg-type]


def test_survey__one_endpoint_hangs__costs_one_deadline_for_all(proxies: list[Proxy]) -> None:
    proxies[1].only(hang=1.0)
    clock = Clock()
    pool = Pool([proxy.url for proxy in proxies], 0.5, clock=clock)
    pool.start()
    assert conditions(pool) == [Condition.HEALTHY, Condition.FAILING, Condition.HEALTHY]
