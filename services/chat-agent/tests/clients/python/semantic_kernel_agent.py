"""Semantic Kernel's chat completion agent."""

from openai import AsyncOpenAI
from pydantic import BaseModel
from report import API_KEY, BASE_URL, IMAGE_URL, MODEL, STRUCTURED, TEXT, TOOLS, get_weather, report
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion, OpenAIChatPromptExecutionSettings
from semantic_kernel.contents import ChatMessageContent, ImageContent, TextContent
from semantic_kernel.functions import KernelArguments, kernel_function

client = AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0)
service = OpenAIChatCompletion(ai_model_id=MODEL, async_client=client)


class Person(BaseModel):
    name: str
    age: int


class Weather:
    get_weather = staticmethod(kernel_function(name="get_weather")(get_weather))


async def text():
    return str(await ChatCompletionAgent(service=service).get_response(TEXT))


async def stream():
    return [str(chunk.message) async for chunk in ChatCompletionAgent(service=service).invoke_stream(TEXT)]


async def usage():
    answer = await ChatCompletionAgent(service=service).get_response(TEXT)
    used = answer.message.metadata["usage"]
    return [used.prompt_tokens, used.completion_tokens]


async def tools():
    agent = ChatCompletionAgent(service=service, plugins=[Weather()])
    return str(await agent.get_response(TOOLS.replace("get_weather", "Weather-get_weather")))


async def structured():
    settings = OpenAIChatPromptExecutionSettings(response_format=Person)
    agent = ChatCompletionAgent(service=service, arguments=KernelArguments(settings))
    return Person.model_validate_json(str(await agent.get_response(STRUCTURED))).model_dump()


async def images():
    message = ChatMessageContent("user", items=[TextContent(text=TEXT), ImageContent(data_uri=IMAGE_URL)])
    return str(await ChatCompletionAgent(service=service).get_response(message))


report("Semantic Kernel", text, stream, usage, tools, structured, images)
