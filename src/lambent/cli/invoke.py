"""`invoke` and `result`: an event in, its result out."""

from __future__ import annotations

import mimetypes
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from lambent.cli.options import connect, json_option
from lambent.cli.output import emit_json, numbers, parts
from lambent.cli.progress import Progress
from lambent.core.errors import LambentError
from lambent.core.invocation import JSON, OCTETS

if TYPE_CHECKING:
    from lambent.client.client import Client
    from lambent.client.replies import Reply

STANDARD_INPUT: Final = "@-"
POLL_S: Final = 2.0  # the server answers sooner where there is something to say
WATCH_S: Final = 1.0
GOING_ON: Final = frozenset({"queued", "running"})


def _headers(_: click.Context, parameter: click.Parameter, texts: Iterable[str]) -> dict[str, str]:
    """Values like `X-User: ann`."""
    found: dict[str, str] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not (name and colon):
            raise click.BadParameter(f"{text!r} is not of the form NAME:VALUE", param=parameter)
        found[name.strip().lower()] = value.strip()
    return found


@click.command()
@click.argument("name")
@click.option("-d", "--data", default="", metavar="JSON|@FILE|@-", help="The event; @- is standard input.")
@click.option("--content-type", default="", help="What the data is, where that is not JSON or plain to see.")
@click.option("--async", "later", is_flag=True, help="Print an id at once; `lambent result ID` has the rest.")
@click.option("--idempotency-key", default="", metavar="KEY", help="With --async: once for this key.")
@click.option("--order-key", default="", metavar="KEY", help="With --async: after those with this key.")
@click.option("--delay-s", default=0.0, help="With --async: not before so many seconds.")
@click.option("--alias", default="", help="What this alias stands for; else what is active.")
@click.option("--path", default="", help="Where a deployment that speaks HTTP takes it.")
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME:VALUE", callback=_headers)
@click.option("--webhook", default="", metavar="URL", help="With --async: tell this URL of the end.")
@click.option("--show-headers", is_flag=True, help="Say on standard error how the invocation went.")
@json_option
def invoke(
    name: str,
    data: str,
    content_type: str,
    alias: str,
    path: str,
    headers: dict[str, str],
    *,
    later: bool,
    show_headers: bool,
    as_json: bool,
    **terms: Any,
) -> None:
    """Invoke NAME with an event and print what it returns."""
    if not later and any(terms.values()):
        raise click.UsageError("keys, delays and webhooks are for --async")
    if later and (headers or path):
        raise click.UsageError("headers of your own and a path are not for --async")
    body, kind = _event(data, content_type)
    with connect() as client, Progress(f"invoking {name}") as progress:
        if later:
            invocation_id = client.submit(name, body, content_type=kind, alias=alias, **terms).id
            click.echo(msgspec.json.encode({"id": invocation_id}) if as_json else invocation_id)
            return
        with _watching_for_training(client, name, progress):
            reply = client.call(name, body, content_type=kind, alias=alias, path=path, headers=headers)
    if show_headers:
        _show_headers(reply)
    _print(reply, as_json=as_json)


@click.command()
@click.argument("invocation_id", metavar="ID")
@click.option("--wait", is_flag=True, help="Wait until there is a result.")
@json_option
def result(invocation_id: str, *, wait: bool, as_json: bool) -> None:
    """Print what an asynchronous invocation returned, or say how far it is."""
    from lambent.client.replies import Reply

    with connect() as client:
        found = _ended(client, invocation_id) if wait else client.result(invocation_id)
    if isinstance(found, Reply):
        _print(found, as_json=as_json)
    elif as_json:
        emit_json(found)
    else:
        click.echo(found.state)


def _event(data: str, content_type: str) -> tuple[bytes, str]:
    """The body and what it is. JSON is checked here, where the message can still point at it."""
    if data == STANDARD_INPUT:
        body, kind = sys.stdin.buffer.read(), content_type or JSON
    elif data.startswith("@"):
        body, kind = Path(data[1:]).read_bytes(), content_type or mimetypes.guess_type(data)[0] or OCTETS
    else:
        body, kind = data.encode("utf-8", "surrogateescape"), content_type or JSON
    if body and kind == JSON:
        try:
            msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            hint = "quote it for the shell, or say what it is with --content-type"
            raise click.UsageError(f"the data is not JSON: {error}; {hint}") from error
    return body, kind


@contextmanager
def _watching_for_training(client: Client, name: str, progress: Progress) -> Iterator[None]:
    """Where the invocation is held because a model is being trained, show how far that is."""

    def watch() -> None:
        while not answered.wait(WATCH_S):
            try:
                runs = client.runs(deployment=name)
            except LambentError:
                return  # what matters is the answer, and its error is the one to show
            if run := next((run for run in runs if run.state in GOING_ON), None):
                said = run.message or run.state
                progress.update(f"{name} waits for {run.job}: {said}  {numbers(run.metrics)}", run.progress)

    answered = threading.Event()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        answered.set()
        watcher.join()


def _ended(client: Client, invocation_id: str) -> Reply:
    from lambent.wire.api import AsyncReply

    with Progress(f"waiting for {invocation_id}") as progress:
        while isinstance(found := client.result(invocation_id, wait_s=POLL_S), AsyncReply):
            progress.update(f"waiting for {invocation_id}: {found.state}")
    return found


def _show_headers(reply: Reply) -> None:
    for name, value in (
        ("invocation", reply.invocation_id),
        ("revision", reply.revision),
        ("temperature on arrival", reply.temperature),
        ("billed", f"{reply.billed_ms} ms"),
        ("timing", parts(reply.timing_ms)),
        ("content type", reply.content_type),
    ):
        click.echo(f"{name}: {value}", err=True)


def _print(reply: Reply, *, as_json: bool) -> None:
    if as_json:
        fields = {name: getattr(reply, name) for name in reply.__struct_fields__ if name != "body"}
        emit_json({**fields, "value": reply.value})
        return
    click.echo(reply.body, nl=False)
    is_text = reply.content_type.startswith(("text/", JSON))
    if is_text and not reply.body.endswith(b"\n") and reply.body:
        click.echo()
    sys.stdout.flush()
