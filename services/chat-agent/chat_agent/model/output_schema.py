"""Answers that have to be JSON of a schema, which a caller or an agent requires."""

import json
from typing import Any

from agents.agent_output import AgentOutputSchemaBase

from chat_agent.errors import ModelOutputInvalid
from chat_agent.model.schema_validation import SchemaValidator
from chat_agent.model.usage import METER
from chat_agent.runs.options import OutputFormat

INSTRUCTIONS = """

Answer with one JSON value and nothing else: no explanation, no code fence. It must match this JSON schema:
{schema}"""
REPAIR = "Your answer is not valid: {problem} Answer again, with the JSON value alone."


class RequestedOutput(AgentOutputSchemaBase):
    """The schema of an answer, as the SDK wants it; a valid answer stays the text that the model wrote."""

    def __init__(self, format: OutputFormat) -> None:
        self._format = format
        self._validator = SchemaValidator(format.json_schema)
        # What the model has said instead of an answer.
        self.refusal: str | None = None

    def is_plain_text(self) -> bool:
        """Return that it is not."""
        return False

    def name(self) -> str:
        """Return what the caller has named it."""
        return self._format.name

    def json_schema(self) -> dict[str, Any]:
        """Return the schema."""
        return self._format.json_schema

    def is_strict_json_schema(self) -> bool:
        """Return whether the provider is to enforce it."""
        return self._format.is_strict

    def validate_json(self, json_str: str) -> str:
        """Return a valid answer as it is, and one that was cut or refused too; raises ModelOutputInvalid."""
        if self.refusal is not None:
            return self.refusal
        meter = METER.get()
        if (meter is None or not meter.is_truncated) and (problem := self.problem_of(json_str)):
            raise ModelOutputInvalid(f"The model's answer is not what the caller requires: {problem}")
        return json_str

    def problem_of(self, text: str) -> str | None:
        """Return in a sentence what is wrong with an answer, without its text; none where it is valid."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return "It is not JSON."
        mismatch = self._validator.mismatch(value)
        return mismatch and f"It does not match the schema{mismatch.described('the whole value')}."
