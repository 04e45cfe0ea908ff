"""Vectors of texts as float32, and which are near a message's.

Not every Postgres that Acme runs on has an extension for vectors, and a person has at most 1000 memories:
comparing all takes 50 ms of a processor, in a thread.
"""

import heapq
import math
from array import array
from collections.abc import Sequence
from operator import mul
from typing import TypeVar

T = TypeVar("T")

# Less alike is what texts of one language always are.
MIN_SIMILARITY = 0.2


def pack(numbers: Sequence[float]) -> bytes:
    """Return a vector of length 1 as it is stored."""
    length = math.sqrt(sum(map(mul, numbers, numbers))) or 1.0
    return array("f", [number / length for number in numbers]).tobytes()


def nearest(query: bytes, vectors: Sequence[tuple[T, bytes]], limit: int) -> list[T]:
    """Return what the vectors stand for that are nearest to another, the nearest first."""
    one = unpack(query)
    similarities = [
        (sum(map(mul, one, unpack(vector))), index)
        for index, (_, vector) in enumerate(vectors)
        if len(vector) == len(query)
    ]
    best = heapq.nlargest(limit, similarities)
    return [vectors[index][0] for similarity, index in best if similarity >= MIN_SIMILARITY]


def unpack(stored: bytes) -> "array[float]":
    """Return the numbers of a stored vector."""
    numbers = array("f")
    numbers.frombytes(stored)
    return numbers
