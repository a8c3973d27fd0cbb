"""The one reader of environment and configuration file.

Every option is `VALIDATOR_<NAME>` in the environment or `<name>` in `<home>/validator.toml`; the environment wins. A
secret is never an option: it is read from the file that `<NAME>_FILE` names.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from validator.errors import ValidatorError
from validator.masking import secrets_in

CONFIG_NAME = "validator.toml"
_PREFIX = "VALIDATOR_"
_ADDRESS = r"^(0x[0-9a-fA-F]{40})?$"
_ADDRESSES = r"^(0x[0-9a-fA-F]{40}(\s*,\s*0x[0-9a-fA-F]{40}){0,31})?$"
DEFAULT_HOME = Path("~/.poc-validator")
HUNG_SECONDS = 3600.0
"""A step in hand for longer than this has hung: health says so, and the watchdog ends the process."""


class SettingsError(ValidatorError):
    """An option is missing or makes no sense."""


def _listed(value: object) -> object:
    """A list in the file means what commas mean elsewhere."""
    return ",".join(map(str, value)) if isinstance(value, list) else value


class Settings(BaseSettings):
    """What a command needs to know about this machine. What stands under an option says what it means and its unit;
    `validator init` writes it into the configuration file.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    home: Path = DEFAULT_HOME
    """Folder of keys, configuration and journal."""
    rpc: Annotated[str, BeforeValidator(_listed)] = "http://127.0.0.1:8545"
    """JSON-RPC endpoints of the chain, the preferred first; give several that different people run."""
    rpc_file: Path | None = None
    """File with the endpoints, one a line, in place of `rpc`: for addresses that hold a key."""
    contract: Annotated[str, BeforeValidator(_listed), Field(pattern=_ADDRESSES)] = ""
    """Address of the DAO's ScoringRounds, or of several DAOs' of one chain. Without one there is nothing to do."""
    content: str = "local:store"
    """Content stores, separated by commas: local:PATH, kubo:URL or gateway:URL. One must be writable."""
    content_quota_gib: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    """What an embedded store (local:) may hold, in GiB."""
    keep_seconds: Annotated[int, Field(ge=0, le=10**9)] = 0
    """Hold contributions for so many seconds longer than they can be disputed."""
    kubo_auth_file: Path | None = None
    """File with the credentials of a Kubo RPC: one line, bearer:TOKEN or basic:USER:PASSWORD."""
    peers: bool = True
    """Read from other validators too, where they said on chain that they serve."""
    private_peers: bool = False
    """Peers may be at private addresses and use plain http: in a network of your own only."""
    peer_host: str = "127.0.0.1"
    """Address that this node's own peer gateway listens on."""
    peer_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """TCP port of the peer gateway; 0 serves none."""
    password_file: Path | None = None
    """File with the keystores' password, one line; by default `password` in the home."""
    signer_url: str = ""
    """URL of a remote signer (Web3Signer's eth1 API) in place of keys/account.json."""
    signer_address: Annotated[str, Field(pattern=_ADDRESS)] = ""
    """Address of the account whose key the remote signer holds."""
    signing_address: Annotated[str, Field(pattern=_ADDRESS)] = ""
    """Address of another key of that signer, for attestations."""
    signer_token_file: Path | None = None
    """File with a bearer token, if a proxy before the signer asks for one."""
    signer_ca_file: Path | None = None
    """File with the authority of the signer's certificate, in PEM, if the system does not know it."""
    signer_certificate_file: Path | None = None
    """File with our certificate and its key, in PEM, if the signer asks for one."""
    signer_timeout: Annotated[float, Field(gt=0, le=60)] = 10.0
    """Seconds for one request to the signer, at most 60."""
    finality: Annotated[str, Field(pattern=r"^(finalized|[0-9]{1,4})$")] = "finalized"
    """`finalized`, the chain's own tag, or a depth in blocks for chains without one."""
    poll_seconds: Annotated[float, Field(gt=0.05, le=600)] = 4.0
    """Seconds between the end of a tick and the next, 0.05 to 600."""
    rpc_timeout: Annotated[float, Field(gt=0, le=300)] = 10.0
    """Seconds for one request to an endpoint, at most 300."""
    stale_blocks: Annotated[int, Field(ge=1, le=100_000)] = 16
    """An endpoint that is more blocks than this behind the others is not asked."""
    stagger_seconds: Annotated[float, Field(ge=0, le=600)] = 6.0
    """Seconds that each validator waits for the one ahead before a call that anyone may send."""
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """Threads of torch, of each worker too; the bits do not depend on it."""
    engine: Literal["local", "ray"] = "local"
    """Where scores are computed: `local`, or `ray`."""
    devices: Annotated[str, Field(max_length=1024)] = "cpu"
    """One worker each: cpu (this process), cuda:0,cuda:1, cpu,cpu; for Ray the kind, cpu or cuda."""
    ray_address: Annotated[str, Field(max_length=256)] = ""
    """HOST:PORT of a Ray cluster that this machine is part of; none: a Ray of the node's own."""
    ray_workers: Annotated[int, Field(ge=0, le=4096)] = 0
    """Number of workers on Ray; 0: as many as there are processors for `threads` each, or GPUs."""
    ray_store_mib: Annotated[int, Field(ge=80, le=2**20)] = 256
    """Object store of the node's own Ray, in MiB of /dev/shm; at least 80."""
    memory_mib: Annotated[int | None, Field(ge=0, le=1 << 24, examples=[8192])] = None
    """Resident memory, workers included, in MiB, beyond which the node stops with exit code 76; 0: no bound;
    by default 90 % of what there is."""
    chain_stale_seconds: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    """Age of the newest block, in seconds, beyond which the node counts as not healthy."""
    max_fee_gwei: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    """No transaction bids more per gas than this, in gwei."""
    bump_seconds: Annotated[float, Field(ge=1, le=3600)] = 36.0
    """Seconds that a transaction waits before it is sent again at the same nonce with higher fees."""
    host: str = "127.0.0.1"
    """Address that the explorer, health and metrics listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """TCP port of the explorer beside `run`; 0 serves none."""
    relay: bool = False
    """`validator web` puts sealed envelopes from its own page into IPFS; in a home without keys only."""
    relay_mib: Annotated[int, Field(ge=1, le=1 << 24)] = 4096
    """What the relay may hold at once, in MiB."""
    vana_registry: Annotated[str, Field(pattern=_ADDRESS)] = ""
    """Address of Vana's DataRegistry; the adapter (docs/vana.md) is off without it."""
    vana_tee_pool: Annotated[str, Field(pattern=_ADDRESS)] = ""
    """Address of Vana's TeePool."""
    vana_dlp: Annotated[str, Field(pattern=_ADDRESS)] = ""
    """Address of the data DAO's contract on Vana, the DLP."""
    vana_dlp_id: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Its id in the DLPRegistry, which is part of every proof."""
    vana_from_block: Annotated[int, Field(ge=0, le=2**53)] = 0
    """Block at which to begin to read Vana's events."""
    vana_dao: Path | None = None
    """Folder with the manifest that files are scored by, and what belongs to it."""
    vana_never_sign_with: Annotated[str, BeforeValidator(_listed), Field(pattern=_ADDRESSES)] = ""
    """Addresses that must not sign Vana's proofs, besides this home's own: the signature binds too little."""
    vana_claim_wei: Annotated[int, Field(ge=0, le=2**128)] = 0
    """Fees that must have come together before they are claimed, in wei; 0: never by itself."""
    log_format: Literal["console", "json"] = "console"
    """`console` for people, or `json`, one object a line; always on standard error."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """`debug`, `info`, `warning` or `error`: nothing less is logged."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the file of the home that those two name."""
        home = Path(init_settings().get("home") or env_settings().get("home") or DEFAULT_HOME).expanduser()
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, home / CONFIG_NAME)

    def path(self, name: str) -> Path:
        """A file or folder under the home."""
        return self.home.expanduser() / name

    def rpc_urls(self) -> list[str]:
        """The endpoints of the chain, in the order in which they are preferred."""
        return [url.strip() for line in self._endpoints() for url in line.split(",") if url.strip()]

    def _endpoints(self) -> list[str]:
        if self.rpc_file is None:
            return [self.rpc]
        path = self.rpc_file.expanduser()
        try:
            return path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
            raise SettingsError(f"file of RPC endpoints {path}: {reason}; set VALIDATOR_RPC_FILE") from None

    def content_spec(self) -> str:
        """The content store's specification; a relative `local:` path is under the home."""
        kind, _, rest = self.content.partition(":")
        if kind == "local" and "," not in rest:
            return f"local:{self.path(rest) if not Path(rest).expanduser().is_absolute() else Path(rest)}"
        return self.content

    def password_path(self) -> Path:
        """Where the keystores' password is: `password_file`, by default `<home>/password`."""
        return (self.password_file or self.path("password")).expanduser()

    def password(self) -> str:
        """The keystores' password, from its file; one line, the newline is not part of it."""
        path = self.password_path()
        try:
            text = path.read_text()
        except OSError as error:
            raise SettingsError(f"password file {path}: {error.strerror}; set VALIDATOR_PASSWORD_FILE") from None
        return text.rstrip("\r\n")

    def secrets(self) -> set[str]:
        """What the configured addresses hold that must not appear in any message."""
        addresses = (*self._endpoints(), self.content, self.signer_url)
        return {secret for address in addresses for secret in secrets_in(address)}

    def entry(self) -> str:
        """The address of `ScoringRounds`, from which all other contracts are read."""
        contracts = self.entries()
        if len(contracts) > 1:
            raise SettingsError("this command is about one DAO, and several are configured: name it with --contract")
        return contracts[0]

    def entries(self) -> list[str]:
        """The address of `ScoringRounds` of every configured DAO, none twice. Raises SettingsError without one."""
        if not self.contract:
            raise SettingsError(
                "no DAO is configured: set `contract` to the ScoringRounds address (VALIDATOR_CONTRACT)"
            )
        listed = [part.strip() for part in self.contract.split(",")]
        return list({address.lower(): address for address in listed}.values())


def _names() -> set[str]:
    return {_PREFIX + name.upper() for name in Settings.model_fields}


def load_settings(home: Path | None = None, **options: object) -> Settings:
    """Settings for `home`; options given as None are left to the environment and the file. Raises `SettingsError` in
    one line.
    """
    unknown = sorted(name for name in os.environ if name.startswith(_PREFIX) and name not in _names())
    if unknown:
        raise SettingsError(f"{unknown[0]} in the environment is no option of this program; is it misspelt?")
    given = {key: value for key, value in options.items() if value is not None}
    if home is not None:
        given["home"] = home
    try:
        found = Settings(**given)  # type: ignore[arg-type]  # pydantic validates
        if "rpc" in given and found.rpc_file is not None:  # an argument comes first
            return found.model_copy(update={"rpc_file": None})
        return found
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"option {name}: {first['msg']} (in the environment, {CONFIG_NAME} or on the command line)"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{CONFIG_NAME} is not TOML: {error}") from None
