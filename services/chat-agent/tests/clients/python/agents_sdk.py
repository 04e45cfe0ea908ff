"""OpenAI's Agents SDK: an agent elsewhere, whose model is an agent of ours."""

from agents import (
    Agent,
    ModelSettings,
    OpenAIConversationsSession,
    OpenAIProvider,
    RunConfig,
    Runner,
    function_tool,
)
from pydantic import BaseModel
from report import AGAIN, IMAGE_URL, MODEL, STRUCTURED, TEXT, TOOLS, get_weather, report

RESPONSES = RunConfig(model_provider=OpenAIProvider(use_responses=True), tracing_disabled=True)
CHAT = RunConfig(model_provider=OpenAIProvider(use_responses=False), tracing_disabled=True)


class Person(BaseModel):
    name: str
    age: int


def agent(**more):
    return Agent(name="Mine", instructions="Be brief.", model=MODEL, **more)


async def text():
    return (await Runner.run(agent(), TEXT, run_config=RESPONSES)).final_output


async def stream():
    events = Runner.run_streamed(agent(), TEXT, run_config=RESPONSES).stream_events()
    data = [event.data async for event in events if event.type == "raw_response_event"]
    return [each.delta for each in data if each.type == "response.output_text.delta"]


async def usage():
    used = (await Runner.run(agent(), TEXT, run_config=RESPONSES)).context_wrapper.usage
    return [used.input_tokens, used.output_tokens]


async def tools():
    return (
        await Runner.run(agent(tools=[function_tool(get_weather)]), TOOLS, run_config=RESPONSES)
    ).final_output


async def chat_tools():
    result = Runner.run_streamed(agent(tools=[function_tool(get_weather)]), TOOLS, run_config=CHAT)
    async for _ in result.stream_events():
        pass
    return result.final_output


async def structured():
    return (
        await Runner.run(agent(output_type=Person), STRUCTURED, run_config=RESPONSES)
    ).final_output.model_dump()


async def images():
    parts = [{"type": "input_text", "text": TEXT}, {"type": "input_image", "image_url": IMAGE_URL}]
    return (
        await Runner.run(agent(), [{"role": "user", "content": parts}], run_config=RESPONSES)
    ).final_output


async def state_previous():
    first = await Runner.run(agent(), TEXT, run_config=RESPONSES)
    previous = {"previous_response_id": first.last_response_id}
    return (await Runner.run(agent(), AGAIN, run_config=RESPONSES, **previous)).final_output


async def state_unstored():
    forgetful = agent(model_settings=ModelSettings(store=False))
    first = await Runner.run(forgetful, TEXT, run_config=RESPONSES)
    history = [*first.to_input_list(), {"role": "user", "content": AGAIN}]
    return (await Runner.run(forgetful, history, run_config=RESPONSES)).final_output


async def state_session():
    session = OpenAIConversationsSession()
    for text in (TEXT, AGAIN):
        result = await Runner.run(agent(), text, run_config=RESPONSES, session=session)
    await session.clear_session()
    return result.final_output


report(
    "Agents SDK (Python)",
    *(text, stream, usage, tools, chat_tools, structured, images),
    *(state_previous, state_unstored, state_session),
)
