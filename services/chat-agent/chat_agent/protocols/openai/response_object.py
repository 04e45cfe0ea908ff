"""The response object of OpenAI's Responses, made of a run."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from chat_agent.errors import RunNotFound
from chat_agent.models import Run, RunStatus
from chat_agent.runs.options import ClientTool, RunOptions

Json = dict[str, Any]
ID = re.compile(r"resp_[0-9a-f]{32}")


def response_of(run: Run, request: Json) -> Json:
    """Return the response before any event, with the client's parameters echoed."""
    id_, previous = response_id(run.id), request.get("previous_response_id")
    options = RunOptions.model_validate(run.options)
    return {
        "id": id_,
        "object": "response",
        "created_at": int(run.created_at.timestamp()),
        "status": "queued" if run.status == RunStatus.QUEUED else "in_progress",
        "background": bool(request.get("background")),
        "error": None,
        "incomplete_details": None,
        "instructions": request.get("instructions"),
        "max_output_tokens": options.max_output_tokens,
        "metadata": request.get("metadata") or {},
        "model": run.agent,
        "output": [],
        "parallel_tool_calls": options.parallel_tool_calls is not False,
        # A response that goes on after an approval stays the same one.
        "previous_response_id": None if previous == id_ else previous,
        "conversation": {"id": conversation_name(run.conversation_id)},
        "store": run.persistence != "none",
        "temperature": options.temperature,
        "text": text_of(options),
        "reasoning": {"effort": options.reasoning_effort, "summary": None},
        "service_tier": options.service_tier,
        "prompt": request.get("prompt"),
        "prompt_cache_key": options.prompt_cache_key,
        "tool_choice": choice_of(options),
        "top_logprobs": options.top_logprobs or 0,
        "tools": tools_of(options.tools),
        "top_p": options.top_p,
        "truncation": options.truncation or "disabled",
        "usage": None,
        "safety_identifier": request.get("safety_identifier"),
        "user": request.get("user"),
    }


def choice_of(options: RunOptions) -> str | Json:
    """Return which tool was to be called."""
    choice = options.tool_choice or "auto"
    if choice in {"auto", "none", "required"}:
        return choice
    tool = next((tool_of(one) for one in options.tools if one.name == choice), {"name": choice})
    return {"type": tool.get("type", "function"), "name": tool["name"]}


def tools_of(tools: Sequence[ClientTool]) -> list[Json]:
    """Return the tools as the client has sent them; those of a namespace are in it."""
    output: list[Json] = []
    namespaces: dict[str, Json] = {}
    for tool in tools:
        if tool.namespace is None:
            output.append(tool_of(tool))
            continue
        if tool.namespace not in namespaces:
            named = {"type": "namespace", "name": tool.namespace}
            group: Json = {**named, **described(tool.namespace_description), "tools": []}
            namespaces[tool.namespace] = group
            output.append(group)
        namespaces[tool.namespace]["tools"].append(tool_of(tool))
    return output


def tool_of(tool: ClientTool) -> Json:
    """Return a tool of the client, by the name that it has there."""
    name = tool.client_name or tool.name
    if tool.input_format is not None:
        format_ = {"format": tool.input_format} if tool.input_format else {}
        return {"type": "custom", "name": name, **described(tool.description), **format_}
    return {
        "type": "function",
        "name": name,
        **described(tool.description),
        "parameters": tool.parameters,
        "strict": tool.is_strict,
    }


def described(description: str | None) -> Json:
    """Return the member that describes a tool or a namespace, if its client describes it."""
    return {} if description is None else {"description": description}


def text_of(options: RunOptions) -> Json:
    """Return in what form the text of an answer was requested."""
    output = options.output
    format_: Json = {"type": output.type if output else "text"}
    if output is not None and output.type == "json_schema":
        format_ |= {
            "name": output.name,
            "schema": output.json_schema,
            "strict": output.is_strict,
        }
    return {"format": format_, **({"verbosity": options.verbosity} if options.verbosity else {})}


def usage_of(usage: Json) -> Json:
    """Return a run's usage as Responses has it."""
    tokens_in, tokens_out = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
    return {
        "input_tokens": tokens_in,
        "input_tokens_details": {"cached_tokens": usage.get("cached_tokens", 0), "cache_write_tokens": 0},
        "output_tokens": tokens_out,
        "output_tokens_details": {"reasoning_tokens": usage.get("reasoning_tokens", 0)},
        "total_tokens": tokens_in + tokens_out,
    }


def call_result(item: Mapping[str, Any]) -> Json:
    """Return what the output of a tool sets in the `mcp_call` of its call."""
    if not item.get("failed"):
        return {"output": item["output"]}
    content = [{"type": "text", "text": item["output"]}]
    return {"error": {"type": "mcp_tool_execution_error", "content": content}}


def text_part(text: str, logprobs: Sequence[Json] = (), citations: Sequence[Json] = ()) -> Json:
    """Return a part of a message that is text, with its citations."""
    annotations = [{"type": "url_citation", **url_citation(one)} for one in citations]
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": [*logprobs]}


def url_citation(citation: Json) -> Json:
    """Return a citation as OpenAI has it."""
    place = {"start_index": citation["start"], "end_index": citation["end"]}
    return {**place, "url": citation["url"], "title": citation["title"]}


def response_id(run_id: UUID) -> str:
    """Return the response id of a run."""
    return f"resp_{run_id.hex}"


def run_id_of(name: str) -> UUID:
    """Return the run that a response is; raises RunNotFound for what cannot be one."""
    if not ID.fullmatch(name):
        raise RunNotFound("There is no such response.")
    return UUID(hex=name.removeprefix("resp_"))


def conversation_name(conversation_id: UUID) -> str:
    """Return the OpenAI id of a conversation."""
    return f"conv_{conversation_id.hex}"
