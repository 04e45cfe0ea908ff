"""Values of variables, on every way in."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import openai
import pytest
from openai import OpenAI

from .client_helpers import CHAT, RUNS, STREAM, error_of, openai_client, read_run, wait_until_finished
from .guardrails.test_guardrail_runs import CARD
from .protocols.frontends import AgUiFrontend, UiFrontend
from .test_agent_definitions import AGENTS, publish, published, save
from .test_tenant_agents import (  # noqa: F401  # fixtures
    FORGET,
    approve,
    instructions_sent_with,
    model_url,
    settings,
    versions,
)

Json = dict[str, Any]
# Sends a message and values to the agent `support`.
Send = Callable[[httpx.Client, str, Any], httpx.Response]
AG_UI, UI, COMPLETIONS, RESPONSES = (
    f"{AGENTS}/support/ag-ui",
    "/api/v1/chat/ui",
    "/v1/chat/completions",
    "/v1/responses",
)


def chat_at(path: str) -> Send:
    def send(client: httpx.Client, message: str, values: Any) -> httpx.Response:
        return client.post(path, json={"message": message, "agent_type": "support", "variables": values})

    return send


def complete(client: httpx.Client, message: str, values: Any) -> httpx.Response:
    messages = [{"role": "user", "content": message}]
    return client.post(COMPLETIONS, json={"model": "support", "messages": messages, "variables": values})


def respond(client: httpx.Client, message: str, values: Any) -> httpx.Response:
    return client.post(RESPONSES, json={"prompt": {"id": "support", "variables": values}, "input": message})


def run_ag_ui(client: httpx.Client, message: str, values: Any) -> httpx.Response:
    messages = [{"id": "1", "role": "user", "content": message}]
    forwarded = {"variables": values}
    body = {"threadId": str(uuid4()), "runId": "r", "messages": messages, "forwardedProps": forwarded}
    return client.post(AG_UI, json=body)


def send_ui(client: httpx.Client, message: str, values: Any) -> httpx.Response:
    part = {"type": "text", "text": message}
    messages = [{"id": "1", "role": "user", "parts": [part]}]
    body = {"id": str(uuid4()), "agent_type": "support", "messages": messages, "variables": values}
    return client.post(UI, json=body)


# Where each has the values, in its error.
WAYS_IN: dict[str, tuple[Send, str]] = {
    **{path: (chat_at(path), "variables") for path in (CHAT, STREAM, RUNS, f"{AGENTS}/chat")},
    COMPLETIONS: (complete, "variables"),
    RESPONSES: (respond, "prompt.variables"),
    AG_UI: (run_ag_ui, "forwardedProps.variables"),
    UI: (send_ui, "variables"),
}
ways_in = pytest.mark.parametrize("path", WAYS_IN)


@pytest.fixture
def client(member: httpx.Client) -> Iterator[OpenAI]:
    with openai_client(member) as client:
        yield client


def company(client: httpx.Client, **more: Any) -> None:
    """Publish an agent that needs a value."""
    variables = {"company": {}, "level": {"type": "integer", "default": 3}}
    published(client, "support", instructions="You help {{company}}, {{level}}.", variables=variables, **more)


def problem(response: httpx.Response) -> Json:
    body: Json = response.json()
    return body.get("error", body)


@ways_in
def test_instructions_have_the_values(
    admin: httpx.Client,
    member: httpx.Client,
    model_calls: list[Json],
    path: str,
) -> None:
    company(admin)
    question = f"Hello {uuid4()}"
    response = WAYS_IN[path][0](member, question, {"company": "Initech", "level": "7"})
    assert response.is_success, response.text
    wait_until_finished(member, {"id": response.headers["Acme-Run-Id"]})
    assert instructions_sent_with(model_calls, question) == ["You help Initech, 7."]


@ways_in
@pytest.mark.parametrize(
    ("values", "name", "message"),
    [
        ({}, "company", "needs a value for the variable 'company'"),
        ({"company": "Initech", "level": "seven"}, "level", "not of the type integer"),
        ({"company": "Initech", "level": True}, "level", "not of the type integer"),
        ({"company": "Initech", "other": "x"}, "other", "no variable called 'other'"),
    ],
)
def test_values_that_do_not_fit_are_refused_with_their_place(
    admin: httpx.Client,
    member: httpx.Client,
    path: str,
    values: Json,
    name: str,
    message: str,
) -> None:
    company(admin)
    send, place = WAYS_IN[path]
    document = problem(response := send(member, "Hello", values))
    assert (response.status_code, document["code"]) == (400, "invalid_variables")
    assert document["param"] == f"{place}.{name}"
    assert message in document.get("detail", document.get("message"))
    assert member.get(RUNS).json()["items"] == []


@ways_in
@pytest.mark.parametrize(
    "values",
    [
        "Initech",
        {"company": ["Initech"]},
        {"company": "x" * 2001},
        {"company": "a\0b"},
        {"Company": "Initech"},
        {f"v{number}": 1 for number in range(51)},
    ],
    ids=["text", "list", "long", "nul", "name", "many"],
)
def test_values_have_the_same_limits_everywhere(
    admin: httpx.Client,
    member: httpx.Client,
    path: str,
    values: Any,
) -> None:
    company(admin)
    send, place = WAYS_IN[path]
    response = send(member, "Hello", values)
    document = problem(response)
    status = 400 if path.startswith("/v1") else 422
    assert (response.status_code, document["code"]) == (status, "invalid_request")
    places = [".".join(map(str, one["loc"])) for one in document.get("errors", [])] or [document["param"]]
    assert all(place in one for one in places), document


class TestOpenAIClient:
    def test_a_prompt_names_the_agent(
        self,
        admin: httpx.Client,
        client: OpenAI,
        model_calls: list[Json],
    ) -> None:
        company(admin)
        question = f"Hello {uuid4()}"
        text: Any = {"type": "input_text", "text": "Initrode"}
        prompts: list[Any] = [
            {"id": "support", "variables": {"company": "Initech"}},
            {"id": "support", "version": "1", "variables": {"company": text, "level": "5"}},
        ]
        whole = client.responses.create(prompt=prompts[0], input=question)
        assert (whole.status, whole.model) == ("completed", "support")
        assert whole.prompt is not None
        assert (whole.prompt.id, whole.prompt.variables) == ("support", {"company": "Initech"})
        with client.responses.stream(model="support", prompt=prompts[1], input=question) as stream:
            assert stream.get_final_response().status == "completed"
        assert instructions_sent_with(model_calls, question) == [
            "You help Initech, 3.",
            "You help Initrode, 5.",
        ]

    @pytest.mark.parametrize(
        ("request_", "code", "param"),
        [
            ({"prompt": {"id": "pmpt_123"}}, "agent_not_found", "prompt.id"),
            ({"prompt": {"id": "support"}, "model": "triage"}, "invalid_parameter", "prompt.id"),
            ({"prompt": {"id": "support", "version": "2"}}, "agent_version_not_found", "prompt.version"),
            ({"prompt": {"id": "support", "version": "new"}}, "agent_version_not_found", "prompt.version"),
            ({"prompt": {"id": "triage", "version": "1"}}, "agent_version_not_found", "prompt.version"),
            (
                {"prompt": {"id": "support", "variables": {"company": {"type": "input_image"}}}},
                "unsupported_parameter",
                "prompt.variables.company",
            ),
            ({"prompt": {"id": "support"}}, "invalid_variables", "prompt.variables.company"),
        ],
    )
    def test_a_prompt_that_does_not_fit_is_refused_by_name(
        self,
        admin: httpx.Client,
        client: OpenAI,
        request_: Json,
        code: str,
        param: str,
    ) -> None:
        company(admin)
        save(admin, "support", instructions="A draft.")
        with pytest.raises(openai.APIStatusError) as refused:
            client.responses.create(input="Hello", **request_)
        assert (refused.value.code, refused.value.param) == (code, param)

    def test_a_version_may_be_the_canary(
        self,
        admin: httpx.Client,
        client: OpenAI,
        model_calls: list[Json],
    ) -> None:
        published(admin, "support", instructions="Stable.")
        save(admin, "support", instructions="Canary.")
        publish(admin, "support", percentage=1)
        question = f"Hello {uuid4()}"
        for version in ("2", "1"):
            client.responses.create(prompt={"id": "support", "version": version}, input=question)
        assert instructions_sent_with(model_calls, question) == ["Canary.", "Stable."]

    def test_a_completion_takes_values_in_its_extra_body(
        self,
        admin: httpx.Client,
        client: OpenAI,
        model_calls: list[Json],
    ) -> None:
        company(admin)
        question = f"Hello {uuid4()}"
        request: Json = {"model": "support", "messages": [{"role": "user", "content": question}]}
        values = {"variables": {"company": "Initech"}}
        client.chat.completions.create(**request, extra_body=values, n=2)
        assert [*client.chat.completions.create(**request, extra_body=values, stream=True)]
        assert instructions_sent_with(model_calls, question) == ["You help Initech, 3."] * 3
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(**request)
        assert (refused.value.code, refused.value.param) == ("invalid_variables", "variables.company")

    def test_values_are_of_one_request(
        self,
        admin: httpx.Client,
        client: OpenAI,
        model_calls: list[Json],
    ) -> None:
        company(admin)
        question = f"Hello {uuid4()}"
        prompt: Any = {"id": "support", "variables": {"company": "Initech"}}
        first = client.responses.create(prompt=prompt, input="Hello")
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(model="support", input=question, previous_response_id=first.id)
        assert refused.value.code == "invalid_variables"
        other: Any = {"id": "support", "variables": {"company": "Initrode"}}
        client.responses.create(prompt=other, input=question, previous_response_id=first.id)
        assert instructions_sent_with(model_calls, question) == ["You help Initrode, 3."]


@pytest.mark.parametrize("frontend", [AgUiFrontend, UiFrontend])
def test_outputs_of_tools_go_on_with_the_version_whose_variables_they_name(
    admin: httpx.Client,
    member: httpx.Client,
    model_calls: list[Json],
    frontend: type[Any],
) -> None:
    published(admin, "support", instructions="First {{firm}}.", variables={"firm": {}})
    is_ag_ui = frontend is AgUiFrontend
    shown = AgUiFrontend(member, "support") if is_ag_ui else UiFrontend(member)
    values = {"variables": {"firm": "Initech"}}
    more: Json = {"forwardedProps": values} if is_ag_ui else {"agent_type": "support", **values}
    question = f"Weather [sandbox: call=get_weather] {uuid4()}"
    (call,) = shown.ask(question, **more)
    published(admin, "support", instructions="Second {{company}}.", variables={"company": {}})
    if isinstance(shown, AgUiFrontend):
        shown.answer(call, "Rain.")
    else:
        call |= {"state": "output-available", "output": "Rain."}
    shown.ask(**more)
    assert instructions_sent_with(model_calls, question) == ["First Initech.", "First Initech."]


def test_a_run_that_waits_goes_on_with_its_values_on_another_replica(
    admin: httpx.Client,
    member: httpx.Client,
    client: OpenAI,
    other_url: str,
    model_calls: list[Json],
) -> None:
    company(admin, tools=[FORGET])
    question = f"Forget it [sandbox: call=forget_conversation] {uuid4()}"
    prompt: Any = {"id": "support", "variables": {"company": "Initech"}}
    response = client.responses.create(prompt=prompt, input=question)
    run = read_run(member, {"id": str(UUID(response.id.removeprefix("resp_")))})
    published(admin, "support", instructions="Second.")
    finished = approve(member, run, other_url)
    assert (finished["status"], versions(finished)) == ("completed", {"support": 1})
    assert instructions_sent_with(model_calls, question) == ["You help Initech, 3."] * 2


def test_a_key_is_of_one_set_of_values(admin: httpx.Client, member: httpx.Client) -> None:
    company(admin)
    body: Json = {"model": "support", "messages": [{"role": "user", "content": "Hello"}]}
    key = {"Idempotency-Key": "k"}
    for name, status in (("Initech", 200), ("Initech", 200), ("Initrode", 409)):
        response = member.post(COMPLETIONS, json={**body, "variables": {"company": name}}, headers=key)
        assert response.status_code == status, response.text


@ways_in
def test_guardrails_check_the_values(
    admin: httpx.Client,
    member: httpx.Client,
    model_calls: list[Json],
    path: str,
) -> None:
    def guardrails(**config: Any) -> Json:
        check = {"name": "Contains PII", "config": {"entities": ["CREDIT_CARD"], **config}}
        return {"pre_flight": {"version": 1, "guardrails": [check]}}

    send, _ = WAYS_IN[path]
    company(admin, guardrails=guardrails())
    question = f"Hello {uuid4()}"
    response = send(member, question, {"company": f"Card {CARD}"})
    run = wait_until_finished(member, {"id": response.headers["Acme-Run-Id"]})
    assert run["status"] == "completed"
    assert instructions_sent_with(model_calls, question) == ["You help Card <CREDIT_CARD>, 3."]
    company(admin, guardrails=guardrails(block=True))
    refused = send(member, question, {"company": f"Card {CARD}"})
    assert (refused.status_code, problem(refused)["code"]) == (400, "guardrail_triggered")


def test_the_list_of_agents_says_which_values_each_needs(
    admin: httpx.Client,
    member: httpx.Client,
) -> None:
    variables = {"company": {"description": "Whose shop it is."}, "stars": {"type": "integer", "default": 5}}
    published(admin, "support", instructions="You help at {{company}}: {{stars}}.", variables=variables)
    listed = {one["name"]: one["variables"] for one in member.get(AGENTS).json()}
    assert listed["support"] == [
        {"name": "company", "type": "string", "description": "Whose shop it is.", "default": None},
        {"name": "stars", "type": "integer", "description": "", "default": 5},
    ]
    assert listed["triage"] == []


def test_agents_of_the_service_have_no_variables(member: httpx.Client) -> None:
    body = {"message": "Hello", "variables": {"company": "Initech"}}
    assert error_of(member.post(CHAT, json=body)) == (400, "invalid_variables")
