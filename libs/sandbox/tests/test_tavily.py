"""The web search answers as Tavily's API does."""

from collections.abc import Callable, Iterator

import httpx
import pytest
from sandbox.tavily import create_tavily
from testkit.live_server import NO_AUTHORITIES, serving

KEY = {"Authorization": "Bearer tvly-any"}
Search = Callable[..., httpx.Response]


@pytest.fixture
def search() -> Iterator[Search]:
    with (
        serving(create_tavily()) as url,
        httpx.Client(base_url=url, verify=NO_AUTHORITIES, timeout=60) as client,
    ):
        yield lambda query, headers=KEY, **more: client.post(
            "/search", json={"query": query, **more}, headers=headers
        )


def test_finds_the_page_that_has_most_of_the_words(search: Search) -> None:
    results = search("capital of Austria").json()
    assert results["results"][0]["url"] == "https://en.wikipedia.org/wiki/Vienna"
    assert results["results"][0].keys() == {"title", "url", "content", "score", "raw_content"}
    assert search("capital of Austria", max_results=1).json()["results"] == results["results"][:1]
    assert search("xyzzy").json()["results"] == []


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer tvly-invalid"}])
def test_refuses_a_wrong_key(search: Search, headers: dict[str, str]) -> None:
    refused = search("Vienna", headers)
    assert (refused.status_code, list(refused.json())) == (401, ["detail"])


def test_fails_as_the_query_asks(search: Search) -> None:
    assert search("Vienna [sandbox: error=432]").status_code == 432
