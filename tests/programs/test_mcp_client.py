"""The Model Context Protocol's own client lists functions as tools, and calls them, in both of its ways."""

from __future__ import annotations

import pytest

from tests.support.programs import told_by
from tests.support.server import RunningServer

CODE = """
def add(event, context):
    return {"sum": event["a"] + event["b"]}
"""
PROGRAM = """
import asyncio, json, sys
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

url, key = sys.argv[1:]

async def told(mode):
    async with httpx2.AsyncClient(headers={"Authorization": "Bearer " + key}, timeout=300) as http:
        async with Client(streamable_http_client(url + "/mcp", http_client=http), mode=mode) as client:
            tools = (await client.list_tools()).tools
            good = await client.call_tool("add", {"a": 1, "b": 2})
            bad = await client.call_tool("add", {"a": 1})
            return [
                [tool.name for tool in tools],
                good.structured_content,
                [bad.is_error, bad.content[0].text],
                client.protocol_version,
            ]

print(json.dumps([asyncio.run(told(mode)) for mode in ("legacy", "auto")]))
"""


@pytest.fixture(scope="module")
def deployed(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> RunningServer:
    code = tmp_path_factory.mktemp("tools") / "code.py"
    code.write_text(CODE)
    server.deploy(f"{code}:add")
    return server


@pytest.mark.programs
def test_its_client_lists_and_calls_tools(deployed: RunningServer) -> None:
    ((first, second),) = told_by("mcp", PROGRAM, deployed.url, deployed.about["api_key"])
    assert first == [["add"], {"sum": 3}, [True, "KeyError: 'b'"], "2025-11-25"]
    assert second == [["add"], {"sum": 3}, [True, "KeyError: 'b'"], "2026-07-28"]
