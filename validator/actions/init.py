"""A new home: configuration and keys, made where they are missing and left alone where they are not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from validator.actions.configuration import chosen, render
from validator.actions.home import (
    ACCOUNT,
    HPKE,
    PROTECTION,
    HomeError,
    Identifiers,
    create_keys,
    identifiers,
    write_private,
)
from validator.settings import CONFIG_NAME, Settings


@dataclass(frozen=True, slots=True)
class Made:
    """What `init` made and what it found. `config`: the file's path."""

    keys: Identifiers
    config: Path
    new_keys: bool
    new_config: bool


def init(settings: Settings, given: bool, *, light: bool = False, ask: bool = False) -> Made:
    """Make what this home lacks: keys with an empty signing history, and `validator.toml`. Nothing is overwritten.

    `given`: whether options were given on the command line. They would be lost beside a file that exists, so that is
    refused before anything is made. Raises HomeError for half a set of keys.
    """
    config = settings.path(CONFIG_NAME)
    if config.exists() and given:
        raise HomeError(f"{config} exists already and is not overwritten: change the options in it")
    new_keys = not _complete(settings)
    values = {} if config.exists() else chosen(settings)
    settings.home.expanduser().mkdir(parents=True, exist_ok=True, mode=0o700)
    keys = create_keys(settings, light=light, ask=ask) if new_keys else identifiers(settings)
    new_config = not config.exists()
    if new_config:
        write_private(config, render(values).encode())
    return Made(keys, config, new_keys, new_config)


def _complete(settings: Settings) -> bool:
    """Whether there is a whole set of keys; a part of one is refused. Keys that came back without their signing history
    are whole: the check says how to get it, and no node starts before.
    """
    names = [HPKE] if settings.signer_url else [ACCOUNT, HPKE]
    found = [name for name in (*names, PROTECTION) if settings.path(name).exists()]
    lacking = [name for name in names if name not in found]
    if found and lacking:
        raise HomeError(
            f"{settings.home} has {', '.join(found)} and lacks {', '.join(lacking)}: restore what is missing from "
            "where you saved it, or move the rest away"
        )
    return bool(found)
