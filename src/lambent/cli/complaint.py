"""How what goes wrong is said: one line on standard error."""

from __future__ import annotations

import os

import click

from lambent.core.errors import LambentError


def complain(message: str) -> None:
    """Say it in one line."""
    line = " ".join(message.split())
    color = False if os.environ.get("NO_COLOR") else None
    click.echo(f"{click.style('error:', fg='red', bold=True)} {line}", err=True, color=color)


def said(error: LambentError) -> str:
    """The error's line; where user code failed, its stack goes before it."""
    problem = getattr(error, "problem", None)
    if problem is None or not problem.error_type:
        return error.message
    for part in problem.stack_trace:
        click.echo(part.rstrip("\n"), err=True)
    return f"{problem.error_type}: {error.message}"
