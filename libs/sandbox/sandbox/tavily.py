"""A search of the web without a web: Tavily's API over a few pages (https://docs.tavily.com)."""

import re
from typing import Annotated, Literal
from uuid import uuid4

from fastapi import FastAPI, Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from sandbox.messages import Json

PAGES = (
    (
        "Postgres 18 release notes",
        "https://www.postgresql.org/docs/18/release-18.html",
        "Postgres 18 adds asynchronous I/O, skip scans of B-tree indexes, and uuidv7().",
    ),
    (
        "What is new in Python 3.14",
        "https://docs.python.org/3/whatsnew/3.14.html",
        "Python 3.14 adds template strings, deferred evaluation of annotations, and subinterpreters.",
    ),
    (
        "HTTP semantics, RFC 9110",
        "https://www.rfc-editor.org/rfc/rfc9110",
        "HTTP is a family of stateless, application-level, request/response protocols.",
    ),
    (
        "Vienna",
        "https://en.wikipedia.org/wiki/Vienna",
        "Vienna is the capital of Austria, with about two million inhabitants, on the Danube.",
    ),
)
WORD = re.compile(r"\w+")
ERROR = re.compile(r"\[sandbox: error=([45][0-9]{2})\]")


class SearchRequest(BaseModel):
    """The body of POST /search."""

    query: Annotated[str, Field(min_length=1)]
    search_depth: Literal["basic", "advanced", "fast", "ultra-fast"] = "basic"
    topic: Literal["general", "news", "finance"] = "general"
    max_results: int = Field(5, ge=0, le=20)
    include_answer: bool | Literal["basic", "advanced"] = False
    include_raw_content: bool | Literal["markdown", "text"] = False


def create_tavily() -> FastAPI:
    """Build the API."""
    app = FastAPI(title="Tavily sandbox", openapi_url=None)
    app.post("/search")(search)
    return app


def search(body: SearchRequest, authorization: Annotated[str, Header()] = "") -> JSONResponse:
    """Search the pages: those that have most words of the query come first."""
    kind, _, key = authorization.partition(" ")
    if kind.lower() != "bearer" or not key.startswith("tvly-") or key.startswith("tvly-invalid"):
        return failure(401, "Unauthorized: missing or invalid API key.")
    if match := ERROR.search(body.query):
        return failure(int(match.group(1)), "An error that the query asked for.")
    words = {word.lower() for word in WORD.findall(body.query)}
    ranked = sorted(((score(words, page), page) for page in PAGES), reverse=True)
    results = [result(page, points) for points, page in ranked if points][: body.max_results]
    return JSONResponse(
        {
            "query": body.query,
            "follow_up_questions": None,
            "answer": results[0]["content"] if body.include_answer and results else None,
            "images": [],
            "results": results,
            "response_time": 0.01,
            "request_id": str(uuid4()),
        }
    )


def score(words: set[str], page: tuple[str, str, str]) -> float:
    """Return which part of the words of a query a page has."""
    found = words & {word.lower() for text in page for word in WORD.findall(text)}
    return round(len(found) / max(len(words), 1), 4)


def result(page: tuple[str, str, str], points: float) -> Json:
    """Return a page as a result."""
    title, url, content = page
    return {"title": title, "url": url, "content": content, "score": points, "raw_content": None}


def failure(status: int, message: str) -> JSONResponse:
    """Return an error in Tavily's shape."""
    return JSONResponse({"detail": {"error": message}}, status)
