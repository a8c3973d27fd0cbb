"""A round of any size that nobody played, whose text is hostile: what a lying quorum could have published."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tests.web.conftest import Played
from tests.web.support import Scripted, batch, event, scripted
from tests.web.test_picture import line
from validator.actions.contributor import latest_evidence
from validator.chain.types import Attestation
from validator.content import Cid, LocalStore, NotFound
from validator.rounds.evidence import outcome, sealed


class ByCid(LocalStore):
    """A store that finds a block under the CID it was put under, and not under another of the same digest."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._put: set[Cid] = set()

    def put(self, data: bytes) -> Cid:
        cid = super().put(data)
        self._put.add(cid)
        return cid

    def read(self, cid: Cid, size_limit: int) -> bytes:
        if cid not in self._put:
            raise NotFound(f"{cid} is not here")
        return super().read(cid, size_limit)


def submission(number: int, **changes: object) -> object:
    return event(
        "ContributionRegistry",
        "ContributionSubmitted",
        **{
            "id": number,
            "contributor": f"0x{number:040x}",
            "round": 1,
            "digest": number.to_bytes(32, "big"),
            "codec": 0,
            "size": 1000,
            "keyEpoch": 1,
            **changes,
        },
    )


def big_round(played: Played, store: LocalStore, many: int) -> Scripted:
    """A final round of `many` contributions, with hostile reasons; its trees are in order, its signatures missing."""
    manifest = played.world.round(1).manifest
    store.put(played.view.store.read(Cid.from_chain(manifest, 0), 65_536))
    lines = [
        msgspec.structs.replace(
            line(number, raw=-number, stderr=number),
            contributor=f"0x{number:040x}",
            digest=number.to_bytes(32, "big").hex(),
            size=1000,
            reason="<script>alert(1)</script>",
        )
        for number in range(1, many + 1)
    ]
    small = latest_evidence(played.world.facts(), played.view.store)
    assert small is not None
    evidence = sealed(
        msgspec.structs.replace(small, contributions=lines, accepted_count=0, memory_count=0, earnings=[])
    )
    digest = store.put(evidence.to_bytes()).digest
    found = outcome(evidence)
    final = Attestation(
        1,
        1,
        manifest,
        b"\1" * 32,
        found.inputs_root,
        found.scores_root,
        found.earnings_root,
        found.round_total,
        found.earned_total,
        found.count,
        digest,
    )
    events = [
        event("ScoringRounds", "RoundOpened", round=1, manifest=manifest),
        *(submission(number) for number in range(1, many + 1)),
        event("ScoringRounds", "RoundClosed", round=1, firstId=1, endId=many + 1, pool=5, totalWeight=3, seedBlock=1),
        event("ScoringRounds", "RoundFinalised", round=1, attempt=1, digest=b"\2" * 32, attestation=final),
    ]
    return scripted(played.view, [batch(*events)], store=store)
