"""Assembles a service from the parts that all services share and its own routes and workers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from logging import getLogger
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from redis.asyncio import Redis
from starlette.types import ASGIApp

# Before the other modules, whose import it makes cheaper.
import servicekit.startup  # noqa: F401

# isort: split
from servicekit import documentation, errors, health, logging, methods, openapi, redis_client, telemetry
from servicekit.auth.api_keys import ApiKeyIntrospector
from servicekit.auth.api_keys import Check as ApiKeyCheck
from servicekit.auth.call_limits import CallRates
from servicekit.auth.dependencies import assert_policies, every_route
from servicekit.auth.revocations import Revocations
from servicekit.auth.tokens import KeySource, TokenVerifier
from servicekit.database import Database
from servicekit.head_requests import HeadMiddleware
from servicekit.health import Check
from servicekit.http.client import HttpPool
from servicekit.http.service_tokens import ServiceClient, ServiceTokens
from servicekit.jwks import route
from servicekit.jwks.cache import JwksCache
from servicekit.jwks.invalidation import JwksInvalidationListener
from servicekit.large_bodies import BodySlots, LargeBodyRoute
from servicekit.middleware import RequestContextMiddleware
from servicekit.rate_limits import Limits
from servicekit.request_limits import DEFAULT_BODY, LARGE_BODY, MAX_FORM_FIELDS
from servicekit.server import serve
from servicekit.settings import ServiceSettings
from servicekit.workers import supervisor
from servicekit.workers.supervisor import Worker

logger = getLogger(__name__)

WARMUP_SECONDS = 5

Workers = Callable[["Resources"], Sequence[Worker]]
Middleware = Callable[[ASGIApp], ASGIApp]
Lifespan = Callable[["Resources"], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class Resources:
    """The clients and settings that every service has; at `app.state.resources`."""

    name: str
    settings: ServiceSettings
    database: Database
    redis: Redis
    limits: Limits
    rates: CallRates
    http: HttpPool
    tokens: ServiceTokens
    keys: KeySource
    verifier: TokenVerifier
    api_keys: ApiKeyCheck
    revocations: Revocations
    checks: dict[str, Check] = field(default_factory=dict)
    large_bodies: BodySlots = field(default_factory=BodySlots)
    # Set when the process is told to end, while it still answers: what stands should come to its end.
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def client(self, audience: str, base_url: str, scope: str) -> ServiceClient:
        """Make a client of another service's internal routes."""
        self.tokens.require(audience, scope)
        return ServiceClient(self.http, self.tokens, base_url, audience, scope)


def get_resources(request: Request) -> Resources:
    """Return the resources of the app that answers."""
    resources: Resources = request.app.state.resources
    return resources


ResourcesDep = Annotated[Resources, Depends(get_resources)]


def create_service(  # noqa: PLR0913  # the parts of a service, each by its name
    name: str,
    settings: ServiceSettings,
    *,
    description: str = "",
    routers: Sequence[APIRouter] = (),
    internal: Sequence[APIRouter] = (),
    workers: Workers = lambda _kit: (),
    lifespan: Lifespan | None = None,
    keys: KeySource | None = None,
    api_keys: ApiKeyCheck | None = None,
    max_body_size: int = DEFAULT_BODY,
    middleware: Sequence[Middleware] = (),
) -> FastAPI:
    """Return the app that the gateway reaches, with the internal one at `app.state.internal`.

    `middleware` stands around the public app, the last one outermost.
    `max_body_size`, in bytes, holds for all routes that do not name a limit of their own.
    `keys` is where token keys come from, by default auth's key set over HTTP; `api_keys` tells whose an API
    key is, by default by asking auth. Raises when a route does not
    say who may call it.
    """
    telemetry.configure(name, settings)
    resources = build_resources(name, settings, keys, api_keys)
    app = build_app(
        f"Acme {name}",
        description=description,
        lifespan=lambda _app: lifespan_of(resources, workers, lifespan),
        # Named after the service, so that the address is the same before and behind the gateway.
        openapi_url=f"/openapi/{name}.json",
    )
    inside = build_app(f"Acme {name}, internal")
    if settings.is_development:
        documentation.install(app, name)
    public = [*routers, *([route.router] if keys is None else [])]
    configure_app(app, resources, public, max_body_size, middleware)
    configure_app(inside, resources, [health.router, *internal], max_body_size)
    app.state.internal = inside
    return app


def build_app(title: str, **options: Any) -> FastAPI:
    """Build one of the two apps of a service, without routes."""
    return FastAPI(
        title=title,
        docs_url=None,  # see `documentation`
        redoc_url=None,
        # A redirect would lead to whatever host the request names; such a path is 404.
        redirect_slashes=False,
        generate_unique_id_function=openapi.operation_name,
        **options,
    )


def configure_app(
    app: FastAPI,
    resources: Resources,
    routers: Sequence[APIRouter],
    max_body_size: int,
    middleware: Sequence[Middleware] = (),
) -> None:
    """Install middleware, error handlers and routes in one of the two apps."""
    app.state.resources = resources
    layers: Sequence[Middleware] = (RequestContextMiddleware, *middleware, HeadMiddleware)
    for layer in layers:
        app.add_middleware(layer)
    errors.install(app)
    app.add_exception_handler(HTTPStatus.METHOD_NOT_ALLOWED, methods.not_allowed)
    openapi.install(app)
    # Of the routers: looking at an app's own routes builds them all, at 1 ms each. `serve` does that before
    # the first request; an app of a test builds those that are called.
    assert_policies(*routers)
    assert_large_body_routes(*routers)
    for router in routers:
        app.include_router(
            router,
            max_body_size=max_body_size,
            form_limits={"max_fields": MAX_FORM_FIELDS, "max_files": 0},
        )
    telemetry.instrument_app(app)


def assert_large_body_routes(*routers: APIRouter) -> None:
    """Verify that routes which take large bodies read them as such; raises TypeError."""
    for router in routers:
        for each in every_route(router.routes):
            is_large = (getattr(each, "max_body_size", None) or 0) > LARGE_BODY
            if is_large and not isinstance(each.original_route, LargeBodyRoute):
                raise TypeError(f"{each.path}: bodies of more than 1 MiB need a LargeBodyRoute")


def build_resources(
    name: str,
    settings: ServiceSettings,
    keys: KeySource | None = None,
    api_keys: ApiKeyCheck | None = None,
) -> Resources:
    """Build the resources; nothing connects before its first use."""
    database = Database.from_settings(settings, name)
    redis = redis_client.connect(settings)
    http = HttpPool(telemetry.client_traces(settings))
    telemetry.instrument(settings, database.engine, redis)
    keys = keys or JwksCache(settings.auth_jwks_url)
    tokens = ServiceTokens(http, settings.auth_internal_url, name, settings.service_client_secret)
    revocations = Revocations(redis, name)
    limits = Limits(redis)
    resources = Resources(
        name=name,
        settings=settings,
        database=database,
        redis=redis,
        limits=limits,
        rates=CallRates(name, limits, settings.limits),
        http=http,
        tokens=tokens,
        keys=keys,
        api_keys=api_keys or ApiKeyIntrospector(http, tokens, settings.auth_internal_url),
        verifier=TokenVerifier(
            keys,
            issuer=settings.auth_issuer,
            audiences={settings.auth_audience, name},
            revoked=revocations.is_revoked,
        ),
        revocations=revocations,
    )
    resources.checks.update(database=database.ping, redis=partial(redis_client.write_probe, redis, name))
    return resources


@contextlib.asynccontextmanager
async def lifespan_of(resources: Resources, work: Workers, lifespan: Lifespan | None) -> AsyncIterator[None]:
    """Start everything that runs beside the API, and stop it in reverse order on exit."""
    log = logging.configure(resources.name, resources.settings)
    if obsolete := resources.settings.obsolete_variables():
        logger.warning("variables are not read any more", extra={"replaced_by": obsolete})
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, log.close)
        stack.push_async_callback(resources.database.close)
        stack.push_async_callback(resources.redis.aclose)
        stack.push_async_callback(resources.http.aclose)
        if isinstance(resources.keys, JwksCache):
            stack.push_async_callback(resources.keys.aclose)
            resources.checks["keys"] = partial(resources.keys.warmup, WARMUP_SECONDS)
            await stack.enter_async_context(
                supervisor.running_all([JwksInvalidationListener(resources.redis, resources.keys)])
            )
        # Also where no workers run: whoever verifies tokens must know which were revoked.
        await resources.revocations.warmup()
        await stack.enter_async_context(supervisor.running_all([resources.revocations]))
        if lifespan is not None:
            await stack.enter_async_context(lifespan(resources))
        if resources.settings.service_client_secret is not None:
            # Not a check of `/readyz`: while auth is away, the tokens that there are go on working.
            await stack.enter_async_context(supervisor.running_all([resources.tokens]))
        if resources.settings.run_workers:
            await stack.enter_async_context(running_workers(resources, work))
        yield


@contextlib.asynccontextmanager
async def running_workers(resources: Resources, work: Workers) -> AsyncIterator[None]:
    """Run the service's workers, each with a check of its own in `/readyz`."""
    staff = work(resources)
    resources.checks.update({worker.name: partial(supervisor.check_health, worker) for worker in staff})
    async with supervisor.running_all(staff):
        yield


def run_workers(name: str, settings: ServiceSettings, work: Workers) -> None:
    """Run a service's workers in a separate process, which serves only health checks."""
    serve(create_service(name, settings.model_copy(update={"run_workers": True}), workers=work))
