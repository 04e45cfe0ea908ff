"""What the tools of the built-in agents do: arithmetic, and a search of the web with citations."""

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from chat_agent.agents.tools.calculator import evaluate
from chat_agent.errors import ToolFailed
from chat_agent.settings import Settings
from chat_agent.tool_settings import load_settings
from sandbox.tavily import create_tavily
from testkit.live_server import serving
from testkit.sse import documents

from .client_helpers import read_events

SEARCH = "What is the capital of Austria [sandbox: call=web_search]"
VIENNA = "https://en.wikipedia.org/wiki/Vienna"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("-7 // 2", "-4"),
        ("7 % 4", "3"),
        ("2 ** 10", "1024"),
        ("0.1 + 0.2", "0.3"),
        ("10 / 4", "2.5"),
        ("sqrt(2)", "1.4142135623731"),
        ("12345678901.23 + 0.01", "12345678901.24"),
        ("round(pi, 2)", "3.14"),
        ("max(1, 2, factorial(5))", "120"),
        ("2 ** -1", "0.5"),
    ],
)
def test_calculates(expression: str, value: str) -> None:
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "1 +",
        "__import__('os').system('true')",
        "(1).__class__",
        "[1, 2]",
        "'a' * 3",
        "lambda: 1",
        "open('x')",
        "True + 1",
        "1 if 1 else 2",
        "x",
        "1 / 0",
        "9 ** 9 ** 9",
        "factorial(10000)",
        "1e308 * 10 ** 400",
        "1e308 * 10",
        "1 / (1e308 * 10)",
        "1e400 - 1e400",
        "0 * 1e999",
        "(-1) ** 0.5",
        "sqrt(-1)",
        "max(*[1])",
        "round(1, ndigits=1)",
        "(" * 150,
    ],
)
def test_refuses_what_is_no_arithmetic(expression: str) -> None:
    with pytest.raises(ToolFailed):
        evaluate(expression)


def test_the_data_analyst_calculates(ann: httpx.Client) -> None:
    message = "Go expression=12*12 [sandbox: call=calculate]"
    answer = ann.post("/api/v1/chat", json={"message": message, "agent_type": "data_analyst"})
    assert "calculate says: 144." in answer.json()["response"]


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Iterator[Settings]:
    """Return the settings of a service whose web search is the sandbox's."""
    with serving(create_tavily()) as url, pytest.MonkeyPatch.context() as environment:
        environment.setenv("TAVILY_API_KEY", "tvly-of-these-tests")
        environment.setenv("TAVILY_BASE_URL", url)
        load_settings.cache_clear()
        yield settings
    load_settings.cache_clear()


def ask(client: httpx.Client, message: str = SEARCH) -> dict[str, Any]:
    answer = client.post("/api/v1/chat", json={"message": message, "agent_type": "research"})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_an_answer_cites_the_page_that_was_found(ann: httpx.Client) -> None:
    run = ask(ann)
    text = run["response"]
    items = [event.data["item"] for event in read_events(ann, {"id": run["run_id"]}) if "item" in event.data]
    (citations,) = [item["citations"] for item in items if "citations" in item]
    (vienna,) = [one for one in citations if one["url"] == VIENNA]
    assert (vienna["title"], text[vienna["start"] : vienna["end"]]) == ("Vienna", f"[Vienna]({VIENNA})")


def test_openai_clients_get_url_citations(ann: httpx.Client) -> None:
    message = {"role": "user", "content": SEARCH}
    completion = {"model": "research", "messages": [message]}
    answer = ann.post("/v1/chat/completions", json=completion).json()["choices"][0]["message"]
    cited = [one["url_citation"] for one in answer["annotations"] if one["type"] == "url_citation"]
    (vienna,) = [one for one in cited if one["url"] == VIENNA]
    assert answer["content"][vienna["start_index"] : vienna["end_index"]] == f"[Vienna]({VIENNA})"
    chunks = ann.post("/v1/chat/completions", json={**completion, "stream": True}).text
    assert '"annotations":[{"type":"url_citation"' in chunks
    response = ann.post("/v1/responses", json={"model": "research", "input": SEARCH}).json()
    (part,) = [item["content"][0] for item in response["output"] if item["type"] == "message"]
    (vienna,) = [one for one in part["annotations"] if one["url"] == VIENNA]
    assert part["text"][vienna["start_index"] : vienna["end_index"]] == f"[Vienna]({VIENNA})"
    streamed = ann.post("/v1/responses", json={"model": "research", "input": SEARCH, "stream": True}).text
    assert "event: response.output_text.annotation.added" in streamed


def test_frontends_get_sources(ann: httpx.Client) -> None:
    message = {"id": "1", "role": "user", "parts": [{"type": "text", "text": SEARCH}]}
    body = {"id": str(uuid4()), "agent_type": "research", "messages": [message]}
    parts = documents(ann.post("/api/v1/chat/ui", json=body))
    (source,) = [part for part in parts if part["type"] == "source-url" and VIENNA in part["url"]]
    assert source["title"] == "Vienna"


def test_a_link_that_no_tool_has_found_is_no_citation(ann: httpx.Client) -> None:
    run = ask(ann, "Say [Vienna](https://elsewhere.example/) please")
    assert "https://elsewhere.example/" in run["response"]
    assert "citations" not in json.dumps([event.data for event in read_events(ann, {"id": run["run_id"]})])


@pytest.mark.parametrize(
    ("error", "text"),
    [("401", "refused the operator"), ("429", "limit of web"), ("432", "limit"), ("500", "does not answer")],
)
def test_says_why_a_search_failed(ann: httpx.Client, monkeypatch, error: str, text: str) -> None:
    monkeypatch.setattr("sandbox.tavily.ERROR", re.compile(f"({error})flop"))
    assert text in ask(ann, f"Go query={error}flop [sandbox: call=web_search]")["response"]


def test_says_that_search_is_not_set_up(ann: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAVILY_API_KEY", "")
    load_settings.cache_clear()
    assert "has set no TAVILY_API_KEY" in ask(ann)["response"]
    load_settings.cache_clear()
