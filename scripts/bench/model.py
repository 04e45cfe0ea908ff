"""Compare what a streamed answer costs in CPU: bare parsing, the fast client, guarded, and the vendor's."""

import argparse
import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson
import uvloop
from agents import Model, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel
from agents.models.interface import ModelTracing
from chat_agent.model.call import Candidate, Limits
from chat_agent.model.fast_client import FastClient
from chat_agent.model.retry import ResilientModel
from openai import AsyncOpenAI
from sandbox.processes import free_port, wait_until

MODELS: dict[str, Any] = {"responses": OpenAIResponsesModel, "chat/completions": OpenAIChatCompletionsModel}
ROUNDS, RUNS = 5, 10


def build_request(tokens: int) -> str:
    """Return the message to which the sandbox answers with this many tokens."""
    return f"Hi [sandbox: tokens={tokens}]"


async def stream_model(model: Model, tokens: int) -> None:
    """Stream a whole answer through one of the SDK's models."""
    settings, off = ModelSettings(include_usage=True), ModelTracing.DISABLED
    rest: Any = {"previous_response_id": None, "conversation_id": None, "prompt": None}
    async for _ in model.stream_response("", build_request(tokens), settings, [], None, [], off, **rest):
        pass


async def stream_bare(session: aiohttp.ClientSession, url: str, tokens: int) -> None:
    """Read the same bytes and parse them, and no more."""
    messages = [{"role": "user", "content": build_request(tokens)}]
    body = {"model": "m", "stream": True, ("input" if url.endswith("responses") else "messages"): messages}
    async with session.post(url, json=body, headers={"Authorization": "Bearer sk"}) as answer:
        async for line in answer.content:
            if line.startswith(b"data: {"):
                orjson.loads(line[6:])


async def milliseconds(work: Callable[[], Awaitable[None]]) -> float:
    """Return the CPU time of one run: the best of some rounds, for others use this machine too."""
    await work()
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(RUNS):
            await work()
        best = min(best, time.process_time() - started)
    return best / RUNS * 1000


async def compare(url: str, tokens: int) -> None:
    """Print the table."""
    openai_client, fast = AsyncOpenAI(base_url=url, api_key="sk"), FastClient(url, "sk", 5)
    async with aiohttp.ClientSession() as session:
        for path, kind in MODELS.items():
            thin = kind("m", fast)
            guarded = ResilientModel([Candidate("m", thin)], Limits(60, 30, 1_000_000), 0)
            bare = await milliseconds(lambda path=path: stream_bare(session, f"{url}/{path}", tokens))
            sys.stdout.write(f"{path:17} bare {bare:.2f} ms")
            for name, model in {"fast": thin, "guarded": guarded, "openai": kind("m", openai_client)}.items():
                cost = await milliseconds(lambda model=model: stream_model(model, tokens))
                sys.stdout.write(f"   {name} {cost:.2f} ms ({cost / bare:.1f} x)")
            sys.stdout.write("\n")
    await asyncio.gather(openai_client.close(), fast.close())


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=200, help="the length of the answer")
    tokens, port = parser.parse_args().tokens, free_port()
    # In a process of its own, so that what is measured is the client alone.
    command = [sys.executable, "-m", "sandbox.main", "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as sandbox:  # noqa: S603  # our own words
        try:
            wait_until(lambda: is_open(port), seconds=20)
            uvloop.run(compare(f"http://127.0.0.1:{port}/v1", tokens))
        finally:
            sandbox.terminate()


def is_open(port: int) -> bool:
    """Return whether a server listens."""
    with socket.socket() as knocking:
        return knocking.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    main()
