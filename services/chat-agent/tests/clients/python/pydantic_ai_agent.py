"""Pydantic AI's agent."""

from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from report import AGAIN, IMAGE, MODEL, STRUCTURED, TEXT, TOOLS, get_weather, report

model = OpenAIChatModel(MODEL)
responses = OpenAIResponsesModel(MODEL)


class Person(BaseModel):
    """A person."""

    name: str
    age: int


async def text():
    return (await Agent(model).run(TEXT)).output


async def stream():
    async with Agent(model).run_stream(TEXT) as result:
        return [delta async for delta in result.stream_text(delta=True, debounce_by=None)]


async def usage():
    result = await Agent(model).run(TEXT)
    return [result.usage.input_tokens, result.usage.output_tokens]


async def tools():
    return (await Agent(model, tools=[get_weather]).run(TOOLS)).output


async def responses_tools():
    return (await Agent(responses, tools=[get_weather]).run(TOOLS)).output


async def structured():
    return (await Agent(model, output_type=NativeOutput(Person)).run(STRUCTURED)).output.model_dump()


async def structured_by_tool():
    return (await Agent(model, output_type=Person).run(STRUCTURED)).output.model_dump()


async def images():
    return (await Agent(model).run([TEXT, BinaryContent(IMAGE, media_type="image/png")])).output


async def state_previous():
    return await go_on(openai_previous_response_id="auto")


async def state_unstored():
    return await go_on(openai_store=False)


async def go_on(**settings):
    agent = Agent(responses, model_settings=settings)
    first = await agent.run(TEXT)
    return (await agent.run(AGAIN, message_history=first.all_messages())).output


report(
    "Pydantic AI",
    *(text, stream, usage, tools, responses_tools, structured, structured_by_tool, images),
    *(state_previous, state_unstored),
)
