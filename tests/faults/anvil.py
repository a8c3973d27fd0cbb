"""A real anvil as a chain for a world: blocks come with transactions and every fifth of a second besides."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from tests.faults.victim import die_with_parent
from tests.integration.test_anvil import binary, listening, rpc
from validator.chain.devchain import derive_keys
from validator.chain.rpc import connect

BLOCK_SECONDS = "0.2"
OPTIONS = ("--port", "0", "--chain-id", "31337", "--hardfork", "prague", "--slots-in-an-epoch", "1")


class Anvil:
    """One anvil process on loopback; a block is final when two stand above it."""

    def __init__(self, folder: Path, *options: str, accounts: int = 10) -> None:
        self.keys = derive_keys(accounts)
        self._log = folder / "anvil.log"
        command = [
            str(binary()),
            *OPTIONS,
            "--block-time",
            BLOCK_SECONDS,
            "--mixed-mining",
            "--accounts",
            str(accounts),
        ]
        with self._log.open("w") as output:
            self._process = subprocess.Popen(
                [*command, *options], stdout=output, stderr=subprocess.STDOUT, preexec_fn=die_with_parent
            )
        try:
            self.url = listening(self._process, self._log)
            self.w3 = connect(self.url, 60.0)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process and wait for it."""
        self._process.terminate()
        self._process.wait(10)

    def mine(self, blocks: int = 1) -> None:
        """Blocks now."""
        rpc(self.w3, "anvil_mine", hex(blocks))

    def advance(self, seconds: float) -> None:
        """Move the chain's clock ahead, and mine at the new time."""
        rpc(self.w3, "evm_increaseTime", int(seconds))
        rpc(self.w3, "evm_mine")

    def snapshot(self) -> Any:
        """A name for the chain as it is now."""
        return rpc(self.w3, "evm_snapshot")

    def restore(self, name: Any) -> Any:
        """Go back to a snapshot, which is used up by it; returns a new one of the same state."""
        # A block mined meanwhile would be counted and not be had. Whole seconds are all that can be set again.
        rpc(self.w3, "evm_setIntervalMining", 0)
        assert rpc(self.w3, "evm_revert", name) is True
        rpc(self.w3, "evm_setIntervalMining", 1)
        return self.snapshot()
