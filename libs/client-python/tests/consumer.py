"""An application that uses the installed client; prints what it got, one JSON document a line."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from acme_client import AcmeClient, ApiError, Password, RunEvent, synchronous

REVIEW = "What time is it, and can you review this Python function? def add(a, b): return a - b"
paths: list[str] = []


def print_line(value: object) -> None:
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


async def count(request: httpx.Request) -> None:
    paths.append(request.url.path)


def client(url: str, credentials: Password | str) -> AcmeClient:
    http = httpx.AsyncClient(timeout=60, trust_env=False, event_hooks={"request": [count]})
    return AcmeClient(url, credentials, http=http)


def describe(event: RunEvent) -> str:
    """Is accepted by a type checker only while each type of event has its own members."""
    if event["type"] == "run.queued":
        return f"{event['ahead']} ahead, {event['seq']}"  # type: ignore[typeddict-item]  # it is not in the log
    if event["type"] == "message.delta":
        return event["delta"]
    if event["type"] == "agent.changed":
        return event["to"]
    if event["type"] == "approval.required":
        return f"{event['tool']}"  # type: ignore[typeddict-item]  # there is no such member
    return describe_memory(event)


def describe_memory(event: RunEvent) -> str:
    """Describe what an agent knows, as the types say it."""
    if event["type"] == "memory.recalled":
        return ", ".join(memory["text"] for memory in event["memories"])
    if event["type"] == "memory.noted":
        return event.get("supersedes") or event["memory"]["kind"]
    if event["type"] == "history.compacted":
        return event["summary_id"]
    return event["type"]


async def every(events: AsyncIterator[RunEvent]) -> list[RunEvent]:
    return [event async for event in events]


async def problem(work: Awaitable[Any]) -> list[object]:
    try:
        await work
    except ApiError as error:
        return [error.status, error.code, str(error), error.request_id != ""]
    return []


def refreshes() -> int:
    return sum(path.endswith("/refresh") for path in paths)


async def main(url: str, fragile_url: str, email: str, password: str) -> None:
    credentials = Password(email, password)
    acme, fragile = client(url, credentials), client(fragile_url, credentials)
    print_line({"refused": await problem(client(url, Password(email, "wrong")).conversations())})
    print_line({"unknown": await problem(every(acme.stream("Hello", agent_type="poet")))})

    whole = await every(acme.stream(REVIEW))
    run_id, conversation_id = whole[0]["run_id"], whole[0]["conversation_id"]
    messages = (await acme.conversation(conversation_id))["messages"]
    page = await acme.conversations(limit=100)
    runs = await acme.runs(conversation_id=conversation_id)
    renamed = await acme.rename_conversation(conversation_id, "Time and code")
    print_line(
        {
            "whole": whole,
            "text": "".join(describe(event) for event in whole if event["type"] == "message.delta"),
            "messages": [message["content"] for message in messages],
            "isListed": conversation_id in [one["conversation_id"] for one in page["items"]],
            "runs": [run["id"] for run in runs["items"]],
            "title": renamed["title"],
            "again": await every(acme.follow(run_id, after=2)),
        }
    )

    # The connection breaks in the middle; what comes after that is the rest.
    resumed: list[RunEvent] = []
    resumed_at = 0
    async for event in fragile.stream("Slowly [sandbox: tokens=2000, rate=20]"):
        resumed.append(event)
        if len(resumed) == 10:
            print_line("cut")
        if not resumed_at and paths[-1].endswith("/events"):
            resumed_at = len(resumed)
            await fragile.cancel(event["run_id"])
    print_line({"resumed": resumed, "resumedAt": resumed_at})

    waiting = await every(acme.stream("Forget it [sandbox: call=forget_conversation]"))
    (approval,) = [event for event in waiting if event["type"] == "approval.required"]
    await acme.answer_approval(approval["run_id"], approval["approval_id"], approve=True)
    last = waiting[-1]
    assert last["type"] == "run.waiting"
    continued = await every(acme.follow(approval["run_id"], last["seq"]))
    end = continued[-1]
    assert end["type"] == "run.completed"
    print_line(
        {
            "waiting": waiting,
            "continued": continued,
            "fromStart": await every(acme.follow(approval["run_id"])),
            "rest": await every(acme.follow(approval["run_id"], end["seq"])),
        }
    )

    # Two clients find at the same moment that the token has expired, and then that it is refused.
    async def both() -> None:
        await asyncio.gather(acme.conversations(), fragile.conversations())

    credentials._expires_at = 0
    await both()
    after_expiry = refreshes()
    credentials._token = "revoked"
    await both()
    print_line({"afterExpiry": after_expiry, "afterRefusal": refreshes()})

    by_token = client(url, await credentials.access_token(httpx.AsyncClient(trust_env=False), url))
    print_line({"byToken": len((await by_token.conversations(limit=1))["items"])})
    print_line({"mistyped": await problem(client(url, "mistyped").conversations())})
    # A session that has ended begins anew.
    credentials._token, credentials._refresh_token = "revoked", "revoked"
    await acme.conversations()
    for one in (acme, fragile, by_token):
        await one.aclose()


def synchronous_client(url: str, credentials: synchronous.Credentials) -> synchronous.AcmeClient:
    hooks = {"request": [lambda request: paths.append(request.url.path)]}
    return synchronous.AcmeClient(
        url, credentials, http=httpx.Client(timeout=60, trust_env=False, event_hooks=hooks)
    )


def without_event_loop(url: str, fragile_url: str, email: str, password: str) -> dict[str, object]:
    """Do the same in short: a refusal, a broken connection, a token that two threads find refused."""
    credentials = synchronous.Password(email, password)
    with (
        synchronous_client(url, credentials) as acme,
        synchronous_client(fragile_url, credentials) as fragile,
    ):
        refused = []
        try:
            list(acme.stream("Hello", agent_type="poet"))
        except ApiError as error:
            refused = [error.status, error.code]
        resumed: list[RunEvent] = []
        for event in fragile.stream("Slowly [sandbox: tokens=2000, rate=20]"):
            resumed.append(event)
            if len(resumed) == 10:
                print_line("cut")
            if paths[-1].endswith("/events"):
                fragile.cancel(event["run_id"])
        before = refreshes()
        credentials._token = "revoked"
        with ThreadPoolExecutor() as pool:
            pages = [*pool.map(lambda one: one.conversations(limit=1), (acme, fragile))]
        return {
            "refused": refused,
            "resumed": resumed,
            "pages": [len(page["items"]) for page in pages],
            "refreshes": refreshes() - before,
        }


if __name__ == "__main__":
    received = json.loads(sys.argv[1])
    asyncio.run(main(**received))
    print_line({"synchronous": without_event_loop(**received)})
