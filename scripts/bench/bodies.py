"""Measure what the worst bodies cost: how long they block the event loop, against a bare parse, and memory.

Prints a table (Markdown) of each kind of body, in the place of the route's schema where it costs most.
"""

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import auth.main
import auth.settings
import chat_agent.main
import chat_agent.settings
import conversation.main
import conversation.settings
from fastapi import FastAPI
from pydantic import JsonValue
from sandbox.embedded import Postgres, Valkey
from testkit.app import running
from testkit.databases import Databases
from testkit.issuer import Issuer
from testkit.request_costs import Callers, Cost, callers_of, measure_request, send_body
from testkit.worst_bodies import JSON, Route, all_routes_with_body, places_of, worst_bodies

ROOT = Path(__file__).resolve().parents[2]
KINDS = (
    *("wide list", "wide object", "deep", "long string", "unknown members"),
    # As many values as are let through, as large as possible.
    *("wide list of texts", "wide object of long names"),
)
ROUTES = (
    *("/v1/chat/completions", "/v1/responses", "/api/v1/agents/{name}/ag-ui", "/api/v1/chat/ui"),
    *("/api/v1/auth/logout", "/api/v1/conversations/{conversation_id}/items"),
)
HEAD = (
    "| route | body | blocked ms | bare ms | ratio | MB | status | answer |",
    "|---|---|---:|---:|---:|---:|---:|---:|",
)


def main() -> None:
    """Run from the command line."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="acme-bench-")))
        # As root, Postgres is somebody else, who has to pass through.
        folder.chmod(0o711)
        postgres = stack.enter_context(Postgres(folder / "postgres", durable=False))
        redis = stack.enter_context(Valkey(folder / "redis", durable=False))
        issuer = stack.enter_context(Issuer())
        asyncio.run(measure([*apps(Databases(postgres.url), redis.url, issuer, folder)], issuer))


def apps(databases: Databases, redis_url: str, issuer: Issuer, folder: Path) -> Iterator[FastAPI]:
    """Make the services, with limits that are in nobody's way."""
    common: dict[str, JsonValue] = {
        "environment": "test",
        "debug": True,
        "logging_sink": "none",
        "run_workers": False,
        "redis_url": redis_url,
        "auth_issuer": issuer.issuer,
        "auth_jwks_url": issuer.jwks_url,
        "invalid_requests_per_minute": 1_000_000,
    }

    def database(service: str) -> dict[str, JsonValue]:
        return {"database_url": databases.migrated(ROOT / "services" / service), **common}

    yield conversation.main.create_app(
        conversation.settings.Settings.model_validate(database("conversation"))
    )
    rates = {"chat_rate_limit_per_minute": 1_000_000, "chat_tenant_rate_limit_per_minute": 1_000_000}
    ours = {**database("chat-agent"), **rates, "openai_api_key": "none"}
    yield chat_agent.main.create_app(chat_agent.settings.Settings.model_validate(ours))
    made_up = {name: secrets.token_urlsafe(32) for name in SECRETS}
    own = {**database("auth"), **made_up, "auth_key_storage_path": folder / "keys.json"}
    yield auth.main.create_app(auth.settings.Settings.model_validate(own))


SECRETS = (
    *("auth_password_pepper", "auth_refresh_token_pepper", "auth_email_verification_token_pepper"),
    *("auth_password_reset_token_pepper", "auth_jwks_etag_salt", "auth_session_encryption_key"),
    *("auth_session_ip_hash_salt", "event_sealing_key", "app_public_url"),
)


async def measure(services: list[FastAPI], issuer: Issuer) -> None:
    """Print the table."""
    sys.stdout.write("\n".join((*HEAD, "")))
    for app in services:
        async with running(app):
            # Auth would not know them, but of its routes the one that is measured asks for no token.
            callers = callers_of(issuer, app)
            for route in all_routes_with_body(app):
                if route.path in ROUTES and not route.is_internal:
                    async for row in rows(route, callers):
                        sys.stdout.write(f"{row}\n")


async def rows(route: Route, callers: Callers) -> AsyncIterator[str]:
    """Measure one route: of each kind of body, in the place where it costs most."""
    worst: dict[str, tuple[Cost, float]] = {}
    async with callers.client(route, **{"Content-Type": JSON}) as sender:
        await send_body(sender, route, b"{}")
        bodies = ((place.name, *body) for place in places_of(route) for body in worst_bodies(route, place))
        for place, kind, content in bodies:
            if kind in KINDS:
                await measure_request(cost := Cost(route.name, kind, place), sender, route, content)
                if kind not in worst or cost.milliseconds > worst[kind][0].milliseconds:
                    worst[kind] = (cost, bare_parse_milliseconds(content))
    for cost, bare in worst.values():
        figures = (f"{cost.milliseconds:.0f}", f"{bare:.1f}", f"{cost.milliseconds / bare:.1f}")
        answer = (f"{cost.megabytes:.0f}", str(int(cost.status)), f"{cost.response_bytes} bytes")
        yield f"| {' | '.join((route.name, f'{cost.body} in {cost.place}', *figures, *answer))} |"


def bare_parse_milliseconds(content: bytes) -> float:
    """Measure a bare parse, in milliseconds of processor time."""
    start = time.thread_time()
    with suppress(ValueError, RecursionError):
        json.loads(content)
    return max(0.1, (time.thread_time() - start) * 1000)


if __name__ == "__main__":
    main()
