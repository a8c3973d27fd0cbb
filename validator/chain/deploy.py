"""Brings a DAO's five contracts onto a chain, and finds them again from their entry address.

They name each other in immutables, so each address must be known before its contract exists: a contract created by a
plain transaction lies at keccak256(rlp([sender, nonce])), and the five are sent with consecutive nonces.
"""

from __future__ import annotations

from eth_abi.abi import encode
from eth_utils.address import is_address, to_checksum_address
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from web3 import Web3
from web3.types import BlockIdentifier, Nonce
from web3.utils.address import get_create_address

from validator.chain.abi import argument
from validator.chain.artifacts import CONTRACTS, DEV_TOKEN, load
from validator.chain.contracts import ContributionRegistry, RewardPool, ScoringRounds, ValidatorSet
from validator.chain.errors import NotOurContracts, RpcFault, SendError
from validator.chain.rpc import understood
from validator.chain.sender import Sender
from validator.chain.typed_data import NAME, VERSION
from validator.chain.types import Call, Deployment, Parameters

_DOMAIN = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"


def deploy(
    w3: Web3, sender: Sender, owner: str, parameters: Parameters, stake_token: str, reward_token: str
) -> Deployment:
    """Deploy DataDAO, ScoringRounds, ContributionRegistry, ValidatorSet and RewardPool from ``sender``'s key.

    ``owner`` gets the DAO. Nothing else may send with that key meanwhile. Raises Reverted (parameters that DataDAO
    refuses), SendError if a contract ended up elsewhere than foreseen (start again: the contracts already there are
    useless and harmless), NotOurContracts if the code on the chain is not what was sent, and what ``send`` raises.
    """
    nonce = sender.next_nonce()
    dao, rounds, registry, validators, pool = (
        str(get_create_address(to_checksum_address(sender.address), Nonce(nonce + step)))
        for step in range(len(CONTRACTS))
    )
    arguments: dict[str, tuple[object, ...]] = {
        "DataDAO": (owner, parameters),
        "ScoringRounds": (dao, registry, validators, pool),
        "ContributionRegistry": (dao, rounds),
        "ValidatorSet": (dao, rounds, stake_token),
        "RewardPool": (rounds, reward_token),
    }
    first_block = last_block = 0
    for name, expected in zip(CONTRACTS, (dao, rounds, registry, validators, pool), strict=True):
        receipt = sender.send(_creation(w3, name, *arguments[name]), f"deploy/{nonce}/{name}")
        if receipt.contract_address != expected:
            raise SendError(f"{name} was deployed to {receipt.contract_address}, not {expected}: deploy all five again")
        first_block, last_block = first_block or receipt.block, receipt.block
    # What the network runs, not what was sent to it: an endpoint or a chain that alters code is found out here.
    for name, address in zip(CONTRACTS, (dao, rounds, registry, validators, pool), strict=True):
        _verify_code(w3, name, address, last_block)
    return Deployment(
        chain_id=sender.chain_id,
        dao=dao,
        rounds=rounds,
        registry=registry,
        validators=validators,
        pool=pool,
        stake_token=str(to_checksum_address(stake_token)),
        reward_token=str(to_checksum_address(reward_token)),
        block=first_block,
    )


def deploy_token(w3: Web3, sender: Sender, name: str, symbol: str) -> str:
    """Deploy a development token that anyone can mint, and return its address. For demo networks and tests."""
    receipt = sender.send(_creation(w3, DEV_TOKEN, name, symbol), f"deploy/token/{symbol}")
    if receipt.contract_address is None:
        raise RpcFault(f"the receipt of the token {symbol} names no contract")
    return receipt.contract_address


def load_deployment(w3: Web3, rounds_address: str, *, verify_code: bool = True) -> Deployment:
    """Read the other addresses from the ScoringRounds contract at ``rounds_address`` and check that all belong
    together.

    Each contract must have the code of this version's artifacts (immutables apart), point back to the ones it names,
    and sign in the domain that `typed_data` uses. NotOurContracts says which does not. ``block`` of the result is found
    by bisection over the code's history; 0 if the endpoint keeps none.
    """
    if not is_address(rounds_address):
        raise NotOurContracts(f"{rounds_address!r} is not an address: give that of ScoringRounds")
    entry = str(to_checksum_address(rounds_address))
    if verify_code:
        _verify_code(w3, "ScoringRounds", entry)
    rounds = ScoringRounds(w3, entry)
    dao, registry, validators, pool = rounds.dao(), rounds.registry(), rounds.validators(), rounds.pool()
    if verify_code:
        for name, address in zip(CONTRACTS, (dao, entry, registry, validators, pool), strict=True):
            _verify_code(w3, name, address)
    registry_contract, set_contract, pool_contract = (
        ContributionRegistry(w3, registry),
        ValidatorSet(w3, validators),
        RewardPool(w3, pool),
    )
    back = {
        "ContributionRegistry.rounds": (registry_contract.rounds(), entry),
        "ContributionRegistry.dao": (registry_contract.dao(), dao),
        "ValidatorSet.rounds": (set_contract.rounds(), entry),
        "ValidatorSet.dao": (set_contract.dao(), dao),
        "RewardPool.rounds": (pool_contract.rounds(), entry),
    }
    for pointer, (found, wanted) in back.items():
        if found != wanted:
            raise NotOurContracts(f"{pointer} is {found}, but {entry} belongs to {wanted}: not one deployment")
    with understood("its chain id"):
        chain_id = int(w3.eth.chain_id)
    for verifier in (rounds, registry_contract, set_contract):
        if verifier.domain_separator() != domain_separator(chain_id, verifier.address):
            where = f"{verifier.NAME} at {verifier.address}"
            raise NotOurContracts(f"{where} signs in another EIP-712 domain than this version")
    return Deployment(
        chain_id=chain_id,
        dao=dao,
        rounds=entry,
        registry=registry,
        validators=validators,
        pool=pool,
        stake_token=set_contract.token(),
        reward_token=pool_contract.token(),
        block=_first_block(w3, dao),
    )


def domain_separator(chain_id: int, contract: str) -> bytes:
    """The EIP-712 domain separator of ``contract``: hash of name, version, chain id and address."""
    values = [keccak(text=_DOMAIN), keccak(text=NAME), keccak(text=VERSION), chain_id, contract]
    return keccak(encode(["bytes32", "bytes32", "bytes32", "uint256", "address"], values))


def _creation(w3: Web3, name: str, *arguments: object) -> Call:
    artifact = load(name)
    factory = w3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
    data = factory.constructor(*map(argument, arguments)).data_in_transaction
    return Call(None, bytes(HexBytes(data)))


def _verify_code(w3: Web3, name: str, address: str, block: BlockIdentifier = "latest") -> None:
    with understood(f"the code of {address}"):
        code = bytes(w3.eth.get_code(to_checksum_address(address), block))
    if not code:
        raise NotOurContracts(f"there is no contract at {address}, where {name} should be: check address and network")
    if not load(name).matches(code):
        raise NotOurContracts(f"the code at {address} is not {name} of this version: upgrade, or check the address")


def _first_block(w3: Web3, address: str) -> int:
    """The block that created ``address``. Its code is missing before and there from then on, so bisection finds it."""
    try:
        with understood("code history"):
            low, high = 0, int(w3.eth.block_number)
            while low < high:
                middle = (low + high) // 2
                if w3.eth.get_code(to_checksum_address(address), middle):
                    high = middle
                else:
                    low = middle + 1
            return low
    except RpcFault:
        return 0
