"""Moderations without a model: a few words decide (https://platform.openai.com/docs/api-reference/moderations)."""

import re
from uuid import uuid4

from pydantic import BaseModel, JsonValue

from sandbox.messages import Json, text_of

WORDS = {
    "harassment": r"\b(idiot|stupid)\w*",
    "hate": r"\bhate\b",
    "illicit": r"\b(counterfeit|launder)\w*",
    "self-harm": r"\bhurt myself\b",
    "sexual": r"\bporn\w*",
    "violence": r"\b(kill|attack|stab)\w*",
}
CERTAIN, HARMLESS = 0.99, 0.001


class ModerationsRequest(BaseModel):
    """The body of POST /v1/moderations."""

    model: str = "sandbox-moderation"
    input: str | list[JsonValue]

    @property
    def texts(self) -> list[str]:
        """The texts to look at: the parts of a message are one."""
        if isinstance(self.input, str):
            return [self.input]
        if all(isinstance(one, str) for one in self.input):
            return [str(one) for one in self.input]
        return [text_of(self.input)]

    def body(self) -> Json:
        """Return the answer."""
        return {
            "id": f"modr-{uuid4().hex}",
            "model": self.model,
            "results": [result(text) for text in self.texts],
        }


def result(text: str) -> Json:
    """Return what is wrong with a text."""
    categories = {name: bool(re.search(words, text.lower())) for name, words in WORDS.items()}
    return {
        "flagged": any(categories.values()),
        "categories": {**categories},
        "category_scores": {name: CERTAIN if found else HARMLESS for name, found in categories.items()},
        "category_applied_input_types": {name: ["text"] for name in categories},
    }
