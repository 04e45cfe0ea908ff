"""All that can be known of a run when everything is over, gathered from everywhere."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
from starter_cli.events import RunEvent, read_async

from scripts.chaos import received
from scripts.chaos.clients import Client, RunClient

CONCURRENCY = 8
# Events that are there come at once.
LOG_SECONDS = 5
Call = Mapping[str, Any]


@dataclass(frozen=True)
class RunRecord:
    """One run: what its client received, what is stored of it, and what the model was asked and sent."""

    run_client: RunClient
    calls: Sequence[Call]
    run: Mapping[str, Any] = field(default_factory=dict)
    log: Sequence[RunEvent] = ()
    items: Sequence[Mapping[str, Any]] = ()
    last_message: str | None = None
    unread: str = ""
    # How often its tool was called, and its memory is there.
    tool_calls: int = 0
    memories: int = 0
    # Whether Redis was emptied after its beginning: its log lacks what it had until then, or all.
    is_log_lost: bool = False

    @property
    def end(self) -> str:
        """How it ended: `completed`, or the code of its failure."""
        return str(self.run.get("error_code") or self.status)

    @property
    def status(self) -> str:
        """How it ended, as its row says."""
        return str(self.run.get("status", "unknown"))

    @property
    def is_completed(self) -> bool:
        """Whether it completed, and its client has received that."""
        return self.status == "completed" and self.run_client.has_ended

    @property
    def completed_calls(self) -> Sequence[Call]:
        """What the model sent to its end."""
        return [call for call in self.calls if call["status"] == "completed"]

    @property
    def is_undisturbed(self) -> bool:
        """Whether no attempt of it broke off anywhere."""
        events = self.run_client.events
        return (
            self.is_completed
            and len(self.completed_calls) == len(self.calls)
            and not received.count_resumptions(events)
        )

    @property
    def model_text(self) -> str:
        """What the model sent in the attempt that counts: the one that was received, or else the last."""
        texts = [call["text"] for call in self.completed_calls if call["text"]]
        whole = "".join(received.received_tokens(self.run_client.events))
        return whole if whole in texts else (texts or [""])[-1]


@dataclass(frozen=True)
class Evidence:
    """What others than the service know of the runs."""

    calls: Sequence[Call]
    tool_calls: Counter[str]
    memories: Counter[str]
    # When Redis was emptied.
    flushes: Sequence[float]

    def of(self, run_client: RunClient) -> dict[str, Any]:
        """Return what is known of one run."""
        return {
            # A judge is asked about the message, too.
            "calls": [call for call in self.calls if run_client.message in call["question"]],
            "tool_calls": self.tool_calls[run_client.mark],
            "memories": sum(run_client.mark in text for text in self.memories.elements()),
            "is_log_lost": any(run_client.began_at <= flush for flush in self.flushes),
        }


async def collect(
    client: Client,
    sandbox_url: str,
    run_clients: Sequence[RunClient],
    tool_calls: Counter[str],
    flushes: Sequence[float],
) -> list[RunRecord]:
    """Gather all that is known of these runs, a few at a time."""
    async with httpx.AsyncClient(base_url=sandbox_url, trust_env=False, timeout=60) as sandbox:
        calls: list[Call] = (await sandbox.get("/_sandbox/calls")).json()
    memories = Counter(one["text"] for one in await client.get_all("/api/v1/memories"))
    evidence = Evidence(calls, tool_calls, memories, flushes)
    turn = asyncio.Semaphore(CONCURRENCY)

    async def one(run_client: RunClient) -> RunRecord:
        async with turn:
            return await collect_run(client, run_client, evidence.of(run_client))

    return await asyncio.gather(*(one(run_client) for run_client in run_clients))


async def collect_run(client: Client, run_client: RunClient, known: Mapping[str, Any]) -> RunRecord:
    """Gather what is known of one run."""
    if not run_client.run_id:
        return RunRecord(run_client, **known, unread="it was never begun")
    try:
        run = (await client.get(f"/api/v1/runs/{run_client.run_id}")).json()
        log = await read_log(client, run_client.run_id)
        path = f"/api/v1/conversations/{run['conversation_id']}"
        items, messages = await client.get_all(f"{path}/items"), (await client.get(path)).json()["messages"]
    except httpx.HTTPError as error:
        return RunRecord(run_client, **known, unread=str(error) or type(error).__name__)
    last = messages[-1]["content"] if messages else None
    return RunRecord(run_client, **known, run=run, log=log, items=items, last_message=last)


async def read_log(client: Client, run_id: str) -> Sequence[RunEvent]:
    """Read what there is of a run's events, from the beginning; one that goes on is not waited for."""
    events: list[RunEvent] = []
    path = f"/api/v1/runs/{run_id}/events"
    with suppress(TimeoutError):
        async with asyncio.timeout(LOG_SECONDS), client.http.stream("GET", path) as answer:
            if answer.status_code == httpx.codes.GONE:
                return events
            answer.raise_for_status()
            async for event in read_async(answer):
                events.append(event)  # those that came before the time was over count
    return events
