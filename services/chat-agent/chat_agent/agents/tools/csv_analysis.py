"""The tool that analyzes an attached CSV file; a process of its own reads it (`csv_worker`)."""

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Annotated, Literal

from agents import RunContextWrapper
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from pydantic import Field

from chat_agent.agents.tool import RunContext, tool
from chat_agent.errors import ToolFailed

WORKER = Path(__file__).with_name("csv_worker.py")
MEDIA_TYPES = ("text/csv", "application/csv", "application/vnd.ms-excel", "text/plain")
# Of one process; each takes up to MEMORY_BYTES of `csv_worker`, for which the manifests have room.
MAX_WORKERS = 2
Columns = Annotated[list[str], Field(max_length=50)]


@tool(trusted=False, seconds=30)
async def analyze_csv(  # noqa: PLR0913, PLR0917  # the parameters that the model sees
    context: RunContextWrapper[RunContext],
    operation: Annotated[
        Literal["describe", "rows", "aggregate", "correlate"],
        Field(description="Begin with describe, which has the names and types of the columns."),
    ],
    columns: Annotated[Columns, Field(description="Of rows, aggregate and correlate; none: all.")] = [],  # noqa: B006
    group_by: Annotated[Columns, Field(description="Of aggregate; none: all rows together.")] = [],  # noqa: B006
    aggregation: Literal["sum", "mean", "median", "min", "max", "std", "n_unique"] = "mean",
    sort_by: Annotated[str | None, Field(description="A column of the result.")] = None,
    descending: bool = False,
    limit: Annotated[int, Field(ge=1, le=500)] = 50,
) -> str:
    """Analyze the newest CSV file that the user has attached to this conversation. The result is CSV."""
    run = context.context
    request = {
        "operation": operation,
        "columns": columns,
        "group_by": group_by,
        "aggregation": aggregation,
        "sort_by": sort_by,
        "descending": descending,
        "limit": limit,
    }
    # Before the file is read: who waits holds none.
    async with worker_limiter():
        blob = await run.attachments.newest(run.conversation_id, MEDIA_TYPES)
        if blob is None:
            raise ToolFailed("There is no CSV file in this conversation. Ask the user to attach one.")
        answer = await run_worker(json.dumps(request).encode() + b"\n" + blob.content)
    if "error" in answer:
        raise ToolFailed(answer["error"])
    return answer["result"]


TOOLS = [analyze_csv]
_limiter = RunVar[CapacityLimiter]("csv_workers")


def worker_limiter() -> CapacityLimiter:
    """Return what limits the workers of this process; a call's time limit includes its wait."""
    try:
        return _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(MAX_WORKERS)
        _limiter.set(limiter)
        return limiter


async def run_worker(data: bytes) -> dict[str, str]:
    """Run the worker, and return its answer; raises ToolFailed where it exceeds its limits."""
    environment = {"POLARS_MAX_THREADS": "1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", str(WORKER), stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment, cwd="/"
    )
    try:
        output, _ = await process.communicate(data)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise ToolFailed("The file is too large, or takes too long to analyze.")
    answer: dict[str, str] = json.loads(output)
    return answer
