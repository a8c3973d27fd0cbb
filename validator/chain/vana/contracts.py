"""One class a contract of Vana's: reads at a block, and Calls to be sent.

Answers are decoded here and not by web3: text of strangers is taken as bytes, since one URL that is no UTF-8 must not
stop a node, and an answer of another layout is an upgrade, which is said in plain words.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes
from web3.types import BlockIdentifier, TxParams

from validator.chain.abi import type_of
from validator.chain.contracts.base import Contract, outputs_of
from validator.chain.errors import Reverted
from validator.chain.rpc import understood
from validator.chain.types import BlockId, Call
from validator.chain.vana.errors import NotVana
from validator.chain.vana.types import File, Job, JobStatus, Proof, ProofData, Tee, text

_ACTIVE = 1


class VanaContract(Contract):
    """What they share. `VERSION` is the one that the adapter was written for."""

    VERSION: ClassVar[int]

    def version(self, block: BlockId = "latest") -> int:
        """What the contract calls itself. Raises NotVana where it has no version."""
        return cast("int", self._ask("version", block=block))

    def _ask(self, function: str, *arguments: object, block: BlockId) -> Any:  # noqa: ANN401 - typed by each wrapper
        """The one value that `function` returns. Raises NotVana for an answer of another layout, RpcFault."""
        data = self._contract.encode_abi(function, list(arguments))
        call = cast(TxParams, {"to": self.address, "data": HexBytes(data)})
        try:
            with understood(f"{self.NAME}.{function}"):
                answer = bytes(self.w3.eth.call(call, cast(BlockIdentifier, block)))
            (kind,) = outputs_of(self.NAME, function)
            return decode([type_of(kind).replace("string", "bytes")], answer)[0]
        except Reverted:
            raise NotVana(f"{self.address} has no working {function}(): it is not {self.NAME} as published") from None
        except (DecodingError, ValueError, OverflowError):
            raise NotVana(
                f"{self.address} answers {function}() in another layout than {self.NAME} {self.VERSION}: it was "
                "upgraded, or is another contract; this release must not prove files there"
            ) from None


class VanaDataRegistry(VanaContract):
    """Files, whom their keys were granted to, and proofs. Anybody may add a proof here: it says nothing by itself."""

    NAME, VERSION = "VanaDataRegistry", 2

    def files_count(self, block: BlockId = "latest") -> int:
        """Files so far; also the latest id."""
        return cast("int", self._ask("filesCount", block=block))

    def file(self, file_id: int, block: BlockId = "latest") -> File:
        """A file. Version 1 had no schema id in the middle, which the version tells apart."""
        id_, owner, url, schema, added = self._ask("files", file_id, block=block)
        return File(id_, str(to_checksum_address(owner)), text(url), schema, added)

    def permission(self, file_id: int, account: str, block: BlockId = "latest") -> str:
        """The key of a file as granted to `account`; "" if it was not."""
        return text(self._ask("filePermissions", file_id, account, block=block))

    def proof(self, file_id: int, index: int, block: BlockId = "latest") -> Proof:
        """Proof number `index`, counted from 1, whoever added it; empty beyond the last."""
        signature, (score, dlp, metadata, url, instruction) = self._ask("fileProofs", file_id, index, block=block)
        return Proof(bytes(signature), ProofData(score, dlp, text(metadata), text(url), text(instruction)))

    def add_file(self, url: str, owner: str, permissions: list[tuple[str, str]]) -> Call:
        """A contributor's call: a file, and its key for each (account, granted key)."""
        return self._call("addFileWithPermissions", url, owner, permissions)


class VanaTeePool(VanaContract):
    """Jobs: each asks one prover for one proof, for a fee."""

    NAME, VERSION = "VanaTeePool", 1

    def data_registry(self, block: BlockId = "latest") -> str:
        """The registry that proofs are written to."""
        return str(to_checksum_address(self._ask("dataRegistry", block=block)))

    def jobs_count(self, block: BlockId = "latest") -> int:
        """Jobs so far; also the latest id."""
        return cast("int", self._ask("jobsCount", block=block))

    def job(self, job_id: int, block: BlockId = "latest") -> Job:
        """A job."""
        file_id, bid, status, added, owner, tee = self._ask("jobs", job_id, block=block)
        if status not in set(JobStatus):
            raise NotVana(f"job {job_id} has status {status}, which {self.NAME} {self.VERSION} does not have")
        return Job(
            file_id, bid, JobStatus(status), added, str(to_checksum_address(owner)), str(to_checksum_address(tee))
        )

    def tee(self, account: str, block: BlockId = "latest") -> Tee:
        """What the pool knows of a prover."""
        _, _, status, earned, withdrawn, _, _ = self._ask("tees", account, block=block)
        return Tee(status == _ACTIVE, earned, withdrawn)

    def request_proof(self, file_id: int, value: int) -> Call:
        """A contributor's call: a job for `value` wei."""
        return self._call("requestContributionProof", file_id, value=value)

    def add_proof(self, job_id: int, proof: Proof) -> Call:
        """Finish our job `job_id`. The registry has a call with the same selector, which takes a file id."""
        data = proof.data
        fields = (data.score, data.dlp_id, data.metadata, data.proof_url, data.instruction)
        return self._call("addProof", job_id, (proof.signature, fields))

    def claim(self) -> Call:
        """Take the fees of the sender."""
        return self._call("claim")


class VanaDlp(VanaContract):
    """The data DAO itself: pays a file's owner for one proof."""

    NAME, VERSION = "VanaDataLiquidityPool", 1

    def tee_pool(self, block: BlockId = "latest") -> str:
        """Whose provers it pays for."""
        return str(to_checksum_address(self._ask("teePool", block=block)))

    def data_registry(self, block: BlockId = "latest") -> str:
        """Whose files it pays for."""
        return str(to_checksum_address(self._ask("dataRegistry", block=block)))

    def proof_instruction(self, block: BlockId = "latest") -> str:
        """The text that a proof must repeat to be paid for."""
        return text(self._ask("proofInstruction", block=block))

    def request_reward(self, file_id: int, index: int) -> Call:
        """Pay the file's owner for proof `index`; anyone may send it, and it is paid once."""
        return self._call("requestReward", file_id, index)
