"""All commands in one tree, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any

import typer

from validator.cli import (
    audit,
    backup,
    check,
    content,
    contributor,
    convert,
    dao,
    demo,
    devchain,
    exact,
    faults,
    init,
    keys,
    keys_import,
    node,
    preflight,
    upkeep,
    vana,
    version,
    web,
)
from validator.errors import ValidatorError
from validator.masking import Masker

EXIT_REFUSED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="validator",
    help="Proof-of-contribution validator: scores encrypted data contributions and attests the scores on chain.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
upkeep.register(dao.app)
check.register(dao.app)
keys_import.register(keys.app)
app.add_typer(dao.app, name="dao")
app.add_typer(keys.app, name="keys")
app.add_typer(exact.app, name="exact")
app.add_typer(audit.app, name="audit")
app.add_typer(content.app, name="content")
app.add_typer(vana.app, name="vana")
for room in (version, init, backup, devchain, node, preflight, convert, contributor, faults, web, demo):
    room.register(app)


@cache
def command() -> Any:  # noqa: ANN401 - typer's private copy of Click
    """The tree as it is run: built once, however many processes are forked from this one."""
    return typer.main.get_command(app)


def main() -> None:
    """Run the command line. Whatever a reader can mend is one line on standard error and a non-zero exit."""
    try:
        code = command()(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        _fail("interrupted", EXIT_INTERRUPTED)
    except typer.TyperException as error:
        _usage(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_REFUSED)
    except ValidatorError as error:
        _fail(str(error), EXIT_REFUSED)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), EXIT_REFUSED)
    except (RuntimeError, ValueError) as error:
        if type(error).__module__.startswith(("validator.exact", "validator.influence")):
            _fail(str(error), EXIT_REFUSED)
        raise
    sys.exit(code if isinstance(code, int) else 0)


def _usage(error: typer.TyperException) -> None:
    context = getattr(error, "ctx", None)
    words = error.format_message() if hasattr(error, "format_message") else str(error)
    if context is not None and type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(context.get_help())
        sys.exit(EXIT_USAGE)
    _fail(f"{words} (see `{context.command_path if context else 'validator'} --help`)", EXIT_USAGE)


def _fail(message: str, code: int) -> None:
    typer.echo(f"error: {Masker().text(' '.join(message.split()))}", err=True)
    sys.exit(code)
