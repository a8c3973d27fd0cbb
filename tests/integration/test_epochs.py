"""Key epochs on a real chain, as validators come and go: who can open what was sealed to which epoch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import STAKE, World
from validator.actions.connect import open_wallet
from validator.actions.found import found
from validator.actions.home import hpke_secret
from validator.actions.operator import join, request_exit
from validator.actions.steward import admit, grant, grant_all, rotate_key
from validator.chain.types import Parameters
from validator.envelope import BadKey, Context, Undecryptable, open_envelope, seal, unwrap_secret
from validator.stages.keyring import EpochKeys
from validator.stages.keys import grant_of, granted_secrets

PLAIN = b"records of a contributor"


class Keyed(World):
    """A DAO with validators and one key epoch, and nothing to score by."""

    def _found(self, parameters: Parameters) -> None:
        self.wallet = found(self.home("steward"), parameters, None, "finalized")
        for name in ("steward", *self.names):
            self._point(name)
        self.steward = self.home("steward")
        rotate_key(self.wallet, self.steward, light=True)

    def held(self, name: str) -> EpochKeys:
        """The secrets that a party finds on chain with its own key."""
        self.chain.mine(3)
        keys, secret = self.keys[name], hpke_secret(self.home(name))
        return EpochKeys(granted_secrets(self.facts(), self.wallet.deployment, keys.address, secret, {}))

    def context(self, epoch: int) -> Context:
        deployment = self.wallet.deployment
        return Context(deployment.chain_id, deployment.rounds.lower(), epoch, "0x" + "a1" * 20)

    def sealed(self, epoch: int) -> bytes:
        """By a contributor, for the epoch's key on chain."""
        return seal(PLAIN, [self.wallet.contracts.dao.key_of(epoch)], self.context(epoch))

    def opened(self, keys: EpochKeys, epoch: int, sealed: bytes) -> bytes:
        return keys.open(sealed, self.context(epoch), len(PLAIN))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    made = Keyed(tmp_path_factory.mktemp("epochs"), validators=2)
    yield made
    made.close()


def test_rotation__one_leaves_and_one_comes__each_opens_only_what_it_was_granted(world: Keyed) -> None:
    stays, leaves, comes = "validator-1", "validator-2", "validator-3"
    first = world.sealed(1)
    assert world.opened(world.held(leaves), 1, first) == PLAIN

    request_exit(open_wallet(world.home(leaves)))
    assert rotate_key(world.wallet, world.steward, light=True) == 2
    granted, refused = grant_all(world.wallet, world.steward, 2)
    second = world.sealed(2)

    assert ([one.lower() for one in granted], refused) == ([world.keys[stays].address.lower()], {})
    assert sorted(world.held(stays)) == [1, 2]
    assert world.opened(world.held(stays), 2, second) == PLAIN
    leaver = world.held(leaves)
    assert sorted(leaver) == [1]
    assert leaver.missing({1, 2}) == [2]
    with pytest.raises(Undecryptable) as caught:
        open_envelope(second, leaver[1], world.context(2), len(PLAIN))
    assert caught.value.reason == "not-a-recipient"
    _cannot_use_the_grant_of_another(world, leaves, stays)

    _join(world, comes)
    assert world.held(comes) == {}
    keys = world.keys[comes]
    grant(world.wallet, world.steward, keys.address, keys.hpke_key, [2])
    newcomer = world.held(comes)
    assert sorted(newcomer) == [2]
    assert world.opened(newcomer, 2, second) == PLAIN
    with pytest.raises(Undecryptable):
        open_envelope(first, newcomer[2], world.context(1), len(PLAIN))
    grant(world.wallet, world.steward, keys.address, keys.hpke_key, [1])
    assert world.opened(world.held(comes), 1, first) == PLAIN


def _cannot_use_the_grant_of_another(world: Keyed, leaver: str, other: str) -> None:
    """Grants are public events: neither its own name nor the other's makes one open with the leaver's key."""
    address, published = world.keys[other].address.lower(), world.wallet.contracts.dao.key_of(2)
    wraps = [
        fact.args["wrapped"]
        for fact in world.facts()
        if fact.name == "KeyGranted" and fact.args["epoch"] == 2 and fact.args["operator"] == address
    ]
    assert len(wraps) == 1
    for name in (leaver, other):
        bound = grant_of(world.wallet.deployment, 2, world.keys[name].address)
        with pytest.raises(BadKey, match="does not open"):
            unwrap_secret(wraps[0], hpke_secret(world.home(leaver)), bound, published)


def _join(world: Keyed, name: str) -> None:
    keys = world.add_home(name)
    token = world.wallet.token(world.wallet.deployment.stake_token)
    world.wallet.sender.send(token.mint(keys.address, STAKE), intent=f"mint-stake/{name}")
    admit(world.wallet, keys.address)
    join(open_wallet(world.home(name)), keys.hpke_key, STAKE)
