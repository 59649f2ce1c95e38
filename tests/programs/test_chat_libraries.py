"""litellm and an agent of pydantic-ai talk to models here as to OpenAI's and Anthropic's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.programs import told_by
from tests.support.server import RunningServer

CODE = '''
import json
import lambent

app = lambent.App("agents")


@app.model
class Forecaster:
    """Asks for the weather, and then says what it was told."""

    def chat(self, ask: lambent.Chat):
        told = [message for message in ask.messages if message["role"] == "tool"]
        if ask.tools and not told:
            name = ask.tools[0]["function"]["name"]
            call = {"id": "call_1", "function": {"name": name, "arguments": json.dumps({"city": "Wien"})}}
            return lambent.Part(tool_calls=[call], usage=lambent.Usage(5, 6))
        said = told[-1]["content"] if told else ask.text
        return (lambent.Part(word + " ", usage=lambent.Usage(1, 2)) for word in said.split())

    def embed(self, ask: lambent.Embedding):
        return [[1.0, 2.0] for _ in ask.inputs]
'''
LITELLM = """
import json, sys
import litellm

url, key = sys.argv[1:]
litellm.suppress_debug_info = True
openai = {"api_base": url + "/v1", "api_key": key}
anthropic = {"api_base": url, "api_key": key}
says = [{"role": "user", "content": "one two"}]
told = {}
answer = litellm.completion("openai/forecaster", messages=says, **openai)
told["openai"] = answer.choices[0].message.content
told["usage"] = answer.usage.total_tokens
chunks = litellm.completion("openai/forecaster", messages=says, stream=True, **openai)
told["streamed"] = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
answer = litellm.completion("anthropic/forecaster", messages=says, max_tokens=9, **anthropic)
told["anthropic"] = answer.choices[0].message.content
vectors = litellm.embedding("openai/forecaster", input=["a"], **openai)
told["vectors"] = [one["embedding"] for one in vectors.data]
try:
    litellm.completion("openai/nobody", messages=says, **openai)
except litellm.NotFoundError as error:
    told["error"] = type(error).__name__

print(json.dumps(told))
"""
AGENT = """
import asyncio, json, sys
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

url, key = sys.argv[1:]
provider = OpenAIProvider(base_url=url + "/v1", api_key=key)
told = {}

async def main():
    for model in (OpenAIChatModel, OpenAIResponsesModel):
        asked = []
        agent = Agent(model("forecaster", provider=provider))

        @agent.tool_plain
        def weather(city: str) -> str:
            asked.append(city)
            return "sun over " + city

        result = await agent.run("what is the weather?")
        async with agent.run_stream("and now?") as stream:
            streamed = await stream.get_output()
        told[model.__name__] = [asked, result.output.strip(), streamed.strip()]

asyncio.run(main())
print(json.dumps(told))
"""

pytestmark = pytest.mark.programs


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("libraries")
    running = RunningServer(folder / "state").start()
    try:
        (folder / "agents.py").write_text(CODE)
        running.deploy(folder / "agents.py")
        yield running
    finally:
        running.stop()


def run(server: RunningServer, program: str) -> Any:
    return told_by("chat-libraries", program, server.url, server.about["api_key"])[-1]


def test_litellm_is_answered_as_by_openai_and_as_by_anthropic(server: RunningServer) -> None:
    told = run(server, LITELLM)
    assert told["openai"].strip() == "one two"
    assert told["usage"] == 3
    assert told["streamed"] == ["one ", "two "]
    assert told["anthropic"].strip() == "one two"
    assert told["vectors"] == [[1.0, 2.0]]
    assert told["error"] == "NotFoundError"


def test_an_agent_calls_its_tools_and_says_what_they_told(server: RunningServer) -> None:
    expected = [["Wien", "Wien"], "sun over Wien", "sun over Wien"]
    assert run(server, AGENT) == {"OpenAIChatModel": expected, "OpenAIResponsesModel": expected}
