"""The contracts against their reference model: any acts by anybody, and every balance agrees after every step.

The same compiled contracts as everywhere, on py-evm. Each act is put to both; the contracts must do it when the model
does, and refuse it with the same error when the model refuses it. `--full` plays longer and oftener.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from eth_utils.crypto import keccak
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.contracts.machine import COIN, Refused
from tests.contracts.model import Model, No
from tests.contracts.world import DAY, HOUR, OWNER, PARAMETERS, World, address, key, other
from validator.chain.types import Attestation, Parameters, Phase, ScoreLeaf
from validator.rounds.merkle import EARNING_LEAF, SCORE_LEAF, Tree, build_tree, leaf_hash

CONTRIBUTORS = tuple(address(name) for name in ("alice", "bob", "carol"))
OPERATORS = ("v0", "v1", "v2", "v3")
SEATED = 3
STAKE, FUNDING = 100 * COIN, 2500 * COIN
REPORTER = address("reporter")
ANSWERS = (1, 2)

names = st.sampled_from(OPERATORS)
accounts = st.sampled_from(CONTRIBUTORS)
answers = st.sampled_from((1, 1, 1, 2))
back = st.integers(0, 3)
"""How many rounds before the open one: mostly the closed one is meant."""
waits = st.sampled_from((1, 60, 601, 1201, HOUR, HOUR, 2 * HOUR, 8 * DAY))
parameters = st.builds(
    lambda **changes: replace(PARAMETERS, **changes),
    open_seconds=st.sampled_from((0, 60, HOUR)),
    max_contributions=st.integers(1, 6),
    max_attempts=st.integers(1, 3),
    exit_seconds=st.integers(3 * 3600, 9 * DAY),
    slash_bps=st.integers(0, 10_000),
    reporter_bps=st.integers(0, 9_999),
    deposit=st.integers(0, COIN),
    round_budget=st.integers(0, 2000 * COIN),
    validator_fee=st.integers(0, 100 * COIN),
    max_weight=st.integers(1, 300 * COIN),
    unrevealed_fee=st.integers(0, 150 * COIN),
)


@cache
def founded() -> World:
    """The DAO from which every play starts, deployed once."""
    world = World.found(PARAMETERS, FUNDING)
    for name in OPERATORS[:SEATED]:
        world.join(name, STAKE)
    world.rounds.call("open", OWNER)
    return world


class Contracts(RuleBasedStateMachine):
    """One DAO, twice."""

    @initialize(seed=st.integers(0, 2**32))
    def found(self, seed: int) -> None:
        self.world = founded()
        machine = self.world.machine
        self.saved = machine.save()
        self.model = Model(PARAMETERS, CONTRIBUTORS, OWNER, machine.now, machine.block)
        self.model.funded = FUNDING
        for name in OPERATORS[:SEATED]:
            self.model.join(address(name), STAKE)
        self.stake_in = SEATED * STAKE
        self.signers = {name: name for name in OPERATORS}
        self.used = set(OPERATORS[:SEATED])
        self.contents = 0
        self.given: dict[tuple[int, int, int], Attestation] = {}
        self.trees: dict[int, tuple[Tree, list[ScoreLeaf]]] = {}
        self.play(seed)

    def teardown(self) -> None:
        if hasattr(self, "saved"):
            self.world.machine.restore(self.saved)

    def both(self, expected: Any, contract: Any, function: str, sender: str, *arguments: Any, value: int = 0) -> bool:
        """Puts one act to model and contracts. Whether it was done."""
        refusal = None
        try:
            expected()
        except No as no:
            refusal = str(no)
        if refusal is None:
            contract.call(function, sender, *arguments, value=value)
            return True
        with pytest.raises(Refused) as refused:
            contract.call(function, sender, *arguments, value=value)
        assert refused.value.name == refusal
        return False

    def number(self, back: int) -> int:
        """A round: the closed one, or one before it; the open one if there is no other."""
        return max(1, self.model.current - (back if back else 1))

    # Clock, owner

    @rule(seconds=waits, blocks=st.sampled_from((1, 1, 5, 300)))
    def wait(self, seconds: int, blocks: int) -> None:
        machine = self.world.machine
        machine.now = self.model.now = machine.now + seconds
        machine.block = self.model.block = machine.block + blocks

    @rule(new=parameters)
    def set_parameters(self, new: Parameters) -> None:
        self.world.dao.call("setParameters", OWNER, new)
        self.model.parameters = new

    @rule()
    def pause_or_unpause(self) -> None:
        self.world.dao.call("unpause" if self.model.paused else "pause", OWNER)
        self.model.paused = not self.model.paused

    @rule(amount=st.integers(1, 3000 * COIN))
    def fund(self, amount: int) -> None:
        self.world.fund(amount)
        self.model.funded += amount

    # Contributors

    @rule(contributor=accounts, wrong=st.sampled_from((0, 0, 0, 1)))
    def submit(self, contributor: str, wrong: int) -> None:
        self.contents += 1
        value = self.model.open.parameters.deposit + wrong
        content = keccak(self.contents.to_bytes(4, "big"))
        self.world.machine.rich(contributor)
        terms = (content, 0, 10, 1)
        self.both(
            lambda: self.model.submit(contributor, contributor, value),
            self.world.registry,
            "submit",
            contributor,
            *terms,
            value=value,
        )

    @rule(account=accounts)
    def claim(self, account: str) -> None:
        tree, index = self._earnings(account)
        cumulative, proof = self.model.earned[account], tree.proof(index)
        if not any(self.model.earned.values()):
            return  # no tree yet: nothing that could be proven
        self.both(lambda: self.model.claim(account), self.world.pool, "claim", OWNER, account, cumulative, proof)

    @rule(back=back, which=st.integers(0, 5))
    def record(self, back: int, which: int) -> None:
        number = self.number(back)
        if number not in self.trees:
            return
        tree, leaves = self.trees[number]
        leaf = leaves[which % len(leaves)]
        proof = tree.proof(which % len(leaves))
        self.both(
            lambda: self.model.record(number, leaf.id, leaf.status),
            self.world.rounds,
            "recordScore",
            OWNER,
            number,
            leaf,
            proof,
        )

    @rule(back=st.integers(0, 3), which=st.integers(0, 7))
    def reclaim(self, back: int, which: int) -> None:
        number = max(1, self.model.current - back)
        contribution = self.model.rounds[number].first + which - 1
        self.both(
            lambda: self.model.reclaim(number, contribution),
            self.world.rounds,
            "reclaimDeposit",
            OWNER,
            number,
            contribution,
        )

    @rule(account=st.sampled_from((*CONTRIBUTORS, OWNER)))
    def withdraw_credit(self, account: str) -> None:
        before = self.world.machine.balance(account)
        amount = self.model.credits[account]
        if self.both(
            lambda: self.model.withdraw_credit(account), self.world.registry, "withdrawCredit", REPORTER, account
        ):
            assert self.world.machine.balance(account) - before == amount

    # Rounds

    @rule()
    def close(self) -> None:
        self.both(self.model.close, self.world.rounds, "close", OWNER)

    @rule(back=back)
    def draw(self, back: int) -> None:
        number = self.number(back)
        self.both(lambda: self.model.draw(number), self.world.rounds, "drawSeed", OWNER, number)

    @rule(name=names, back=back)
    def report(self, name: str, back: int) -> None:
        number = self.number(back)
        info = self.world.info(number)
        bitmap = bytes((max(info.end_id - info.first_id, 0) + 7) // 8)
        self.both(
            lambda: self.model.report(number, address(name)),
            self.world.rounds,
            "reportAvailability",
            address(name),
            number,
            bitmap,
        )

    @rule(name=names, answer=answers, back=back)
    def commit(self, name: str, answer: int, back: int) -> None:
        number = self.number(back)
        commit = self.world.commit_hash(self._attestation(number, answer), address(name))
        self.both(
            lambda: self.model.commit(number, address(name), answer),
            self.world.rounds,
            "commit",
            address(name),
            number,
            commit,
            b"",
        )

    @rule(name=names, answer=answers, back=back)
    def attest(self, name: str, answer: int, back: int) -> None:
        number = self.number(back)
        given = self.model.rounds[number].attempts
        committed = given[-1].ballots[address(name)].committed if given else 0
        # What it has committed to, mostly.
        answer = committed if committed and answer == ANSWERS[0] else answer
        a = self._attestation(number, answer)
        signature = self.world.signature(self.signers[name], a)
        self.both(
            lambda: self.model.attest(number, address(name), answer),
            self.world.rounds,
            "attest",
            REPORTER,
            a,
            keccak(b"salt"),
            address(name),
            signature,
        )

    @rule(answer=answers, back=back)
    def finalise(self, answer: int, back: int) -> None:
        number = self.number(back)
        a = self._attestation(number, answer)
        tree = self._scores(number)
        if self.both(lambda: self.model.finalise(number, answer), self.world.rounds, "finalise", OWNER, a):
            self.trees[number] = tree

    @rule(back=back)
    def retry(self, back: int) -> None:
        number = self.number(back)
        self.both(lambda: self.model.retry(number), self.world.rounds, "retry", OWNER, number)

    @rule(seed=st.integers(0, 2**32))
    def play(self, seed: int) -> None:
        """What a round needs, by almost everybody in turn, so that random acts meet rounds in all phases."""
        bits = iter(format(int.from_bytes(keccak(seed.to_bytes(5, "big"))), "0256b"))

        def often(halves: int = 3) -> bool:
            return "1" in [next(bits) for _ in range(halves)]

        self.submit(CONTRIBUTORS[seed % 3], 0)
        for act in (self.close, lambda: self.draw(1), lambda: self.retry(1)):
            self.wait(self.model.open.parameters.open_seconds if often() else 1, 5)
            act()
        for act, over in ((self.report, Phase.COMMITTING), (self.commit, Phase.ATTESTING), (self.attest, Phase.NONE)):
            for name in OPERATORS:
                if often(4) and self.model.weight_at(address(name), max(1, self.model.current - 1)):
                    act(name, *(() if act == self.report else (1 if often() else 2,)), 1)
            if over and self.model.phase(max(1, self.model.current - 1)) < over and often():
                self.wait(1201, 1)
        self.finalise(1, 1)
        if often(1):
            self.wait(HOUR, 1)

    @rule(back=back, seed=st.integers(0, 2**32))
    def take(self, back: int, seed: int) -> None:
        """Whatever there is to be had of a round."""
        for name in OPERATORS:
            self.claim_fee(name, back)
            self.charge(name, back, 0)
        self.claim(CONTRIBUTORS[seed % 3])
        self.record(back, seed % 5)
        self.withdraw_credit((*CONTRIBUTORS, OWNER)[seed % 4])

    @rule(name=names, back=back)
    def claim_fee(self, name: str, back: int) -> None:
        number = self.number(back)
        self.both(
            lambda: self.model.claim_fee(number, address(name)),
            self.world.pool,
            "claimFee",
            OWNER,
            number,
            address(name),
        )

    # Validators

    @rule(name=names, amount=st.integers(5 * COIN, 400 * COIN))
    def join(self, name: str, amount: int) -> None:
        operator = address(name)
        signer = self.signers[name] if name not in self.used else f"{self.signers[name]}'"
        self.world.dao.call("admit", OWNER, operator, True)
        self.world.give_stake(operator, amount)
        consent = self._consent(signer, operator)
        done = self.both(
            lambda: self.model.join(operator, amount),
            self.world.validators,
            "join",
            operator,
            amount,
            address(signer),
            keccak(b"hpke"),
            consent,
        )
        if done:
            self.signers[name] = signer
            self.used.add(name)
            self.stake_in += amount
        else:
            self.world.stake.call("transfer", operator, address("nobody"), amount)

    @rule(name=names, amount=st.integers(0, 200 * COIN))
    def top_up(self, name: str, amount: int) -> None:
        operator = address(name)
        self.world.give_stake(operator, amount)
        if self.both(lambda: self.model.top_up(operator, amount), self.world.validators, "topUp", operator, amount):
            self.stake_in += amount
        else:
            self.world.stake.call("transfer", operator, address("nobody"), amount)

    @rule(name=names)
    def update_weight(self, name: str) -> None:
        operator = address(name)
        self.both(lambda: self.model.update_weight(operator), self.world.validators, "updateWeight", REPORTER, operator)

    @rule(name=names, size=st.sampled_from((0, 30, 256, 257)))
    def announce(self, name: str, size: int) -> None:
        operator, url = address(name), "u" * size
        self.both(lambda: self.model.announce(operator, url), self.world.validators, "announce", operator, url)

    @rule(name=names, sure=st.integers(0, 2))
    def request_exit(self, name: str, sure: int) -> None:
        if sure == 0:
            operator = address(name)
            self.both(lambda: self.model.request_exit(operator), self.world.validators, "requestExit", operator)

    @rule(name=names)
    def withdraw(self, name: str) -> None:
        operator = address(name)
        self.both(lambda: self.model.withdraw(operator), self.world.validators, "withdraw", operator)

    @rule(name=names, days=st.integers(6, 10))
    def leave(self, name: str, days: int) -> None:
        """Asks, waits about as long as it takes, and tries the door."""
        self.request_exit(name, 0)
        self.retry(1)
        self.wait(days * DAY, 1)
        self.withdraw(name)

    # Faults

    @rule(name=names, back=back, attempt=st.integers(0, 4))
    def charge(self, name: str, back: int, attempt: int) -> None:
        number, operator = self.number(back), address(name)
        attempt = attempt or len(self.model.rounds[number].attempts)
        self.both(
            lambda: self.model.charge(number, attempt, operator, REPORTER),
            self.world.rounds,
            "chargeUnrevealed",
            REPORTER,
            number,
            attempt,
            operator,
        )

    @rule(name=names, back=back)
    def equivocate(self, name: str, back: int) -> None:
        number, operator = self.number(back), address(name)
        given = self.model.rounds[number].attempts
        enrolled = given and (given[-1].ballots[operator].reported or given[-1].ballots[operator].committed)
        if enrolled and self.signers[name] != self._enrolled_signer(number, name):
            return  # it has another signing address since; its old key is not ours to play with here
        a = self._attestation(number, 1)
        b = other(a)
        signed = [self.world.signature(self.signers[name], one) for one in (a, b)]
        self.both(
            lambda: self.model.equivocate(number, operator, REPORTER),
            self.world.rounds,
            "proveEquivocation",
            REPORTER,
            operator,
            a,
            signed[0],
            b,
            signed[1],
        )

    # What agrees

    @invariant()
    def stakes_agree(self) -> None:
        world, model = self.world, self.model
        for name in OPERATORS:
            operator = address(name)
            assert world.validators.read("stakeOf", operator) == model.staked[operator]
            for number in {model.current, max(1, model.current - 1)}:
                weight = world.validators.read("weightAt", operator, number)
                assert weight == model.weight_at(operator, number)
            paid = model.stake_paid[operator]
            assert world.stake.read("balanceOf", operator) == paid
        assert world.validators.read("totalWeight") == model.total_weight()
        assert world.validators.read("burned") == model.burned
        assert world.stake.read("balanceOf", REPORTER) == model.stake_paid[REPORTER]
        held = world.stake.read("balanceOf", world.validators.address)
        assert held == sum(model.staked.values()) + model.burned == self.stake_in - sum(model.stake_paid.values())

    @invariant()
    def rewards_agree(self) -> None:
        world, model = self.world, self.model
        earned, claimed = sum(model.earned.values()), sum(model.claimed.values())
        assert world.pool.read("funded") == model.funded
        assert world.pool.read("earnedTotal") == earned
        assert world.pool.read("claimedTotal") == claimed
        assert world.pool.read("feesOwed") == model.fees_owed()
        assert world.pool.read("available") == model.available() >= 0
        for account in CONTRIBUTORS:
            paid = world.reward.read("balanceOf", account)
            assert paid == world.pool.read("claimed", account) == model.claimed[account] <= model.earned[account]
        for name in OPERATORS:
            fees = sum(r.fees_paid.get(address(name), 0) for r in model.rounds.values())
            assert world.reward.read("balanceOf", address(name)) == fees
        held = world.reward.read("balanceOf", world.pool.address)
        assert held == model.funded - claimed - model.fees_paid()

    @invariant()
    def deposits_agree(self) -> None:
        world, model = self.world, self.model
        for account in (*CONTRIBUTORS, OWNER):
            assert world.registry.read("credits", account) == model.credits[account]
        for number, (payer, amount) in model.deposits.items():
            kept = world.registry.read("contribution", number)
            assert (kept.payer, kept.deposit) == (payer, amount)
        held = sum(amount for _, amount in model.deposits.values()) + sum(model.credits.values())
        assert world.machine.balance(world.registry.address) == held

    @invariant()
    def rounds_agree(self) -> None:
        world, model = self.world, self.model
        assert world.rounds.read("currentRound") == model.current
        assert world.rounds.read("submissionTerms")[1] == model.room
        for number in range(max(1, model.current - 3), model.current + 1):
            info, r = world.info(number), model.rounds[number]
            assert info.phase == model.phase(number)
            assert (info.first_id, info.end_id, info.attempt) == (r.first, r.end, len(r.attempts))
            assert (info.pool, info.total_weight) == (r.pool, r.total)
            if r.attempts:
                a = r.attempts[-1]
                assert (info.report_deadline, info.commit_deadline, info.attest_deadline) == (
                    a.report,
                    a.commit,
                    a.attest,
                )
                acted = tuple(r.acted(what) for what in ("reported", "committed", "attested"))
                assert (info.reported_weight, info.committed_weight, info.attested_weight) == acted

    # Documents

    def _attestation(self, number: int, answer: int) -> Attestation:
        """What is attested as that answer in the round's last attempt: the same whenever it is asked for."""
        r = self.model.rounds[number]
        key = (number, len(r.attempts), answer)
        if key not in self.given:
            total = r.offer(answer)
            earned = {**dict.fromkeys(CONTRIBUTORS, 0), **self.model.earned}
            after = {account: earned[account] + part for account, part in self.model.split(total).items()}
            tree = build_tree([leaf_hash(EARNING_LEAF, [account, after[account]]) for account in CONTRIBUTORS])
            scores, _ = self._scores(number)
            a = self.world.attestation(number, total, scores.root, tree.root)
            a = replace(a, earned_total=r.earned_before + total, count=answer)
            if not r.attempts or r.ended is not None:
                return a
            self.given[key] = a
        return self.given[key]

    def _earnings(self, account: str) -> tuple[Tree, int]:
        leaves = [leaf_hash(EARNING_LEAF, [each, self.model.earned[each]]) for each in CONTRIBUTORS]
        return build_tree(leaves), CONTRIBUTORS.index(account)

    def _scores(self, number: int) -> tuple[Tree, list[ScoreLeaf]]:
        r = self.model.rounds[number]
        leaves = [
            ScoreLeaf(one, self.model.contributors[one - 1], one % 9, one, -one, 1)
            for one in range(r.first, max(r.end, r.first))
        ]
        fields = [[x.id, x.contributor, x.status, x.payable, x.raw, x.stderr] for x in leaves]
        return build_tree([leaf_hash(SCORE_LEAF, field) for field in fields]), leaves

    def _consent(self, signer: str, operator: str) -> bytes:
        domain = self.world.validators.read("domainSeparator")
        kind = keccak(text="SignerConsent(address operator)")
        struct = keccak(kind + bytes(12) + bytes.fromhex(operator[2:]))
        signed = key(signer).sign_msg_hash(keccak(b"\x19\x01" + domain + struct)).to_bytes()
        return bytes(signed[:64]) + bytes([signed[64] + 27])

    def _enrolled_signer(self, number: int, name: str) -> str:
        """Members that left and joined again have another signing address since: found by who signed then."""
        return self.signers[name] if self.signers[name] == name else ""


def play(examples: int, steps: int) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Contracts,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            # A failure is a list of acts with all their arguments already; to shorten it takes minutes.
            phases=(Stage.explicit, Stage.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_contracts__any_acts__agree_with_the_model() -> None:
    play(examples=20, steps=20)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_contracts__any_acts_for_long__agree_with_the_model() -> None:
    play(examples=150, steps=50)
