"""The chat-agent, put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from servicekit import workers as background
from servicekit.app import Kit, create_service, serve

from chat_agent import routes
from chat_agent.engine import Engine
from chat_agent.settings import Settings
from chat_agent.worker import workers


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make the service."""
    settings = settings or Settings()
    app = create_service(
        "chat-agent",
        settings,
        description="Who answers: agents, tools, runs and their event streams.",
        routers=[routes.router],
        workers=workers,
        lifespan=lambda kit: running_agents(app, kit, settings),
    )
    return app


@asynccontextmanager
async def running_agents(app: FastAPI, kit: Kit, settings: Settings) -> AsyncIterator[None]:
    """Have an engine for as long as the app answers: runs are alive where they were asked for."""
    engine = app.state.engine = Engine(kit, settings)
    kit.checks[engine.name] = partial(background.check, engine)
    async with background.running([engine]):
        yield
        await engine.close()


if __name__ == "__main__":
    serve(create_app())
