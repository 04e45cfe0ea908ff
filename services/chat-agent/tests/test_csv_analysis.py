"""An attached CSV file is analyzed in a process that can open nothing."""

import base64
import gzip
import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from chat_agent.agents.tools.csv_analysis import WORKER, run_worker
from chat_agent.errors import ToolFailed
from chat_agent.settings import IMAGES_AND_FILES, Settings
from testkit.databases import query
from testkit.eventually import until

SALES = b"region;month;amount\nnorth;2026-01;10\nsouth;2026-01;30\nnorth;2026-02;20\n"
DEFAULTS = {
    "operation": "rows",
    "columns": [],
    "group_by": [],
    "aggregation": "sum",
    "sort_by": None,
    "descending": False,
    "limit": 50,
}
ASSERT_DENIED = """
import runpy, socket
worker = runpy.run_path({path!r})
worker["warm_up"]()
worker["deny_resources"]()
for attempt in (socket.socket, lambda: open("/etc/hostname")):
    try:
        attempt()
    except OSError:
        print("denied")
"""

# It waits, and notes how many do so.
COUNTING_WORKER = """
import os, pathlib, sys, time
folder = pathlib.Path({folder!r})
own = folder / f"{{os.getpid()}}.running"
own.touch()
(folder / f"{{os.getpid()}}.count").write_text(str(len(list(folder.glob("*.running")))))
sys.stdin.buffer.read()
while not (folder / "go").exists():
    time.sleep(0.01)
own.unlink()
print('{{"result": "done"}}')
"""


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"model_inputs": {"sandbox-large": IMAGES_AND_FILES}})


async def analyze(content: bytes = SALES, **request: object) -> dict[str, str]:
    return await run_worker(json.dumps({**DEFAULTS, **request}).encode() + b"\n" + content)


@pytest.mark.parametrize(
    ("request_", "result"),
    [
        ({"columns": ["amount"], "limit": 2}, "amount\n10\n30\n"),
        ({"operation": "aggregate", "columns": ["amount"]}, "rows,amount\n3,60\n"),
        (
            {
                "operation": "aggregate",
                "columns": ["amount"],
                "group_by": ["region"],
                "sort_by": "region",
                "descending": True,
            },
            "region,rows,amount\nsouth,1,30\nnorth,2,30\n",
        ),
    ],
)
async def test_analyzes(request_: dict[str, object], result: str) -> None:
    assert await analyze(**request_) == {"result": result}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
async def test_reads_the_encodings_of_excel(encoding: str) -> None:
    content = "Straße;Preis\nGröße;1,5\nÜbung;2,25\n".encode(encoding)
    assert await analyze(content, columns=["Straße"]) == {"result": "Straße\nGröße\nÜbung\n"}
    total = await analyze(content, operation="aggregate", columns=["Preis"])
    assert total == {"result": "rows,Preis\n2,3.75\n"}


@pytest.mark.parametrize(
    ("content", "result"),
    [
        (b"a|b\n1|2\n", "a,b\n1,2\n"),
        (b"sep=;\r\na;b\r\n1;2\r\n", "a,b\n1,2\n"),
        (b"a,b\r1,2\r3,4\r", "a,b\n1,2\n3,4\n"),
        (b'"x,y,z";b\n1;2\n', '"x,y,z",b\n1,2\n'),
        (b"a;b\n1.5;2\n", "a,b\n1.5,2\n"),
        (b"a\n" + b"1\n" * 20_000 + b"2.5\n", "a\n1.0\n"),
    ],
    ids=["bars", "named", "carriage returns", "quoted", "points", "late fraction"],
)
async def test_reads_what_programs_write(content: bytes, result: str) -> None:
    limit = result.count("\n") - 1
    assert await analyze(content, limit=limit) == {"result": result}


@pytest.mark.parametrize(
    "content", [gzip.compress(b"a,b\n" + b"1,2\n" * 100_000), zlib.compress(SALES), b"PK\x03\x04\x14\x00"]
)
async def test_refuses_what_is_packed(content: bytes) -> None:
    assert (await analyze(content)).keys() == {"error"}


async def test_describes_the_columns() -> None:
    described = (await analyze(operation="describe"))["result"].splitlines()
    assert described[0] == "statistic,region,month,amount"
    assert described[1].startswith("type,String,")
    assert next(line for line in described if line.startswith("mean,")).endswith(",20.0")


async def test_correlates() -> None:
    content = b"x,y\n1,2\n2,4\n3,6\n"
    answer = await analyze(content, operation="correlate")
    assert answer["result"].splitlines() == ["column,other,correlation", "x,y,1.0"]


@pytest.mark.parametrize(
    ("content", "request_"),
    [
        (SALES, {"columns": ["nothing"]}),
        (SALES, {"operation": "aggregate", "columns": ["nothing"]}),
        (b"", {}),
        (b"\x00\xff\xfe\n\x80", {}),
    ],
)
async def test_says_what_is_wrong(content: bytes, request_: dict[str, object]) -> None:
    assert (await analyze(content, **request_))["error"]


async def test_a_worker_that_dies_is_a_failed_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_agent.agents.tools.csv_analysis.WORKER", WORKER.with_name("nothing.py"))
    with pytest.raises(ToolFailed, match="too large"):
        await analyze()


async def test_a_file_that_takes_too_much_memory_is_a_failed_call() -> None:
    # A gibibyte as a table.
    with pytest.raises(ToolFailed, match="too large"):
        await analyze(b"a\n" + b"1\n" * 12_000_000, operation="describe")


def test_the_worker_can_open_nothing() -> None:
    code = ASSERT_DENIED.format(path=str(WORKER))
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["denied", "denied"], done.stderr


def ask(client: httpx.Client, **file: str) -> dict[str, str]:
    text = "Look operation=aggregate aggregation=sum sort_by=rows [sandbox: call=analyze_csv]"
    content = [{"type": "input_text", "text": text}]
    files = [{"type": "input_file", **file}] if file else []
    message = {"role": "user", "content": [*content, *files]}
    body = {"model": "data_analyst", "input": [message]}
    response = client.post("/v1/responses", json=body).json()
    (call,) = [item for item in response["output"] if item["type"] == "mcp_call"]
    error = "".join(part["text"] for part in (call["error"] or {}).get("content", []))
    return {"output": call["output"] or "", "error": error}


def test_the_agent_analyzes_the_attached_file(person: Callable[..., httpx.Client]) -> None:
    url = f"data:text/csv;base64,{base64.b64encode(SALES).decode()}"
    answer = ask(person(uuid4()), filename="sales.csv", file_data=url)
    assert answer["output"].startswith("rows"), answer


def test_few_files_are_analyzed_at_a_time(
    person: Callable[..., httpx.Client],
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(COUNTING_WORKER.format(folder=str(tmp_path)))
    monkeypatch.setattr("chat_agent.agents.tools.csv_analysis.WORKER", worker)
    url = f"data:text/csv;base64,{base64.b64encode(SALES).decode()}"
    tenant = uuid4()
    statement = "select count(*) from tool_calls join runs on runs.id = run_id where tenant_id = $1"
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, person(tenant), filename="a.csv", file_data=url) for _ in range(4)]
        until(lambda: query(settings.database_url.get_secret_value(), statement, tenant)[0][0] == 4)
        until(lambda: len(list(tmp_path.glob("*.running"))) == 2)
        (tmp_path / "go").touch()
        answers = [one.result() for one in asked]
    assert [answer["output"] for answer in answers] == ["done"] * 4, answers
    counts = [int(one.read_text()) for one in tmp_path.glob("*.count")]
    assert (len(counts), max(counts)) == (4, 2)


def test_the_agent_says_that_there_is_no_file(person: Callable[..., httpx.Client]) -> None:
    assert "attach one" in ask(person(uuid4()))["error"]
