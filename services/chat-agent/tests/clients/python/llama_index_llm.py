"""LlamaIndex's OpenAILike."""

from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel
from report import API_KEY, BASE_URL, IMAGE, MODEL, STRUCTURED, TEXT, TOOLS, get_weather, report

llm = OpenAILike(
    MODEL,
    api_base=BASE_URL,
    api_key=API_KEY,
    is_chat_model=True,
    is_function_calling_model=True,
    should_use_structured_outputs=True,
    max_retries=0,
)


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def text():
    return llm.complete(TEXT).text


def stream():
    return [chunk.delta for chunk in llm.stream_chat([ChatMessage(TEXT)])]


def usage():
    used = llm.chat([ChatMessage(TEXT)]).raw.usage
    return [used.prompt_tokens, used.completion_tokens]


def tools():
    tool = FunctionTool.from_defaults(get_weather)
    return llm.predict_and_call([tool], TOOLS).response


def structured():
    return llm.as_structured_llm(Person).complete(STRUCTURED).raw.model_dump()


def images():
    blocks = [TextBlock(text=TEXT), ImageBlock(image=IMAGE, image_mimetype="image/png")]
    return llm.chat([ChatMessage(blocks=blocks)]).message.content


report("LlamaIndex", text, stream, usage, tools, structured, images)
