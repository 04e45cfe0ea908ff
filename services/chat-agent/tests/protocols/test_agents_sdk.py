"""The Agents SDK as a client: an agent elsewhere whose model is an agent of ours."""

from collections.abc import AsyncIterator

import httpx
import pytest
from agents import Agent, OpenAIProvider, RunConfig, Runner, TResponseInputItem
from openai import AsyncOpenAI

BOTH = "What time is it, and can you review this Python function? def add(a, b): return a - b"


@pytest.fixture
async def client(url: str, ann: httpx.Client) -> AsyncIterator[AsyncOpenAI]:
    token = ann.headers["authorization"].removeprefix("Bearer ")
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("responses", [True, False])
async def test_does_not_run_tools_that_are_ours(client: AsyncOpenAI, responses: bool) -> None:
    provider = OpenAIProvider(openai_client=client, use_responses=responses)
    config = RunConfig(model_provider=provider, tracing_disabled=True)
    agent = Agent(name="Mine", instructions="Be brief.", model="triage")
    whole = await Runner.run(agent, BOTH, run_config=config)
    assert "current_time" in str(whole.final_output)
    more: list[TResponseInputItem] = [*whole.to_input_list(), {"role": "user", "content": "Thanks"}]
    streamed = Runner.run_streamed(agent, more, run_config=config)
    async for _ in streamed.stream_events():
        pass
    assert "Thanks" in str(streamed.final_output)
