"""Many rounds in a row with seeded faults: killed, terminated and stopped processes, a misbehaving endpoint, content
that is damaged, late or gone. At the end every invariant is checked, and nothing may have been left lying about.

Three validators, so that all three are a quorum: a round waits for whoever was struck, and ends when it is back.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import ClassVar

import pytest

from tests.faults.anvil import Anvil
from tests.faults.checks import check_signatures, check_transactions
from tests.faults.stage import journal_of
from tests.faults.tiny import TinyWorld
from tests.faults.victim import Orders, start
from tests.rpcs.proxy import Proxy
from tests.support import CLEAN, NOISE
from validator.actions.contributor import Submitted, contribute
from validator.actions.found import TOKEN
from validator.chain.types import Phase
from validator.content import Cid, LocalStore
from validator.demo.dao import PARAMETERS
from validator.rounds.evidence import Evidence
from validator.rounds.lifecycle import fold
from validator.stages.documents import read_evidence

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "60"))
SEED = int(os.environ.get("SOAK_SEED", "1"))
PATIENCE = 300.0
"""Seconds for one round."""
LONG = {"report_seconds": 3_600, "commit_seconds": 3_600, "attest_seconds": 3_600, "exit_seconds": 30 * 86_400}
BUDGET = 100 * TOKEN
"""For sixty rounds and their fees the world's pool is enough."""
SPARED = "validator-1"
RPC_FAULTS = ("error", "busy", "cut", "truncated", "garbage", "wrong_id", "drop", "nonce_behind")
GROWTH = 0.75
"""MiB a round that a process may grow by, from its tenth round on."""


class SoakedWorld(TinyWorld):
    """Who looks less often leaves more of the processor to the others."""

    options: ClassVar[dict[str, str | int | float]] = {"poll_seconds": 0.4, "stagger_seconds": 0.0}


@dataclass(frozen=True)
class Usage:
    """What a process holds: resident memory in MiB, open descriptors, threads."""

    memory: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, process: BaseProcess) -> Usage:
        """As of now."""
        place = Path(f"/proc/{process.pid}")
        status = (place / "status").read_text().splitlines()
        memory = next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmRSS"))
        return cls(memory, len(list((place / "fd").iterdir())), len(list((place / "task").iterdir())))


@dataclass
class Soak:
    """The world, its processes, and what was done to them."""

    world: TinyWorld
    proxy: Proxy
    rng: random.Random
    running: dict[str, BaseProcess] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    late: list[tuple[float, Submitted]] = field(default_factory=list)
    spared: list[Usage] = field(default_factory=list)
    bad_until: float = 0.0

    def start(self, name: str, number: int = 0) -> None:
        """A process for `name`; it kills itself at the `number`-th place that it comes by, unless that is 0."""
        self.running[name] = start(Orders(self.world.folder / name, self.world.folder, number=number))

    def revive(self) -> None:
        """Start again whoever died, as a supervisor does. By itself only a process ends whose endpoint failed while it
        started, and says so in its last line.
        """
        for name, process in list(self.running.items()):
            if process.exitcode == 1:
                last = (self.world.folder / f"{name}.log").read_text(errors="replace").splitlines()[-1]
                assert last.startswith("error: http://127.0.0.1"), f"{name} ended by itself: {last}"
                self.done["start refused"] += 1
            elif process.exitcode is not None:
                assert process.exitcode in (-signal.SIGKILL, 0), f"{name} ended with {process.exitcode}"
            if process.exitcode is not None:
                self.start(name)

    # Faults

    def kill_later(self) -> None:
        name = self.victim()
        self.end(name, signal.SIGKILL)
        self.start(name, self.rng.randrange(1, 120))

    def kill(self) -> None:
        self.end(self.victim(), signal.SIGKILL)

    def terminate(self) -> None:
        self.end(self.victim(), signal.SIGTERM)

    def freeze(self) -> None:
        """Nobody home for a while, and then it goes on as if nothing had been."""
        process = self.running[self.rng.choice(sorted(self.running))]
        assert process.pid is not None
        if process.exitcode is not None:
            return
        with suppress(ProcessLookupError):  # one that is under orders to die may do so at this moment
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(self.rng.uniform(0.5, 3.0))
            os.kill(process.pid, signal.SIGCONT)

    def misbehave(self) -> None:
        """For some seconds the endpoint, the only one, does this to one request in ten: to every other tick or so."""
        self.proxy.only(**{self.rng.choice(RPC_FAULTS): 0.1})
        self.bad_until = time.monotonic() + self.rng.uniform(2.0, 8.0)

    def victim(self) -> str:
        """One of those that may die: the first lives on, so that what it leaks adds up."""
        return self.rng.choice(sorted(self.running.keys() - {SPARED}))

    def end(self, name: str, how: signal.Signals) -> None:
        process = self.running[name]
        assert process.pid is not None
        if process.exitcode is None:
            os.kill(process.pid, how)
        process.join(30)
        assert process.exitcode in (0, 1, -signal.SIGKILL), f"{name} ended with {process.exitcode}"


@pytest.fixture
def soak(tmp_path: Path) -> Iterator[Soak]:
    chain = Anvil(tmp_path)
    made: Soak | None = None
    try:
        world = SoakedWorld(tmp_path, validators=3, capacity=2, chain=chain, round_budget=BUDGET, **LONG)
        with Proxy(chain.url, SEED) as proxy:
            proxy.only()
            for name in world.names:
                file = tmp_path / name / "validator.toml"
                file.write_text(file.read_text().replace(chain.url, proxy.url))
            made = Soak(world, proxy, random.Random(SEED))
            yield made
            for process in made.running.values():
                if process.exitcode is None:
                    process.kill()
                    process.join(10)
    finally:
        chain.stop()


@pytest.mark.slow
@pytest.mark.timeout(ROUNDS * PATIENCE)
def test_run__many_rounds_with_random_faults__keep_every_invariant(soak: Soak):
    world, begun = soak.world, time.monotonic()
    for name in world.names:
        soak.start(name)
    for number in range(1, ROUNDS + 1):
        play(soak, number)
        told = f"{time.monotonic() - begun:.0f} s: round {number} final"
        print(f"{told}, {soak.spared[-1]}, {dict(soak.done)}", flush=True)
    finish(soak)
    check_payouts(world)
    for name in world.names:
        check_signatures(world, name, world.folder, list(range(1, ROUNDS + 1)))
        outcomes = check_transactions(world, name)
        assert outcomes["displaced"] == 0
    check_nothing_left(soak)
    check_usage(soak.spared)


FAULTS = {
    "killed": Soak.kill,
    "killed at a place": Soak.kill_later,
    "terminated": Soak.terminate,
    "frozen": Soak.freeze,
    "endpoint": Soak.misbehave,
}


def play(soak: Soak, number: int) -> None:
    """One round: two contributions, of which one may come late or damaged, and one or two faults at random moments."""
    world, rng = soak.world, soak.rng
    soak.proxy.only()
    begun = time.monotonic()
    contribute_badly(soak)
    moments = sorted(rng.uniform(0.0, 6.0) for _ in range(rng.choice((1, 1, 2))))
    while world.wallet.contracts.rounds.phase(number) is not Phase.FINALISED:
        elapsed = time.monotonic() - begun
        if moments and elapsed > moments[0]:
            moments.pop(0)
            kind = rng.choice(sorted(FAULTS))
            FAULTS[kind](soak)
            soak.done[kind] += 1
        if time.monotonic() > soak.bad_until:
            soak.proxy.only()
        serve_late(soak)
        soak.revive()
        assert elapsed < PATIENCE, f"round {number} did not end"
        time.sleep(0.2)
    soak.spared.append(Usage.of(soak.running[SPARED]))


def contribute_badly(soak: Soak) -> None:
    """One contribution that helps; one that does not, whose envelope is there, or late, or damaged for good."""
    world, shared = soak.world, LocalStore(soak.world.folder / "store")
    world.contribute(CLEAN)
    aside = replace(world.contributor(), store=LocalStore(world.folder / "aside"))
    done = contribute(aside, world.payload(NOISE))
    fate = soak.rng.choice(("late", "damaged", "served", "served"))
    soak.done[f"content {fate}"] += 1
    if fate == "damaged":
        block = shared._path(Cid.parse(done.cid))
        block.parent.mkdir(exist_ok=True)
        block.write_bytes(b"\0" * done.size)
    else:
        soak.late.append((time.monotonic() + (soak.rng.uniform(0, 4) if fate == "late" else 0), done))
    serve_late(soak)


def serve_late(soak: Soak) -> None:
    """Put into the shared store what is due."""
    aside, shared = (LocalStore(soak.world.folder / name) for name in ("aside", "store"))
    for moment, done in list(soak.late):
        if time.monotonic() >= moment:
            shared.put(aside.read(Cid.parse(done.cid), done.size))
            soak.late.remove((moment, done))


def finish(soak: Soak) -> None:
    """Without further faults: fees are claimed, transactions settle, and SIGTERM ends everyone."""
    world = soak.world
    soak.proxy.only()
    last = world.wallet.contracts.rounds.round_info(ROUNDS).attest_deadline
    world.chain.advance(last + 1 - world.w3.eth.get_block("latest")["timestamp"])
    deadline = time.monotonic() + PATIENCE
    while not all(settled(world, name) for name in world.names):
        assert time.monotonic() < deadline, "not everything was settled"
        soak.revive()
        time.sleep(0.5)
    for process in soak.running.values():
        process.terminate()
        process.join(30)
        assert process.exitcode in (0, -signal.SIGKILL)  # a process under orders to die may do that now


def settled(world: TinyWorld, name: str) -> bool:
    """Whether every fee is claimed, and nothing is under way."""
    home = world.folder / name
    fees = journal_of(home, "SELECT count(*) FROM steps WHERE step = 'fee'")
    return fees == [(ROUNDS,)] and journal_of(home, "SELECT count(*) FROM intents WHERE outcome IS NULL") == [(0,)]


def check_payouts(world: TinyWorld) -> None:
    """What everyone earned is what a model of our own makes of the scores; pool and fees agree."""
    lifetime: Counter[str] = Counter()
    paying = 0
    rounds = fold(world.facts()).by_number
    for number in range(1, ROUNDS + 1):
        final = rounds[number].final
        assert final is not None
        evidence = read_evidence(world.wallet.store, final["evidence"])
        paid = model_of_a_round(evidence)
        lifetime.update(paid)
        assert final["round_total"] == paid.total()
        paying += paid.total() > 0
        assert dict(evidence.earnings) == {account: amount for account, amount in lifetime.items() if amount}
    assert world.wallet.contracts.pool.earned_total() == lifetime.total()
    assert paying > ROUNDS // 4  # what a round adds to all that was paid before may well be nothing
    token = world.wallet.token(world.wallet.deployment.reward_token)
    fees = [token.balance_of(world.keys[name].address) for name in world.names]
    assert fees == [ROUNDS * PARAMETERS.validator_fee // 3] * 3


def model_of_a_round(evidence: Evidence) -> Counter[str]:
    """Payouts of the manifest of `tiny.py`, from the raw scores alone: no doubt subtracted, no cap that binds below the
    whole pool, and as much of the pool as the score of a round is of itself.
    """
    worth = [(line.contributor, min(max(line.raw, 0), 10**9)) for line in evidence.contributions]
    total = max(1, sum(score for _, score in worth))
    paid: Counter[str] = Counter()
    for account, score in worth:
        paid[account] += evidence.pool * score // total
    return paid


def check_nothing_left(soak: Soak) -> None:
    """No process, no half-written file but those of a killed writer, no descriptor of ours."""
    assert all(process.exitcode is not None for process in soak.running.values())
    for name in soak.world.names:
        home = soak.world.folder / name
        names = {entry.name for entry in home.iterdir()}
        allowed = {"keys", "password", "validator.toml", "journal.sqlite", "protection.sqlite"}
        if soak.running[name].exitcode == -signal.SIGKILL:  # it was under orders to die, and its log of writes stays
            allowed |= {f"{file}.sqlite-{log}" for file in ("journal", "protection") for log in ("wal", "shm")}
        assert names <= allowed, names - allowed
    killed = soak.done["killed"] + soak.done["killed at a place"]
    assert len(list((soak.world.folder / "store" / "tmp").iterdir())) <= killed


def check_usage(spared: list[Usage]) -> None:
    """Flat: from the tenth round on memory hardly grows (the slope of a line through it), descriptors and threads do
    not.
    """
    late = spared[10:]
    if len(late) < 10:
        return
    memory = [usage.memory for usage in late]
    middle, mean = (len(late) - 1) / 2, sum(memory) / len(late)
    spread = sum((x - middle) ** 2 for x in range(len(late)))
    slope = sum((x - middle) * (y - mean) for x, y in enumerate(memory)) / spread
    print(f"memory grows by {slope:.3f} MiB a round, from {memory[0]} to {memory[-1]} MiB", flush=True)
    assert slope < GROWTH
    assert max(usage.descriptors for usage in late[-10:]) <= max(usage.descriptors for usage in late[:10]) + 3
    assert max(usage.threads for usage in late[-10:]) <= max(usage.threads for usage in late[:10]) + 2
