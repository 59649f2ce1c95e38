"""A template's functions, layers and queues, put on a server through its AWS Lambda API.

A second deploy of the same template changes nothing: what is there is compared before it is replaced.
"""

from __future__ import annotations

import base64
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from lambent.client.errors import BundleError
from lambent.client.folder import NEVER_OF_PROGRAMS, scan
from lambent.client.sam.api import Api
from lambent.client.sam.handling import put_handling
from lambent.client.sam.queues import put_mappings, put_queues
from lambent.client.sam.schedules import put_timers
from lambent.client.sam.stack import Function, Layer, Stack
from lambent.client.transport import Transport

FUNCTIONS: Final = "/2015-03-31/functions"
LAYERS: Final = "/2018-10-31/layers"
URLS: Final = "/2021-10-31/functions"
RESERVED: Final = "/2017-10-31/functions"
PROVISIONED: Final = "/2019-09-30/functions"
ROLE: Final = "arn:aws:iam::000000000000:role/lambent"
READY_TRIES_MAX: Final = 2_400
READY_PAUSE_S: Final = 0.05
ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)  # the first that a zip can say: the same files give the same digest
STAGE: Final = "Prod"  # what SAM calls that of an API which it makes by itself
HANDLER_FILE: Final = "index.py"


class Deployed(msgspec.Struct, frozen=True):
    """One function of a template on the server. `url` is empty where it has none of its own."""

    name: str
    version: str
    changed: bool
    url: str = ""


def deploy(stack: Stack, transport: Transport) -> Iterator[Deployed]:
    """Each function as it is ready, its layers and all queues before it. Raises `ApiError`, `BundleError`."""
    api = Api(transport)
    put_queues(api, stack.queues)
    arns = {f"layer:{layer.logical_id}": _layer(api, layer) for layer in stack.layers}
    for function in stack.functions:
        yield _function(api, function, [arns.get(one, one) for one in function.properties.layers])


def _layer(api: Api, layer: Layer) -> str:
    content, digest = _zip(layer.content)
    path = f"{LAYERS}/{quote(layer.name, safe='')}/versions"
    for there in (api.find(path) or {}).get("LayerVersions", ())[:1]:
        if (api.find(f"{path}/{there['Version']}") or {}).get("Content", {}).get("CodeSha256") == digest:
            return str(there["LayerVersionArn"])
    told = layer.properties
    made = api.call(
        "POST",
        path,
        {
            "Content": {"ZipFile": content},
            "Description": told.description,
            "CompatibleRuntimes": told.compatible_runtimes,
        },
    )
    return str(made["LayerVersionArn"])


def _function(api: Api, function: Function, layers: list[str]) -> Deployed:
    content, digest = _inline(function) if function.code is None else _zip(function.code)
    path = f"{FUNCTIONS}/{quote(function.name, safe='')}"
    wanted = _configuration(function, layers)
    there = api.find(f"{path}/configuration")
    if there is None:
        tags = {"Tags": function.properties.tags} if function.properties.tags else {}
        named = {"FunctionName": function.name, "Code": {"ZipFile": content}}
        api.call("POST", FUNCTIONS, {**named, **wanted, **tags})
    else:
        if there["CodeSha256"] != digest:
            api.call("PUT", f"{path}/code", {"ZipFile": content})
            _ready(api, path)
        if not _says(there, wanted):
            api.call("PUT", f"{path}/configuration", wanted)
    now = _ready(api, path)
    changed = there is None or now["RevisionId"] != there["RevisionId"]
    version = _published(api, function, path)
    _scaled(api, function, version)
    put_mappings(api, function)
    put_timers(api, function)
    put_handling(api, function)
    return Deployed(function.name, version or str(now["Version"]), changed, _url(api, function))


def _configuration(function: Function, layers: list[str]) -> dict[str, Any]:
    told = function.properties
    if not told.handler or not told.runtime:
        raise BundleError(f"{function.logical_id} has no {'Runtime' if told.handler else 'Handler'}")
    return {
        "Role": ROLE,
        "Runtime": told.runtime,
        "Handler": told.handler,
        "Description": told.description,
        "MemorySize": told.memory_size,
        "Timeout": told.timeout,
        "Environment": {"Variables": told.environment.variables},
        "EphemeralStorage": {"Size": told.ephemeral_storage.size},
        "Layers": layers,
        "DeadLetterConfig": {
            "TargetArn": told.dead_letter_queue.target_arn if told.dead_letter_queue else ""
        },
    }


def _says(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a function's configuration is what is wanted."""
    found = {
        **there,
        "Layers": [one["Arn"] for one in there.get("Layers") or ()],
        "DeadLetterConfig": {"TargetArn": (there.get("DeadLetterConfig") or {}).get("TargetArn", "")},
        "Environment": {"Variables": (there.get("Environment") or {}).get("Variables", {})},
    }
    return all(found.get(name) == value for name, value in wanted.items())


def _ready(api: Api, path: str) -> dict[str, Any]:
    pause = threading.Event()  # AWS's API has no other way to wait than to ask again
    for _ in range(READY_TRIES_MAX):
        now = api.call("GET", f"{path}/configuration")
        if now["State"] == "Failed" or now.get("LastUpdateStatus") == "Failed":
            why = now.get("LastUpdateStatusReason") or now.get("StateReason")
            raise BundleError(f"{now['FunctionName']} could not be made ready: {why}")
        if now["State"] != "Pending" and now.get("LastUpdateStatus") != "InProgress":
            return now
        pause.wait(READY_PAUSE_S)
    raise BundleError(f"{path} did not become ready")


def _published(api: Api, function: Function, path: str) -> str:
    """The version that the template's alias stands for; empty where it has none.

    What has not changed since the last version is that version: a deploy that was cut off is made good.
    """
    alias = function.properties.auto_publish_alias
    if not alias:
        return ""
    named = f"{path}/aliases/{quote(alias, safe='')}"
    there = api.find(named)
    version = str(api.call("POST", f"{path}/versions", {})["Version"])
    if there is None:
        api.call("POST", f"{path}/aliases", {"Name": alias, "FunctionVersion": version})
    elif there["FunctionVersion"] != version:
        api.call("PUT", named, {"FunctionVersion": version})
    return version


def _scaled(api: Api, function: Function, version: str) -> None:
    name, told = quote(function.name, safe=""), function.properties
    if told.reserved_concurrent_executions is not None:
        limit = {"ReservedConcurrentExecutions": told.reserved_concurrent_executions}
        api.call("PUT", f"{RESERVED}/{name}/concurrency", limit)
    if told.provisioned_concurrency_config is not None:
        if not version:
            raise BundleError(f"{function.logical_id}: ProvisionedConcurrencyConfig needs AutoPublishAlias")
        count = told.provisioned_concurrency_config.provisioned_concurrent_executions
        query = f"provisioned-concurrency?Qualifier={quote(told.auto_publish_alias, safe='')}"
        api.call("PUT", f"{PROVISIONED}/{name}/{query}", {"ProvisionedConcurrentExecutions": count})


def _url(api: Api, function: Function) -> str:
    """Its URL, where the template gives it one or routes of an API to it. Events of an API need no key."""
    told = function.properties
    events = {event.type for event in told.events.values()}
    if told.function_url_config is not None:
        own = told.function_url_config
        wanted = {"AuthType": own.auth_type, "InvokeMode": own.invoke_mode, "Cors": own.cors or None}
    elif events & {"Api", "HttpApi"}:
        wanted = {"AuthType": "NONE"}
    else:
        return ""
    body = {name: value for name, value in wanted.items() if value is not None}
    path = f"{URLS}/{quote(function.name, safe='')}/url"
    there = api.find(path)
    if there is None:
        there = api.call("POST", path, body)
    elif any(there.get(name) != value for name, value in body.items()):
        api.call("PUT", path, body)
    url = str(there["FunctionUrl"])
    if told.function_url_config is None and "HttpApi" not in events:
        # The events of a REST API are of format 1.0: the same function answers there, too.
        base, _, url_id = url.rstrip("/").partition("/lambda-url/")
        return f"{base}/restapis/{url_id}/{STAGE}/_user_request_/"
    return url


def _inline(function: Function) -> tuple[str, str]:
    return _packed([(HANDLER_FILE, function.properties.inline_code.encode(), 0o644)])


def _zip(code: Path) -> tuple[str, str]:
    """A folder or a zip file in base64, and its digest as AWS writes it."""
    if code.is_file():
        return _coded(code.read_bytes())
    found = scan(code, code, never=NEVER_OF_PROGRAMS)
    return _packed((path, file.read_bytes(), file.stat().st_mode & 0o777) for path, file in found)


def _packed(files: Any) -> tuple[str, str]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content, mode in files:
            entry = zipfile.ZipInfo(path, ZIP_TIME)
            entry.external_attr = (0o100000 | mode) << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return _coded(packed.getvalue())


def _coded(content: bytes) -> tuple[str, str]:
    return base64.b64encode(content).decode(), base64.b64encode(hashlib.sha256(content).digest()).decode()
