"""Agno AgentOS as its own documentation sets it up, keeping sessions in its own database."""

import os

from agno.agent import Agent
from agno.db.postgres import AsyncPostgresDb
from agno.models.openai import OpenAIResponses
from agno.os import AgentOS

app = AgentOS(
    agents=[
        Agent(
            id="bench",
            name="Bench",
            model=OpenAIResponses(id="sandbox-large", api_key="sandbox", base_url=os.environ["MODEL_URL"]),
            instructions="You are a helpful assistant.",
            db=AsyncPostgresDb(db_url=os.environ["DATABASE_URL"]),
            add_history_to_context=True,
            telemetry=False,
        )
    ],
    telemetry=False,
).get_app()
