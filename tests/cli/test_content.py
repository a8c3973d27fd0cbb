"""`validator content` and `validator announce`, in the home of a node that has scored a round."""

from __future__ import annotations

from tests.cli.commands import Ask
from tests.support import World


def test_content__of_a_node_that_scored__is_told_and_nothing_of_a_round_under_dispute_goes(ask: Ask):
    told = ask("content status --home {validator-1} --json").json()
    assert (told["ok"], told["announced"], told["rounds_to_release"]) == (True, "", [])
    assert [source["name"].split(":")[0] for source in told["sources"]] == ["local"]
    assert 0 < told["local"]["used"] < told["local"]["quota"] == 64 << 30
    would = ask("content gc --dry-run --home {validator-1} --json").json()
    assert (would["pins"], would["freed"], would["dry_run"]) == ({}, 0, True)
    done = ask("content gc --home {validator-1} --json").json()
    assert (done["pins"], done["used"]) == ({}, told["local"]["used"])
    shown = ask("content status --home {validator-1}").answered()
    assert f"{told['local']['pins']} files pinned" in shown
    assert "announced: nothing" in shown


def test_content_status__source_that_does_not_answer__exits_with_1(ask: Ask):
    outcome = ask("content status --home {validator-1} --content {store},gateway:http://127.0.0.1:1 --json")
    assert outcome.code == 1
    assert '"ok": false' in outcome.out
    assert "did not answer" in outcome.out


def test_announce__and_take_back__are_heard_on_chain(ask: Ask, world: World):
    ask("announce https://validator.example.org --home {validator-1}").answered()
    assert ask("announce --home {validator-1}", "").answered() == "taken back\n"
    world.chain.mine(3)  # what is read is what is final
    said = [fact.args["url"] for fact in world.facts() if fact.name == "PeerAnnounced"]
    assert said == ["https://validator.example.org", ""]
