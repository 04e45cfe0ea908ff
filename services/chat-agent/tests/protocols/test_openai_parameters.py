"""What OpenAI's clients set for a model: sampling, length and the form of the answer."""

import json
from collections.abc import Iterator
from typing import Any, Literal

import httpx
import openai
import pytest
from chat_agent.main import create_app
from chat_agent.settings import Settings
from openai import OpenAI
from pydantic import BaseModel
from testkit.live_server import NO_AUTHORITIES, serving

HELLO: Any = [{"role": "user", "content": "Hello"}]
REVIEW: Any = [{"role": "user", "content": "Review this Python function: def add(a, b): return a - b"}]
LONG: Any = [{"role": "user", "content": "Tell me something [sandbox: tokens=50]"}]
SHARED = {"temperature": 0.5, "top_p": 0.9, "service_tier": "flex", "prompt_cache_key": "mine"}
COMPLETION = {
    **SHARED,
    "max_completion_tokens": 900,
    "stop": ["END"],
    "seed": 7,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "logit_bias": {"50256": -100},
    "reasoning_effort": "low",
    "verbosity": "low",
}


class Person(BaseModel):
    """What is extracted."""

    name: str
    age: int
    kind: Literal["friend", "colleague"]


class Reasoned(BaseModel):
    """An answer that follows from what is written before it; its name is the shorter one."""

    reasoning: str
    answer: str


class Parameters:
    """A client of a service whose models are called with one of OpenAI's APIs, and what the model got."""

    def __init__(self, client: OpenAI, model: httpx.Client) -> None:
        self.client = client
        self._model = model

    def of_last_call(self) -> dict[str, Any]:
        """Return what the model got beside the conversation."""
        return self._model.get("/_sandbox/calls").json()[-1]["parameters"]  # type: ignore[no-any-return]

    def count_calls(self) -> int:
        """Count the calls of the model."""
        return len(self._model.get("/_sandbox/calls").json())


@pytest.fixture(scope="module")
def urls(settings: Settings) -> Iterator[dict[str, str]]:
    changes: dict[str, dict[str, Any]] = {
        "responses": {},
        "chat_completions": {"openai_api": "chat_completions"},
        "told": {"openai_output_schemas": False},
        "denied": {"denied_parameters": {"*": {"seed"}, "triage": {"temperature", "max_output_tokens"}}},
    }
    started: dict[str, str] = {}
    with pytest.MonkeyPatch.context():
        stack = [serving(create_app(settings.model_copy(update=one))) for one in changes.values()]
        started = dict(zip(changes, (one.__enter__() for one in stack), strict=True))
        yield started
        for one in stack:
            one.__exit__(None, None, None)


@pytest.fixture
def at(urls: dict[str, str], ann: httpx.Client, model_url: str) -> Iterator[Any]:
    token = ann.headers["authorization"].removeprefix("Bearer ")
    opened: list[Any] = [httpx.Client(base_url=model_url, verify=NO_AUTHORITIES, timeout=60)]
    opened[0].delete("/_sandbox/calls")

    def client(name: str) -> Parameters:
        opened.append(OpenAI(base_url=f"{urls[name]}/v1", api_key=token, max_retries=0, timeout=60))
        return Parameters(opened[-1], opened[0])

    yield client
    for one in opened:
        one.close()


def test_a_completion_passes_on_how_the_model_samples(at) -> None:
    mine = at("chat_completions")
    mine.client.chat.completions.create(model="triage", messages=HELLO, **COMPLETION)
    sent = mine.of_last_call()
    max_tokens = sent.pop("max_tokens", None) or sent.pop("max_completion_tokens")
    assert max_tokens == 900
    expected = {name: value for name, value in COMPLETION.items() if name != "max_completion_tokens"}
    assert {name: sent[name] for name in expected} == expected


def test_a_response_passes_on_how_the_model_samples_and_echoes_it(at) -> None:
    mine = at("responses")
    response = mine.client.responses.create(
        model="triage",
        input="Hello",
        **SHARED,
        max_output_tokens=900,
        truncation="auto",
        reasoning={"effort": "low"},
        text={"verbosity": "low"},
    )
    sent = mine.of_last_call()
    assert {name: sent[name] for name in SHARED} == SHARED
    assert (sent["max_output_tokens"], sent["truncation"]) == (900, "auto")
    assert (sent["reasoning"]["effort"], sent["text"]["verbosity"]) == ("low", "low")
    again = mine.client.responses.retrieve(response.id)
    for one in (response, again):
        echoed = one.model_dump()
        assert {name: echoed[name] for name in SHARED} == SHARED
        assert (one.max_output_tokens, one.truncation, one.reasoning.effort) == (900, "auto", "low")
        assert one.text.verbosity == "low"


@pytest.mark.parametrize(
    ("provider", "param", "value"),
    [
        ("responses", "stop", ["END"]),
        ("responses", "seed", 7),
        ("responses", "presence_penalty", 0.5),
        ("responses", "logit_bias", {"1": 1}),
    ],
)
def test_what_the_provider_does_not_take_is_refused_by_name(at, provider, param, value) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        at(provider).client.chat.completions.create(model="triage", messages=HELLO, **{param: value})
    assert (refusal.value.code, refusal.value.param) == ("unsupported_parameter", param)


def test_what_says_nothing_new_is_taken_by_every_provider(at) -> None:
    neutral: Any = {"presence_penalty": 0, "frequency_penalty": 0, "logit_bias": {}, "stop": None}
    for provider in ("responses", "chat_completions"):
        assert at(provider).client.chat.completions.create(model="triage", messages=HELLO, **neutral).choices
    response = at("chat_completions").client.responses.create(
        model="triage", input="Hello", truncation="disabled"
    )
    assert response.status == "completed"


@pytest.mark.parametrize(
    ("agent", "param", "value"),
    [
        ("triage", "temperature", 1),
        ("triage", "max_tokens", 5),
        ("triage", "max_completion_tokens", 5),
        ("code_assistant", "seed", 1),
    ],
)
def test_what_the_operator_denies_is_refused_by_the_name_that_the_client_has_sent(
    at, agent, param, value
) -> None:
    client = at("denied").client
    with pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(model=agent, messages=HELLO, **{param: value})
    assert (refusal.value.code, refusal.value.param) == ("parameter_not_allowed", param)
    assert client.chat.completions.create(model="code_assistant", messages=HELLO, temperature=1).choices


@pytest.mark.parametrize(
    ("param", "value"),
    [("temperature", 3), ("top_p", -1), ("max_tokens", 0), ("stop", ["a"] * 5), ("reasoning_effort", "huge")],
)
def test_what_is_out_of_range_is_refused_before_a_run_begins(at, param, value) -> None:
    mine = at("chat_completions")
    before = mine.count_calls()
    with pytest.raises(openai.BadRequestError) as refusal:
        mine.client.chat.completions.create(model="triage", messages=HELLO, **{param: value})
    assert refusal.value.param.startswith(param)
    assert mine.count_calls() == before


def test_the_same_key_with_other_options_is_a_conflict(at) -> None:
    client = at("responses").client
    once = {"extra_headers": {"Idempotency-Key": "options"}}
    first = client.responses.create(model="triage", input="Hello", temperature=0.5, **once)
    assert client.responses.create(model="triage", input="Hello", temperature=0.5, **once).id == first.id
    with pytest.raises(openai.APIStatusError) as refusal:
        client.responses.create(model="triage", input="Hello", temperature=0.6, **once)
    assert refusal.value.code == "idempotency_conflict"


@pytest.mark.parametrize("provider", ["responses", "chat_completions"])
class TestLength:
    def test_a_completion_that_was_cut_says_so(self, at, provider: str) -> None:
        client = at(provider).client
        completion = client.chat.completions.create(model="triage", messages=LONG, max_tokens=5)
        [choice] = completion.choices
        assert (choice.finish_reason, completion.usage.completion_tokens) == ("length", 5)
        assert choice.message.content
        chunks = [*client.chat.completions.create(model="triage", messages=LONG, max_tokens=5, stream=True)]
        assert chunks[-1].choices[0].finish_reason == "length"
        whole = client.chat.completions.create(model="triage", messages=LONG, max_tokens=60)
        assert whole.choices[0].finish_reason == "stop"

    def test_a_response_that_was_cut_is_incomplete(self, at, provider: str) -> None:
        client = at(provider).client
        request: Any = {"model": "triage", "input": LONG, "max_output_tokens": 20}
        response = client.responses.create(**request)
        assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
        events = [*client.responses.create(**request, stream=True)]
        assert events[-1].type == "response.incomplete"
        assert events[-1].response.incomplete_details.reason == "max_output_tokens"
        assert client.responses.retrieve(response.id).status == "incomplete"


@pytest.mark.parametrize("provider", ["responses", "chat_completions", "told"])
class TestStructuredOutput:
    def test_a_completion_is_parsed(self, at, provider: str) -> None:
        client = at(provider).client
        parsed = client.chat.completions.parse(model="triage", messages=HELLO, response_format=Person)
        assert isinstance(parsed.choices[0].message.parsed, Person)

    def test_so_is_what_comes_of_a_handoff(self, at, provider: str) -> None:
        client = at(provider).client
        with client.chat.completions.stream(
            model="triage", messages=REVIEW, response_format=Person
        ) as stream:
            final = stream.get_final_completion()
        assert isinstance(final.choices[0].message.parsed, Person)

    def test_a_response_is_parsed(self, at, provider: str) -> None:
        client = at(provider).client
        response = client.responses.parse(model="triage", input="Hello", text_format=Person)
        assert isinstance(response.output_parsed, Person)
        with client.responses.stream(model="triage", input="Hello", text_format=Person) as stream:
            assert isinstance(stream.get_final_response().output_parsed, Person)
        assert client.responses.retrieve(response.id).text.format.name == "Person"

    def test_any_object(self, at, provider: str) -> None:
        client = at(provider).client
        any_object: Any = {"type": "json_object"}
        completion = client.chat.completions.create(
            model="triage", messages=HELLO, response_format=any_object
        )
        assert isinstance(json.loads(completion.choices[0].message.content), dict)
        response = client.responses.create(model="triage", input="Hello", text={"format": any_object})
        assert isinstance(json.loads(response.output_text), dict)
        assert response.text.format.type == "json_object"

    def test_an_answer_of_another_form_is_a_stated_failure(self, at, provider: str) -> None:
        mine = at(provider)
        message: Any = [{"role": "user", "content": "Hello [sandbox: malformed-output]"}]
        if provider == "told":
            # What is wrong is said to the model once, and its second answer is the one that counts.
            parsed = mine.client.chat.completions.parse(
                model="triage", messages=message, response_format=Person
            )
            assert isinstance(parsed.choices[0].message.parsed, Person)
            assert mine.count_calls() == 2
            return
        with pytest.raises(openai.InternalServerError) as failure:
            mine.client.chat.completions.parse(model="triage", messages=message, response_format=Person)
        assert failure.value.code == "model_output_invalid"

    def test_a_refusal_is_one(self, at, provider: str) -> None:
        message: Any = [{"role": "user", "content": "Hello [sandbox: refuse]"}]
        parsed = at(provider).client.chat.completions.parse(
            model="triage", messages=message, response_format=Person
        )
        assert parsed.choices[0].message.refusal
        assert parsed.choices[0].message.parsed is None


@pytest.mark.parametrize(
    ("schema", "is_strict"),
    [
        ({"type": "thing"}, False),
        ({"$ref": "http://127.0.0.1:1/schema"}, False),
        ({"type": "string", "pattern": "("}, False),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, True),
        ({"type": "array", "items": {"type": "object", "properties": {"a": {}}, "required": ["a"]}}, True),
    ],
)
def test_what_is_no_schema_is_refused(at, schema, is_strict) -> None:
    client = at("responses").client
    named = {"name": "mine", "schema": schema, "strict": is_strict}
    with pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(
            model="triage", messages=HELLO, response_format={"type": "json_schema", "json_schema": named}
        )
    assert refusal.value.param == "response_format.json_schema.schema"
    with pytest.raises(openai.BadRequestError) as refusal:
        client.responses.create(
            model="triage", input="Hello", text={"format": {"type": "json_schema", **named}}
        )
    assert refusal.value.param == "text.format.schema"


def test_a_schema_keeps_the_order_of_its_properties(at) -> None:
    mine = at("responses")
    response = mine.client.responses.parse(model="triage", input="Hello", text_format=Reasoned)
    sent = mine.of_last_call()["text"]["format"]["schema"]
    assert [*sent["properties"]] == [*json.loads(response.output_text)] == ["reasoning", "answer"]
