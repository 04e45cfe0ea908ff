"""LangChain's ChatOpenAI, and an agent's loop over it."""

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel
from report import AGAIN, EMBEDDING_MODEL, IMAGE_URL, MODEL, STRUCTURED, TEXT, TOOLS, get_weather, report

model = ChatOpenAI(model=MODEL, max_retries=0)
responses = ChatOpenAI(model=MODEL, max_retries=0, use_responses_api=True)
threaded = ChatOpenAI(model=MODEL, max_retries=0, use_previous_response_id=True)
unstored = ChatOpenAI(model=MODEL, max_retries=0, use_responses_api=True, store=False)


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def text():
    return model.invoke(TEXT).text


def stream():
    return [chunk.text for chunk in model.stream(TEXT)]


def usage():
    *_, last = [chunk for chunk in model.stream(TEXT, stream_usage=True) if chunk.usage_metadata]
    return [last.usage_metadata["input_tokens"], last.usage_metadata["output_tokens"]]


def tools():
    return run_tools(model)


def responses_tools():
    return run_tools(responses)


def run_tools(model):
    able = model.bind_tools([tool(get_weather)])
    messages = [HumanMessage(TOOLS)]
    while (answer := able.invoke(messages)).tool_calls:
        messages.append(answer)
        for call in answer.tool_calls:
            messages.append(ToolMessage(get_weather(**call["args"]), tool_call_id=call["id"]))
    return answer.text


def structured():
    return model.with_structured_output(Person).invoke(STRUCTURED).model_dump()


def structured_by_tool():
    return model.with_structured_output(Person, method="function_calling").invoke(STRUCTURED).model_dump()


def embeddings():
    # With the check it would send numbers of tokens, for which it loads OpenAI's vocabulary.
    return OpenAIEmbeddings(model=EMBEDDING_MODEL, check_embedding_ctx_length=False).embed_documents(
        [TEXT, TOOLS]
    )


def images():
    return see(model)


def responses_images():
    return see(responses)


def see(model):
    image = {"type": "image", "base64": IMAGE_URL.partition(",")[2], "mime_type": "image/png"}
    return model.invoke([HumanMessage([{"type": "text", "text": TEXT}, image])]).text


def state_previous():
    return go_on(threaded)


def state_unstored():
    return go_on(unstored)


def go_on(model):
    history = [HumanMessage(TEXT)]
    history += [model.invoke(history), HumanMessage(AGAIN)]
    return model.invoke(history).text


report(
    "LangChain",
    *(text, stream, usage, tools, responses_tools, structured, structured_by_tool, embeddings),
    *(images, responses_images, state_previous, state_unstored),
)
