"""What people and models write is read in linear time, whatever they write."""

import chat_agent
from chat_agent import schemas
from chat_agent.agents.tool import MAX_OUTPUT
from chat_agent.event_log import translator
from chat_agent.guardrails.keyword_list import KeywordPattern
from chat_agent.guardrails.messages import CHUNK
from chat_agent.memory import grounding
from chat_agent.memory.grounding import is_grounded
from chat_agent.protocols import requests
from chat_agent.runs.schemas import Answer
from chat_agent.tenant_secrets.masking import Mask
from chat_agent.tenant_secrets.schemas import MAX_SECRET
from pydantic import TypeAdapter
from testkit.linear_time import Use, expressions, find_slow

# No text is nearly one of them at every place.
MASK = Mask(["a" * 7999 + "b", "ab" * 4000, "key 1" * 1000])
# Many that nearly stand at every place.
WORDS = KeywordPattern(
    [*(f"{'a ' * 90}{number}" for number in range(100)), *("a " * size for size in range(1, 90))][::-1]
)
FUNCTIONS = {
    "a message": Use(lambda text: schemas.ChatRequest(message=text), schemas.MAX_MESSAGE),
    "a message of another protocol": Use(TypeAdapter(requests.Text).validate_python, schemas.MAX_MESSAGE),
    "a reason": Use(lambda text: Answer(approve=True, reason=text), None),
    "an output": Use(translator.redact, None),
    "what a note rests on": Use(lambda text: is_grounded(text[:1000], text), grounding.MAX_MESSAGE),
    "the longest output": Use(translator.redact, MAX_OUTPUT),
    "words of a list": Use(lambda text: WORDS.search(text, partial=True), CHUNK),
    "a secret": Use(lambda text: Mask([text]), MAX_SECRET),
    "an output with secrets": Use(lambda text: MASK.limited(text, MAX_OUTPUT), None),
}


def test_takes_linear_time_for_the_worst_of_texts():
    assert find_slow(FUNCTIONS) == []


def test_every_expression_is_linear():
    matches = expressions(chat_agent)
    assert len(matches) > 4
    assert find_slow(matches) == []


def test_masks_tokens_wherever_they_stand():
    token = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJl"
    for text in (token, f"Bearer {token}", f"x-{token}", f"a.{token}", f"{token}.{token}", f"eyJ {token}"):
        assert "c2lnbmF0dXJl" not in translator.redact(f"see {text} there"), text
    assert translator.redact("eyJ-eyJ-eyJ is no token") == "eyJ-eyJ-eyJ is no token"
