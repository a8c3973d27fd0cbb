"""What all commands share: options, output as a table or as JSON, logs on standard error."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console
from rich.table import Table

from validator.masking import Masker
from validator.settings import CONFIG_NAME, Settings, SettingsError, load_settings

Home = Annotated[Path | None, typer.Option(help="Folder of keys, configuration and journal.", envvar="VALIDATOR_HOME")]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on standard output.")]
Rpc = Annotated[str | None, typer.Option(help="JSON-RPC endpoint, or several separated by commas.")]
Contract = Annotated[str | None, typer.Option(help="Address of the DAO's ScoringRounds contract.")]
Content = Annotated[str | None, typer.Option(help="Content store: local:PATH, kubo:URL or gateway:URL.")]

MOST_UNITS = 2**128 - 1
"""The largest amount of a token that the contracts count."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def settings_for(home: Path | None, **options: object) -> Settings:
    """Settings of a command, with logs set up accordingly."""
    try:
        settings = load_settings(home, **options)
    except UnicodeDecodeError as error:
        raise SettingsError(f"{CONFIG_NAME} is not TOML: {error}") from None
    setup_logs(settings.log_format, settings.log_level, settings.secrets())
    return settings


def checked_address(text: str) -> str:
    """An account that a person named, with its checksum. Refuses what is no address, a mistyped one (its upper and
    lower case are a checksum, EIP-55), and the zero address, which nobody holds.
    """
    from eth_utils.address import is_checksum_address, is_hex_address, to_checksum_address

    unchecked = text[2:] in (text[2:].lower(), text[2:].upper())
    if not (text.startswith("0x") and is_hex_address(text) and (unchecked or is_checksum_address(text))):
        raise typer.BadParameter(f"{text!r} is not an address: 0x and 40 hex digits, exactly as its owner gave it")
    if int(text, 16) == 0:
        raise typer.BadParameter("the zero address belongs to nobody")
    return str(to_checksum_address(text))


def setup_logs(form: str = "console", level: str = "info", secrets: Iterable[str] = ()) -> None:
    """Structured logs on standard error: for people, or as one JSON object a line. `secrets` never appear in them, nor
    does what looks like one.
    """
    rendered: Any = (
        structlog.processors.JSONRenderer(sort_keys=True)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a tick that meets a long one is no news
    logging.basicConfig(handlers=[_Through()], level=logging.WARNING, force=True)
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    masked = Masker(secrets).processor()
    structlog.configure(
        processors=[structlog.processors.add_log_level, stamp, structlog.processors.format_exc_info, masked, rendered],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


class _Through(logging.Handler):
    """What libraries log goes the same way as ours, and is masked as ours is."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand on one record."""
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        structlog.get_logger(record.name).log(level, record.getMessage(), exc_info=record.exc_info or None)


def emit(answer: dict[str, Any], as_json: bool, lines: Iterable[str] = ()) -> None:
    """Print `answer` as JSON, or `lines` for people (by default its keys and values)."""
    if as_json:
        typer.echo(json.dumps(answer, sort_keys=True))
        return
    for line in lines or [f"{key}: {value}" for key, value in answer.items()]:
        typer.echo(line)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()) -> None:
    """A table on standard output."""
    grid = Table(title=title, title_justify="left", header_style="bold", expand=False)
    for column in columns:
        grid.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(str(cell) for cell in row))
    Console().print(grid)
