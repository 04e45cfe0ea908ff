"""Bare FastAPI and Agents SDK: nobody signs in, and nothing is kept."""

import os
from collections.abc import AsyncIterator

import orjson
from agents import Agent, ModelSettings, OpenAIProvider, RunConfig, Runner, set_tracing_disabled
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI
from pydantic import BaseModel

set_tracing_disabled(disabled=True)

AGENT = Agent(name="Bench", instructions="You are a helpful assistant.")
CONFIG = RunConfig(
    model="sandbox-large",
    model_provider=OpenAIProvider(
        openai_client=AsyncOpenAI(api_key="sandbox", base_url=os.environ["MODEL_URL"]), use_responses=True
    ),
    model_settings=ModelSettings(include_usage=True, store=False),
    tracing_disabled=True,
)

app = FastAPI()


class ChatRequest(BaseModel):
    """What the person says."""

    message: str


@app.get("/")
async def healthy() -> str:
    """Answer the health check."""
    return "ok"


@app.post("/chat")
async def chat(request: ChatRequest) -> StreamingResponse:
    """Answer as a stream of deltas."""
    return StreamingResponse(stream(request.message), media_type="text/event-stream")


async def stream(message: str) -> AsyncIterator[bytes]:
    """Run the agent, and give what it says as server-sent events."""
    result = Runner.run_streamed(AGENT, message, run_config=CONFIG)
    async for event in result.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            yield frame("message.delta", {"delta": event.data.delta})
    yield frame("run.completed", {"output": str(result.final_output)})


def frame(type_: str, data: dict[str, str]) -> bytes:
    """Write one server-sent event."""
    return b"event: %s\ndata: %s\n\n" % (type_.encode(), orjson.dumps(data))
