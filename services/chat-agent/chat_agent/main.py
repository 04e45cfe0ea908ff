"""The chat-agent, put together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from servicekit.app import Resources, create_service
from servicekit.server import serve
from servicekit.workers import supervisor as background
from servicekit.workers.supervisor import Worker

from chat_agent import isolation
from chat_agent.agents.packages import load_packages
from chat_agent.api import (
    agent_report_routes,
    agent_routes,
    end_user_routes,
    export_routes,
    feedback_routes,
    mcp_routes,
    mcp_sign_in_routes,
    memory_routes,
    provider_key_routes,
    routes,
    secret_routes,
    tool_routes,
)
from chat_agent.demo import pages
from chat_agent.event_log.document import document_events
from chat_agent.execution.compaction.worker import Compactor
from chat_agent.execution.lease_workers import LeaseRenewer, RunClaimer
from chat_agent.execution.manager import RunManager
from chat_agent.model import prices
from chat_agent.protocols import ag_ui_routes, ai_sdk_routes
from chat_agent.protocols.openai import conversation_routes, file_routes, plain_routes
from chat_agent.protocols.openai import routes as openai_routes
from chat_agent.protocols.openai.errors import OpenAIErrors
from chat_agent.settings import Settings
from chat_agent.worker import workers

ROUTERS = [
    # Before the routes of one run: `feedback` is no run's id.
    feedback_routes.router,
    routes.router,
    agent_report_routes.router,
    agent_routes.router,
    secret_routes.router,
    mcp_routes.router,
    tool_routes.router,
    provider_key_routes.router,
    mcp_sign_in_routes.router,
    end_user_routes.router,
    export_routes.router,
    memory_routes.router,
    openai_routes.router,
    plain_routes.router,
    conversation_routes.router,
    file_routes.router,
    ag_ui_routes.router,
    ai_sdk_routes.router,
]


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the service."""
    settings = settings or Settings()
    load_packages()
    app = create_service(
        "chat-agent",
        settings,
        description="Who answers: agents, tools, runs and their event streams.",
        routers=ROUTERS,
        workers=workers,
        lifespan=lambda resources: running_manager(app, resources, settings),
        middleware=[OpenAIErrors],
    )
    document_events(app)
    if settings.is_development:
        app.include_router(pages.router)
    return app


@asynccontextmanager
async def running_manager(app: FastAPI, resources: Resources, settings: Settings) -> AsyncIterator[None]:
    """Run the manager and its workers while the app serves requests."""
    asyncio.get_running_loop().set_task_factory(isolation.create_task)
    manager = app.state.manager = RunManager(resources, settings)
    # In a thread of its own: it takes longer than a request may wait.
    manager.run_in_background(asyncio.to_thread(prices.load))
    claimer = RunClaimer(manager)
    staff: list[Worker] = [manager.writer, manager.signals, LeaseRenewer(manager)]
    resources.checks.update(
        {worker.name: partial(background.check_health, worker) for worker in (*staff, claimer)}
    )
    try:
        async with background.running_all(staff):
            # It stops first: what it claims while the others are handed over would be handed over by nobody.
            async with background.running_all([claimer, Compactor(manager.services)]):
                leaving = asyncio.create_task(hand_over_on_stop(resources, manager))
                yield
                # Never cancelled: a lease that is not released keeps its run until it expires.
                resources.stopping.set()
                await leaving
            await manager.hand_over()
    finally:
        await manager.close()


async def hand_over_on_stop(resources: Resources, manager: RunManager) -> None:
    """Hand every run over as soon as the process is asked to stop, while its streams are still open."""
    await resources.stopping.wait()
    await manager.hand_over()


if __name__ == "__main__":
    serve(create_app(Settings.load()))
