"""OpenAI's Agents SDK: an agent elsewhere, whose model is an agent of ours."""

from agents import Agent, OpenAIProvider, RunConfig, Runner, function_tool
from pydantic import BaseModel
from report import MODEL, STRUCTURED, TEXT, TOOLS, get_weather, report

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


report("Agents SDK (Python)", text, stream, usage, tools, chat_tools, structured)
