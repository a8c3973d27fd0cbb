"""A contributor that serves only some validators does not split the vote: the others get it from those who have it.

Validators with stores of their own; the steward's documents come from a gateway that all of them know, the
contributor's envelopes from one that all but the last of them know. The last has nobody but its peers, by the URLs that
they announced on chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import CLEAN, NOISE, World
from validator.actions.connect import Wallet, open_node, open_wallet, view_of, wallet_of
from validator.actions.content import announce, collect, status
from validator.actions.contributor import contribute
from validator.content import Cid, LayeredStore, LocalStore
from validator.demo.processes import Processes, free_port
from validator.rounds.evidence import Line
from validator.rounds.types import Status
from validator.settings import load_settings
from validator.stages.documents import read_evidence
from validator.stages.node import Node
from validator.stages.round import tick
from validator.web.peer import serve_peer


def serve(store: LocalStore) -> str:
    """A gateway over a store's pins; returns its URL."""
    port = free_port()
    serve_peer(LayeredStore([store]), load_settings(None, peer_port=port))
    return f"http://127.0.0.1:{port}"


class Apart(World):
    """A World in which nobody shares a disk."""

    def __init__(self, folder: Path, validators: int) -> None:
        super().__init__(folder, validators=validators, capacity=2)
        self.last = self.names[-1]
        self.shy = LocalStore(folder / "contributor")
        documents, shy = serve(LocalStore(folder / "store")), serve(self.shy)
        self.urls = {}
        for name in self.names:
            port = free_port()
            self.urls[name] = f"http://127.0.0.1:{port}"
            content = f"local:{folder / name / 'own'},gateway:{documents}" + (
                f",gateway:{shy}" if name != self.last else ""
            )
            config = folder / name / "validator.toml"
            lines = [line for line in config.read_text().splitlines() if not line.startswith("content ")]
            lines += [f'content = "{content}"', f"peer_port = {port}", "private_peers = true"]
            config.write_text("\n".join(lines) + "\n")
            announce(open_wallet(self.home(name)), self.urls[name], private=True)

    def shy_contributor(self) -> Wallet:
        known = self.contributor()
        view = view_of(self.w3, self.wallet.deployment, LayeredStore([self.shy]), "finalized")
        return wallet_of(view, known.signer, known.sender)

    def submit(self) -> Cid:
        """One contribution that only three can fetch, and one of noise."""
        submitted = contribute(self.shy_contributor(), self.payload(CLEAN))
        contribute(self.shy_contributor(), self.payload(NOISE))
        return Cid.parse(submitted.cid)


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Apart]:
    made = Apart(tmp_path, getattr(request, "param", 4))
    yield made
    made.close()


def own(world: Apart, name: str) -> LocalStore:
    return LocalStore(world.folder / name / "own")


def running(world: Apart, name: str) -> Node:
    """A node in this process, its peer gateway included."""
    settings = world.home(name)
    node = open_node(settings, dry_run=False)
    serve_peer(node.store, settings)
    return node


def line_of(world: Apart, name: str, contribution: int) -> Line:
    """What the bundle says of a contribution, from the store of one validator."""
    evidence = read_evidence(LayeredStore([own(world, name)]), world.round(1).final["evidence"])
    return next(line for line in evidence.contributions if line.id == contribution)


@pytest.mark.parametrize("world", [2], indirect=True)
def test_fetch__one_contributor_serves_only_one_of_two__both_report_it(world: Apart):
    cid = world.submit()
    nodes = [running(world, name) for name in world.names]
    world.play(nodes, lambda: len(world.round(1).reports) == 2)

    assert [bitmap for _, bitmap in world.round(1).reports.values()] == [b"\x03", b"\x03"]
    assert cid in own(world, world.last).pins()
    served = {source.name.split(":")[0]: source.served for source in nodes[1].store.status()}
    assert served["peer"] > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_round__one_contributor_serves_only_three_of_four__all_four_attest_the_same(world: Apart):
    cid = world.submit()
    nodes = [running(world, name) for name in world.names]
    world.play(nodes, lambda: world.is_final(1) and len(world.round(1).attestations) == 4, seconds=400)

    state = world.round(1)
    assert len({digest for digest, _, _ in state.attestations.values()}) == 1
    assert line_of(world, world.last, 1).status == Status.PAID
    assert cid in own(world, world.last).pins()
    served = {source.name: source.served for source in nodes[3].store.status()}
    assert sum(count for name, count in served.items() if name.startswith("peer:")) > 0

    # Beyond dispute, what was pinned is let go of, by a command and by the node itself; what later rounds need stays.
    world.chain.advance(10_000)
    world.play(nodes[1:], lambda: cid not in own(world, world.last).pins(), seconds=60)
    assert state.final["evidence"] in {pin.digest for pin in own(world, world.last).pins()}
    first = world.home(world.names[0])
    nodes[0].released.update({1})  # as if it had been stopped since
    tick(nodes[0])
    told = status(first)
    assert told.rounds_to_release == (1,)
    assert (told.announced, told.ok) == (world.urls[world.names[0]], True)
    assert str(cid) in collect(first, dry_run=True).pins[1]
    assert cid in own(world, world.names[0]).pins()
    before = own(world, world.names[0]).usage()
    done = collect(first, dry_run=False, grace=0.0)
    assert done.freed > 0
    assert done.used == before - done.freed
    assert not own(world, world.names[0]).has(cid)
    assert own(world, world.names[0]).has(Cid("raw", state.manifest))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_run__one_contributor_serves_only_three_of_four_processes__all_four_attest_the_same(world: Apart):
    cid = world.submit()
    logs = world.folder / "logs"
    logs.mkdir()
    processes = Processes(logs)
    try:
        for name in world.names:
            processes.start(name, "run", "--home", str(world.folder / name))

        def ended() -> bool:
            processes.check()
            return world.is_final(1) and len(world.round(1).attestations) == 4

        world.play([], ended, seconds=500)
    finally:
        processes.stop()
    state = world.round(1)
    assert len({digest for digest, _, _ in state.attestations.values()}) == 1
    assert line_of(world, world.last, 1).status == Status.PAID
    assert own(world, world.last).has(cid)
    assert cid in own(world, world.last).pins()
