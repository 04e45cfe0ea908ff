"""Embeddings without a model: the same text has the same vector, and similar texts have near ones."""

import base64
import math
import re
import struct
from collections.abc import Iterator
from typing import Literal
from zlib import crc32

from pydantic import BaseModel, Field, JsonValue

from sandbox.messages import Json
from sandbox.tokens import count_tokens

DIMENSIONS = 256
WORD = re.compile(r"\w+")
WORD_WEIGHT, TRIGRAM_WEIGHT = 2.0, 1.0


class EmbeddingsRequest(BaseModel):
    """The body of POST /v1/embeddings."""

    model: str
    input: str | list[str] | list[int] | list[list[int]]
    dimensions: int = Field(default=DIMENSIONS, ge=1, le=4096)
    encoding_format: Literal["float", "base64"] = "float"

    @property
    def texts(self) -> list[str]:
        """The texts; tokens stand for themselves."""
        return texts_of(self.input)

    def body(self) -> Json:
        """Return the answer."""
        tokens = sum(map(count_tokens, self.texts))
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": self._encode(text)}
                for index, text in enumerate(self.texts)
            ],
            "model": self.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    def _encode(self, text: str) -> JsonValue:
        vector = embed(text, self.dimensions)
        if self.encoding_format == "float":
            return [*vector]
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def texts_of(input: str | list[str] | list[int] | list[list[int]]) -> list[str]:
    """Return one text, several, or the tokens of one or several, as texts."""
    if isinstance(input, str):
        return [input]
    if all(isinstance(one, int) for one in input):
        return [" ".join(map(str, input))]
    return [one if isinstance(one, str) else " ".join(map(str, one)) for one in input]  # type: ignore[arg-type]


def embed(text: str, dimensions: int) -> list[float]:
    """Return a vector of length 1: each word, and each three letters of one, has a place and a sign in it."""
    vector = [0.0] * dimensions
    for feature, weight in features(text):
        digest = crc32(feature.encode(errors="replace"))
        vector[digest % dimensions] += weight if digest & 0x80000000 else -weight
    length = math.sqrt(sum(number * number for number in vector)) or 1.0
    return [number / length for number in vector] if any(vector) else [1.0, *vector[1:]]


def features(text: str) -> Iterator[tuple[str, float]]:
    """Yield what a text consists of, and how much it counts."""
    for word in WORD.findall(text.lower()):
        yield word, WORD_WEIGHT
        padded = f"^{word}$"
        for start in range(len(padded) - 2):
            yield padded[start : start + 3], TRIGRAM_WEIGHT
