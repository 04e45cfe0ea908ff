"""Several choices of one chat completion: each is a run of its own, in a conversation of its own."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from uuid import NAMESPACE_URL, uuid5

from servicekit.auth.tokens import Principal
from servicekit.errors import ServiceError

from chat_agent.api.branches import continue_run
from chat_agent.api.disconnects import DisconnectHandler, cancel
from chat_agent.api.rate_limits import RateLimiter
from chat_agent.api.run_request import RunRequest
from chat_agent.api.start_run import StartedRun
from chat_agent.execution.manager import RunManager
from chat_agent.protocols import responses
from chat_agent.protocols.encoder import stream
from chat_agent.protocols.openai.chat_completions import ChatCompletion

# Of these there is one for each run.
IDS = ("Acme-Run-Id", "Acme-Conversation-Id")


async def start_choices(
    manager: RunManager, caller: Principal, request: RunRequest, key: str | None, limiter: RateLimiter
) -> list[StartedRun]:
    """Start a run for each choice; the first is admitted already. Raises what `start_run` raises.

    Where one cannot start, those before are cancelled, unless a request with the same key finds them again.
    """
    started: list[StartedRun] = []
    try:
        for index in range(request.options.n or 1):
            if index:
                await limiter.admit_another()
            choice = replace(request, options=request.options.of_choice(index))
            started.append(await continue_run(manager, caller, choice, key_of(key, index), None))
    except BaseException:
        for one in started if key is None else ():
            manager.run_in_background(cancel(manager, caller, one.run.id))
        raise
    return started


def key_of(key: str | None, index: int) -> str | None:
    """Return the idempotency key of a choice: the first has that of the request."""
    return key if key is None or not index else str(uuid5(NAMESPACE_URL, f"{key}#{index}"))


def headers_of(started: Sequence[StartedRun]) -> dict[str, str]:
    """Return the headers that name the runs, in the order of the choices."""
    headers = [one.headers() for one in started]
    return {**headers[0], **{name: ", ".join(one[name] for one in headers) for name in IDS}}


async def complete(
    manager: RunManager,
    started: Sequence[StartedRun],
    choices: Sequence[ChatCompletion],
    on_failure: DisconnectHandler | None,
) -> None:
    """Feed the choices with all of their runs; raises the error by which one failed.

    Then the client gets nothing of the others, as if it had disconnected: `on_failure` is called.
    """
    runs = zip(started, choices, strict=True)
    tasks = [asyncio.create_task(responses.complete(manager, one.run.id, choice)) for one, choice in runs]
    try:
        await asyncio.gather(*tasks)
    except ServiceError:
        if on_failure is not None:
            on_failure()
        raise
    finally:
        for task in tasks:
            task.cancel()


async def stream_choices(
    manager: RunManager,
    caller: Principal,
    unsent: list[StartedRun],
    choices: Sequence[ChatCompletion],
    on_failure: DisconnectHandler | None,
) -> AsyncIterator[bytes]:
    """Encode the runs as they come; the completion ends with the last of them, or the first that fails.

    A run whose choice has ended is taken out of `unsent`. For those in it when one fails, see `complete`.
    """
    runs = zip([*unsent], choices, strict=True)
    streams = [send(stream(manager, one.run.id, choice, caller), one, unsent) for one, choice in runs]
    async with aclosing(merged(streams)) as frames:
        async for frame in frames:
            yield frame
            if choices[0].is_finished:
                if on_failure is not None:
                    on_failure()
                return
    yield choices[0].ending()


async def send(
    frames: AsyncIterator[bytes], started: StartedRun, unsent: list[StartedRun]
) -> AsyncIterator[bytes]:
    """Yield the frames of a run, and take it out of the others at its end."""
    async for frame in frames:
        yield frame
    unsent.remove(started)


async def merged(streams: Sequence[AsyncIterator[bytes]]) -> AsyncGenerator[bytes, None]:
    """Yield what several streams yield, as it comes."""
    waiting = {asyncio.create_task(next_of(one)): one for one in streams}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                one = waiting.pop(task)
                if frame := task.result():
                    waiting[asyncio.create_task(next_of(one))] = one
                    yield frame
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def next_of(stream: AsyncIterator[bytes]) -> bytes:
    """Return what a stream yields next, or nothing at its end."""
    return await anext(stream, b"")
