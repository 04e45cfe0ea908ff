"""The tool that calculates: a parser of arithmetic, which executes nothing else."""

import ast
import math
import operator
import sys
from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from chat_agent.agents.tool import tool
from chat_agent.errors import ToolFailed

Number = int | float
MAX_LENGTH = 200
# A result with more digits is of no use, and takes long.
MAX_BITS = 4096
MAX_FACTORIAL = 170
BINARY: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
UNARY: dict[type[ast.unaryop], Callable[[Number], Number]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
CONSTANTS = {"pi": math.pi, "e": math.e}
FUNCTIONS: dict[str, Callable[..., Number]] = {
    "abs": abs,
    "ceil": math.ceil,
    "cos": math.cos,
    "exp": math.exp,
    "factorial": lambda number: math.factorial(limited(number, MAX_FACTORIAL)),
    "floor": math.floor,
    "log": math.log,
    "log10": math.log10,
    "max": max,
    "min": min,
    "round": round,
    "sin": math.sin,
    "sqrt": math.sqrt,
    "tan": math.tan,
}


@tool()
async def calculate(
    expression: Annotated[
        str, Field(max_length=MAX_LENGTH, description="Arithmetic, such as (3 + 4) * 2 ** 10 or sqrt(2).")
    ],
) -> str:
    """Calculate the value of an arithmetic expression."""
    return evaluate(expression)


TOOLS = [calculate]


def evaluate(expression: str) -> str:
    """Return the value of an expression; raises ToolFailed for what is no arithmetic or has no value."""
    try:
        value = value_of(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError):
        raise ToolFailed("This is not an arithmetic expression.") from None
    except ZeroDivisionError:
        raise ToolFailed("A division by zero has no value.") from None
    except (ArithmeticError, TypeError, ValueError):
        raise ToolFailed("This has no value, or one that is too large.") from None
    if isinstance(value, complex):
        raise ToolFailed("This has no real value.")
    return str(value) if isinstance(value, int) else f"{value:.{sys.float_info.dig}g}"


def value_of(node: ast.expr) -> Number:
    """Return the value of a part of an expression."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return finite(number)
        case ast.Name(id=name) if name in CONSTANTS:
            return CONSTANTS[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in UNARY:
            return UNARY[type(op)](value_of(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            return calculated(op, value_of(left), value_of(right))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*map(value_of, arguments))
    raise ToolFailed(f"{ast.unparse(node)} is not arithmetic.")


def calculated(op: ast.operator, left: Number, right: Number) -> Number:
    """Return the result of an operation; raises OverflowError before it grows too large."""
    if isinstance(left, int) and isinstance(right, int):
        times = right if isinstance(op, ast.Pow) else 1
        if left.bit_length() * times > MAX_BITS:
            raise OverflowError
    return finite(BINARY[type(op)](left, right))


def finite(number: Number) -> Number:
    """Return a number; raises OverflowError for infinity, with which calculations would go on."""
    if isinstance(number, float) and not math.isfinite(number):
        raise OverflowError
    return number


def limited(number: int, limit: int) -> int:
    """Return a number; raises OverflowError where it is beyond a limit."""
    if number > limit:
        raise OverflowError
    return number
