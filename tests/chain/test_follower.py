"""Following finalised events through limits, lags and reorganisations."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.chain.round_play import Play
from tests.rpcs.proxy import Proxy
from validator.chain.errors import RpcFault, RpcRefusal, UnknownEvent
from validator.chain.events import EventDecoder
from validator.chain.follower import Batch, Checkpoint, Follower
from validator.chain.rpc import connect


def follow(play: Play, **options: Any) -> Follower:
    return Follower(connect(play.chain.url), play.deployment, **options)


def names(batch: Batch) -> list[str]:
    return [event.name for event in batch.events]


def test_scan__events_not_yet_final__are_left_for_later(play: Play) -> None:
    follower = follow(play)
    play.chain.mine(2)
    play.submit(b"\xaa" * 32)
    early = follower.scan(None)
    assert "ContributionSubmitted" not in names(early)
    assert early.checkpoint is not None
    assert early.checkpoint.number == early.finalised == early.head - 2
    play.chain.mine(2)
    assert names(follower.scan(early.checkpoint)) == ["ContributionSubmitted"]


def test_scan__depth_instead_of_a_tag__counts_from_the_head(play: Play) -> None:
    play.submit(b"\xaa" * 32)
    assert names(follow(play, finality=0).scan(None))[-1] == "ContributionSubmitted"
    batch = follow(play, finality=5).scan(None)
    assert batch.finalised == batch.head - 5


def test_scan__nothing_happened__moves_the_checkpoint_all_the_same(play: Play) -> None:
    follower = follow(play, finality=0)
    first = follower.scan(None).checkpoint
    assert first is not None
    play.chain.mine(4)
    second = follower.scan(first)
    assert second.events == ()
    assert second.checkpoint is not None
    assert second.checkpoint.number == first.number + 4


def test_scan__endpoint_behind_the_checkpoint__waits_without_rolling_back(play: Play) -> None:
    ahead = Checkpoint(10_000, b"\x01" * 32)
    batch = follow(play).scan(ahead)
    assert (batch.events, batch.checkpoint, batch.rollback_to) == ((), ahead, None)


def test_scan__chain_reorganised__rolls_back_to_the_newest_checkpoint_that_stands(play: Play) -> None:
    follower = follow(play, finality=0)
    older = follower.scan(None).checkpoint
    assert older is not None
    play.submit(b"\xaa" * 32)
    newer = follower.scan(older)
    assert names(newer) == ["ContributionSubmitted"]
    play.chain.reorganise(1)
    play.chain.mine()
    batch = follower.scan(newer.checkpoint, earlier=[older])
    assert batch.rollback_to == older.number
    assert batch.checkpoint == older
    assert batch.events == ()
    assert names(follower.scan(batch.checkpoint)) == []


def test_scan__reorganised_and_no_older_checkpoint__rolls_back_everything(play: Play) -> None:
    follower = follow(play, finality=0)
    checkpoint = follower.scan(None).checkpoint
    play.chain.reorganise(1)
    batch = follower.scan(checkpoint)
    assert batch.rollback_to == play.deployment.block - 1
    assert batch.checkpoint is None


def test_scan__endpoint_limits_the_range__halves_and_remembers(play: Play) -> None:
    whole = follow(play, finality=0).scan(None)
    play.chain.methods.log_range = 10
    limited = follow(play, finality=0, first_range=100)
    batch = limited.scan(None)
    assert batch.events == whole.events
    assert limited.range <= 10
    remembered = limited.range
    play.chain.mine(30)
    limited.scan(batch.checkpoint)
    assert limited.range >= remembered // 2


def test_scan__endpoint_limits_the_number_of_logs__halves(play: Play) -> None:
    whole = follow(play, finality=0).scan(None)
    play.chain.methods.log_count = 3
    assert follow(play, finality=0).scan(None).events == whole.events


def test_scan__a_single_block_is_refused__is_a_fault(play: Play) -> None:
    play.chain.methods.log_range = 0
    with pytest.raises(RpcRefusal, match="max block range"):
        follow(play, finality=0).scan(None)


def test_scan__many_blocks__comes_in_bounded_batches(play: Play) -> None:
    follower = follow(play, finality=0, most_blocks=7)
    whole = follow(play, finality=0).scan(None)
    batch = follower.scan(None)
    events = [*batch.events]
    while not batch.caught_up:
        assert batch.checkpoint is not None
        before = batch.checkpoint.number
        batch = follower.scan(batch.checkpoint)
        assert batch.checkpoint is not None
        assert batch.checkpoint.number - before <= 7
        events.extend(batch.events)
    assert tuple(events) == whole.events


def test_scan__many_events__comes_in_bounded_batches(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = follow(play, finality=0).scan(None)
    monkeypatch.setattr("validator.chain.follower.MOST_EVENTS", 3)
    follower, batch = follow(play, finality=0, first_range=2), cast("Batch | None", None)
    events, sizes = list[object](), list[int]()
    while batch is None or not batch.caught_up:
        batch = follower.scan(batch.checkpoint if batch else None)
        events.extend(batch.events)
        sizes.append(len(batch.events))
    assert tuple(events) == whole.events
    assert len(sizes) > 1
    assert all(3 <= size < len(whole.events) for size in sizes[:-1])


@pytest.mark.parametrize(("depth", "ranges"), [(1, 2_000), (20, 10)])
def test_scan__reorganised_between_its_own_requests__is_begun_anew_and_mixes_nothing(
    play: Play, monkeypatch: pytest.MonkeyPatch, depth: int, ranges: int
) -> None:
    follower = follow(play, finality=0, first_range=ranges)
    answer = play.chain.methods.answer
    asked: list[str] = []

    def reorganising(_self: object, method: str, params: list[Any]) -> object:
        result = answer(method, params)
        asked.append(method)
        # With several ranges: at the end of the second, so that only blocks of the first and second are replaced.
        if method == "eth_getLogs" and asked.count(method) == (1 if ranges > 1_000 else 2):
            play.chain.reorganise(depth)
        return result

    # The chain itself is real; only the moment of the reorganisation is arranged.
    monkeypatch.setattr(type(play.chain.methods), "answer", reorganising)
    batch = follower.scan(None)
    queries = asked.count("eth_getLogs")
    monkeypatch.undo()
    again = follow(play, finality=0, first_range=ranges)
    assert batch.events == again.scan(None).events
    assert queries > (1 if ranges > 1_000 else 2), "what was read before the reorganisation was kept"


def test_scan__reorganised_right_after_the_checkpoint_was_checked__is_noticed(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = follow(play, finality=0)
    checkpoint = follower.scan(None).checkpoint
    play.chain.mine(2)
    answer = play.chain.methods.answer
    blocks: list[object] = []

    def reorganising(_self: object, method: str, params: list[Any]) -> object:
        result = answer(method, params)
        if method == "eth_getBlockByNumber":
            blocks.append(params)
            if len(blocks) == 1:
                play.chain.reorganise(3)
        return result

    monkeypatch.setattr(type(play.chain.methods), "answer", reorganising)
    assert follower.scan(checkpoint).rollback_to == play.deployment.block - 1


@pytest.mark.parametrize("what", ["outside", "twice", "foreign", "removed"])
def test_scan__endpoint_sends_logs_that_were_not_asked_for__is_refused(
    play: Play, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    answer = play.chain.methods.answer

    def lying(_self: object, method: str, params: list[Any]) -> object:
        result: Any = answer(method, params)
        if method == "eth_getLogs" and what == "twice":
            return [*result, result[-1]]
        if method == "eth_getLogs":
            changed = {
                "outside": {"blockNumber": "0xffff"},
                "foreign": {"address": "0x" + "66" * 20, "logIndex": "0xffff"},
                "removed": {"removed": True, "logIndex": "0xffff"},
            }
            return [*result, {**result[-1], **changed[what]}]
        return result

    monkeypatch.setattr(type(play.chain.methods), "answer", lying)
    with pytest.raises(RpcFault, match=r"outside of the blocks|twice|none of this DAO's contracts|calls removed"):
        follow(play, finality=0).scan(None)


def test_scan__first_of_two_endpoints_shows_other_blocks__is_not_believed_and_nothing_is_rolled_back(
    play: Play,
) -> None:
    with Proxy(play.chain.url) as bad, Proxy(play.chain.url) as good:
        follower = Follower(connect([bad.url, good.url]), play.deployment, 0)
        checkpoint = follower.scan(None).checkpoint
        bad.only(other_hash=1.0)
        play.submit(b"\xaa" * 32)
        batch = follower.scan(checkpoint)
        assert batch.rollback_to is None
        assert names(batch) == ["ContributionSubmitted"]


def test_scan__only_endpoint_shows_other_blocks__is_a_reorganisation(play: Play) -> None:
    with Proxy(play.chain.url) as only:
        follower = Follower(connect(only.url), play.deployment, 0)
        checkpoint = follower.scan(None).checkpoint
        only.only(other_hash=1.0)
        assert follower.scan(checkpoint).rollback_to == play.deployment.block - 1


def test_scan__watched__is_told_of_every_range(play: Play) -> None:
    told: list[tuple[int, int]] = []
    batch = follow(play, finality=0, first_range=10, watch=lambda *where: told.append(where)).scan(None)
    assert told[-1] == (batch.finalised, batch.finalised)
    assert [block for block, _ in told] == sorted({block for block, _ in told})
    assert len(told) > 1


def test_decode__event_this_version_does_not_know__stops(play: Play) -> None:
    log = {
        "address": play.deployment.rounds,
        "topics": [b"\x01" * 32],
        "data": b"",
        "blockNumber": 9,
        "blockHash": b"\x02" * 32,
        "transactionHash": b"\x03" * 32,
        "logIndex": 0,
    }
    with pytest.raises(UnknownEvent, match="block 9: ScoringRounds emitted an event unknown to this version: upgrade"):
        EventDecoder(play.deployment).decode(log)


def test_decode__known_event_with_cut_data__is_a_fault(play: Play) -> None:
    batch = follow(play, finality=0).scan(None)
    event = next(e for e in batch.events if e.name == "ValidatorJoined")
    logs = connect(play.chain.url).eth.get_logs({"blockHash": event.block_hash, "address": play.deployment.validators})
    log = dict(logs[0])
    log["data"] = bytes(log["data"])[:-1]
    with pytest.raises(RpcFault, match="cannot be decoded"):
        EventDecoder(play.deployment).decode(log)
