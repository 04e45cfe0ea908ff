"""Valid definitions of agents, in all their members, with what YAML and databases are known to change."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]
MODELS = ["openai/sandbox-small", "openai/sandbox-large"]
# What YAML reads as something else than a name.
NAMES = ["no", "on", "null", "true", "y", "e1", "support"]
TOOLS = ["current_time", "calculate", "forget_conversation"]
# Of the tenant: an HTTP tool and an MCP server with its tools.
OWN_TOOL, SERVER, REMOTE_TOOLS = "lookup", "shop", ["echo", "pay"]
HARD_TEXTS = [
    *(
        "no",
        "1e3",
        "0x10",
        "0o17",
        "007",
        "1_000",
        "12:30",
        "2026-11-29",
        "2026-11-29T12:00:00Z",
        "~",
        "null",
    ),
    *("<<", "=", "-", "? a", "a: b", "a #b", "#", "&a", "*a", "!!int 1", "%", "@", "`", "{a", "[a", "|", ">"),
    *(
        "'",
        '"',
        "\\",
        "\\n",
        "---",
        "...",
        " ",
        "trailing ",
        "trailing \n",
        " leading",
        "\ttab",
        "a\tb",
        "\t\na",
    ),
    *(
        "\n",
        "\n\na",
        "a\n",
        "a\n\n\n",
        " a\nb",
        "a\n  b\n c",
        "a\r\nb",
        "\r",
        "a\x85b",
        "a\x85\nb",
        "\u2028a\nb\u2029",
    ),
    *("\ufeff", "a\ufeff\nb", "\x1b[0m", "\x7f\n", "\ud7ff\ue000", "\U0001f600", "é\ne\u0301", "\u200f\n"),
    *("word " * 60, "x" * 400, "- a\n- b\n", "a\n---\nb", "a\n...\nb", "a\n# b", "|\n a"),
]
NUMBERS = [0, 1, -1, 1.0, 0.1, -0.0, 1e3, 1e16, 1e-7, 1e22, 2**53, -(2**63), 2**64 - 1, 1e300, -1e300, 5e-324]


def texts(most: int, least: int = 0) -> st.SearchStrategy[str]:
    """Texts that can be stored, of so many characters."""
    any_ = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
    lines = st.lists(any_ | st.sampled_from(HARD_TEXTS), max_size=4).map("\n".join)
    return (st.sampled_from(HARD_TEXTS) | any_ | lines).filter(lambda text: least <= len(text) <= most)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.sampled_from(NUMBERS) | texts(100),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(60), inner, max_size=3),
    max_leaves=4,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": texts(2000),
    "integer": st.integers(-(2**53), 2**53),
    "number": st.sampled_from([one for one in NUMBERS if isinstance(one, float) or abs(one) <= 2**53]),
    "boolean": st.booleans(),
}


def members(optional: dict[str, st.SearchStrategy[Any]], **required: Any) -> st.SearchStrategy[Json]:
    """Objects with some of these members."""
    return st.fixed_dictionaries(required, optional=optional)


def unique(values: Sequence[str], most: int = 3) -> st.SearchStrategy[list[str]]:
    """Some of these values, in any order."""
    return st.lists(st.sampled_from(values), unique=True, max_size=most) if values else st.just([])


@st.composite
def variables(draw: st.DrawFn) -> Json:
    """Variables of each type, with and without a default."""
    declared: Json = {}
    for name in draw(unique(NAMES)):
        kind = draw(st.sampled_from([*VALUES]))
        default = {"default": VALUES[kind] | st.none()}
        declared[name] = draw(members({"description": texts(500), **default}, type=st.just(kind)))
    return declared


@st.composite
def tools(draw: st.DrawFn) -> list[Json]:
    """Tools of the service and of the tenant."""
    used = []
    for name in draw(unique([*TOOLS, OWN_TOOL])):
        approvals = [None, "always", "when_tainted", *(["never"] if name in {"calculate", OWN_TOOL} else [])]
        used.append(draw(members({"approval": st.sampled_from(approvals)}, name=st.just(name))))
    return used


def guardrails() -> st.SearchStrategy[Json]:
    """Guardrails of each kind, in each stage."""
    judged: dict[str, st.SearchStrategy[Any]] = {
        "model": st.sampled_from([None, "sandbox-small", *MODELS]),
        "confidence_threshold": st.sampled_from([0, 0.7, 1.0]),
        "max_turns": st.integers(1, 50),
        "on_error": st.sampled_from(["block", "allow"]),
        "timeout_seconds": st.sampled_from([1, 0.5, 15]),
    }
    word = texts(200, least=1)
    configs: dict[str, st.SearchStrategy[Json]] = {
        "Contains PII": members({"block": st.booleans()}, entities=unique(["EMAIL_ADDRESS", "US_SSN"])),
        "Secret Keys": members({"threshold": st.sampled_from(["strict", "balanced"])}),
        "URL Filter": members(
            {"url_allow_list": st.lists(word, max_size=3), "block_userinfo": st.booleans()}
        ),
        "Keyword Filter": members({}, keywords=st.lists(word, min_size=1, max_size=3)),
        "Jailbreak": members(judged),
        "Custom Prompt Check": members(judged, system_prompt_details=texts(4000, least=1)),
        "Moderation": members({"categories": st.lists(word, max_size=2)}),
    }
    kinds = [members({}, name=st.just(name), config=config) for name, config in configs.items()]
    stage = members({"version": st.just(1)}, guardrails=st.lists(st.one_of(kinds), max_size=3))
    stages = dict.fromkeys(("pre_flight", "input", "output", "tool"), stage)
    return members({"preset": st.sampled_from([None, "none", "minimal", "standard", "strict"]), **stages})


def output_schemas() -> st.SearchStrategy[Json]:
    """Schemas that can be strict, with any values."""
    number = st.sampled_from(NUMBERS)
    annotations: dict[str, st.SearchStrategy[Any]] = {"description": texts(200), "default": JSON_VALUES}
    kinds = [
        members({**annotations, "const": JSON_VALUES}, type=st.just("string")),
        members({**annotations, "minimum": number, "maximum": number}, type=st.just("number")),
        members({**annotations, "enum": st.lists(JSON_VALUES, min_size=1, max_size=3)}),
        members(annotations, type=st.just("array"), items=members(annotations, type=st.just("boolean"))),
    ]
    properties = st.dictionaries(texts(60, least=1), st.one_of(kinds), max_size=4)
    return members({"description": texts(200)}, type=st.just("object"), properties=properties)


@st.composite
def definitions(draw: st.DrawFn, handoffs: Sequence[str], as_tools: Sequence[str]) -> Json:
    """A definition that may hand over to some agents, and call some as tools."""
    declared = draw(variables())
    text = draw(texts(5000, least=1))
    named = [f"{{{{{name}}}}}" for name in declared]
    limits = {
        "turns": st.integers(1, 1000),
        "seconds": st.integers(1, 86_400),
        "tokens": st.integers(1, 10**8),
    }
    model = draw(st.none() | st.sampled_from(MODELS))
    optional: dict[str, st.SearchStrategy[Any]] = {
        "schema_version": st.just(1),
        "description": texts(500),
        "fallbacks": st.just([]) if model is None else st.lists(st.sampled_from(MODELS), max_size=3),
        "settings": members(
            {
                "temperature": st.sampled_from([None, 0, -0.0, 0.5, 1, 1.0, 2]),
                "top_p": st.sampled_from([0, 1e-7, 1.0]),
                "max_output_tokens": st.integers(1, 10**6),
                "reasoning_effort": st.sampled_from(["none", "high"]),
                "verbosity": st.sampled_from(["low", "high"]),
                "parallel_tool_calls": st.booleans(),
            }
        ),
        "tools": tools(),
        "mcp": st.lists(
            members(
                {"allow": st.none() | unique(REMOTE_TOOLS), "approval": st.sampled_from([None, "always"])},
                server=st.just(SERVER),
            ),
            max_size=1,
        ),
        "handoffs": unique(handoffs),
        "as_tools": unique(as_tools),
        "output_schema": st.none() | output_schemas(),
        "limits": members(limits),
        "memory": members(
            {
                "read": st.booleans(),
                "write": st.booleans(),
                "scope": st.sampled_from(["person", "agent"]),
            }
        ),
        "compaction": st.none()
        | members(
            {"share": st.sampled_from([0.7, 0.5]), "tokens": st.none() | st.just(9), "keep_turns": st.just(4)}
        ),
        "guardrails": st.none() | guardrails(),
        "starters": st.lists(texts(500), max_size=3),
        "visibility": st.sampled_from(["tenant", "internal"]),
    }
    # What others name is there.
    needed = {"variables": declared, "model": model}
    required = {member: st.just(value) for member, value in needed.items() if value}
    return draw(members(optional, instructions=st.just(" ".join([text, *named])), **required))


@st.composite
def documents_of_a_file(draw: st.DrawFn) -> list[Json]:
    """Agents of one file. Where some are tools of others, none leads back to an earlier one."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    in_circles = draw(st.booleans())
    documents = []
    for index, name in enumerate(names):
        later = names[index + 1 :]
        handoffs = [one for one in names if one != name] if in_circles else later
        definition = draw(
            definitions(["triage", *handoffs], ["data_analyst", *([] if in_circles else later)])
        )
        note = draw(members({"note": texts(500)}))
        documents.append({"name": name, **note, "definition": definition})
    return documents
