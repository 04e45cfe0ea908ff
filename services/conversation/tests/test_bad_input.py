"""Nothing that is sent is answered with a 500."""

import json

import pytest

CONVERSATIONS = "/api/v1/conversations"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def items(ann, begin):
    return f"{CONVERSATIONS}/{await begin(ann)}/items"


def with_data(text):
    return '{"items": [{"id": "a", "data": ' + text + "}]}"


MALFORMED = ["{", "[1,]", "not json", '{"items": [}', "\x00", "{'items': []}"]


async def test_tells_that_a_body_is_not_json(ann, items):
    for body in MALFORMED:
        answer = await ann.post(items, content=body, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json"), body


DISLIKED = [
    b'{"items": "\xff\xfe"}',
    b"\xff",
    b"[" * 200_000,
    with_data("[" * 5000 + "]" * 5000).encode(),
    with_data("9" * 5000).encode(),
    b'{"a":' * 100_000,
]


async def test_survives_a_body_that_no_json_parser_likes(ann, items):
    for body in DISLIKED:
        answer = await ann.post(items, content=body, headers=JSON)
        assert answer.status_code in {400, 422}, body[:50]
        assert answer.headers["content-type"] == "application/problem+json"


UNSTORABLE = {
    "nul_character": [r'{"content": "a\u0000b"}', r'{"\u0000": 1}', r'{"deep": [{"deeper": ["\u0000"]}]}'],
    "lone_surrogate": [
        r'{"content": "\ud800"}',
        r'{"\udfff": 1}',
        r'[["\ud83d x"]]',
        r'{"a": "\udc00\ud800"}',
    ],
    "not_finite": ['{"n": NaN}', '{"n": [-Infinity]}', '{"n": 1e400}'],
    "too_deep": ['{"a": ' * 101 + "1" + "}" * 101, '{"a": ' + "[" * 150 + "]" * 150 + "}"],
}


@pytest.mark.parametrize("kind", UNSTORABLE)
async def test_names_what_cannot_be_stored(ann, items, kind):
    for data in UNSTORABLE[kind]:
        answer = await ann.post(items, content=with_data(data), headers=JSON)
        assert answer.status_code == 422, data
        assert [error["type"] for error in answer.json()["errors"]] == [kind]

    assert (await ann.get(items)).json()["items"] == []


HARMLESS = [
    r'{"content": "\\u0000 is how one writes it"}',
    r'{"content": "\ud83d\ude00"}',
    '{"a": ' * 99 + "1" + "}" * 99,
]


async def test_keeps_what_only_looks_like_it(ann, begin):
    for data in HARMLESS:
        path = f"{CONVERSATIONS}/{await begin(ann)}/items"
        answer = await ann.post(path, content=with_data(data), headers=JSON)
        assert answer.status_code == 200, data
        assert answer.json()["items"][0]["data"] == json.loads(data)


MISSHAPEN = [
    None,
    [],
    "text",
    7,
    {},
    {"items": None},
    {"items": {}},
    {"items": ["x"]},
    {"items": [{"id": "a"}]},
    {"items": [{"data": {}}]},
    {"items": [{"id": 1, "data": {}}]},
    {"items": [{"id": None, "data": {}}]},
    {"items": [{"id": "", "data": {}}]},
    {"items": [{"id": "x" * 129, "data": {}}]},
    {"items": [{"id": "with space", "data": {}}]},
    {"items": [{"id": "../up", "data": {}}]},
    {"items": [{"id": "a\n", "data": {}}]},
    {"items": [{"id": "a\0", "data": {}}]},
    {"items": [{"id": "a", "data": []}]},
    {"items": [{"id": "a", "data": "text"}]},
    {"items": [{"id": "a", "data": None}]},
    {"items": [{"id": "a", "data": {}, "role": "admin"}]},
    {"items": [{"id": "a", "data": {}}], "position": 1},
    {"items": [{"id": "a", "data": {}}, {"id": "a", "data": {}}]},
]


async def test_refuses_items_of_another_shape(ann, items):
    for body in MISSHAPEN:
        answer = await ann.post(items, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), body
        assert answer.json()["errors"]

    assert (await ann.get(items)).json()["items"] == []


UNTITLED = [
    {"title": ""},
    {"title": "  "},
    {"title": "x" * 201},
    {"title": 7},
    {"title": "a\0b"},
    {"name": "x"},
    [],
    "x",
]


async def test_refuses_a_conversation_of_another_shape(ann):
    for body in UNTITLED:
        assert (await ann.post(CONVERSATIONS, json=body)).status_code == 422, body

    assert (await ann.get(CONVERSATIONS)).json()["items"] == []


async def test_refuses_half_a_character_in_a_title(ann):
    answer = await ann.post(CONVERSATIONS, content=r'{"title": "\ud800"}', headers=JSON)

    assert answer.status_code == 422


async def test_takes_messages_of_any_kind_of_content(ann, items):
    contents = ["", " ", None, 7, {}, [], [None], ["text"], [{"text": 7}], [{"type": "input_image"}], [[[]]]]
    odd = [
        {"id": f"c{number}", "data": {"role": "user", "content": one}} for number, one in enumerate(contents)
    ]
    roles = [
        {"id": f"r{number}", "data": {"role": one, "content": "x"}}
        for number, one in enumerate([None, [], {}, 7])
    ]

    answer = await ann.post(items, json={"items": odd + roles})

    assert answer.status_code == 200
    assert (await ann.get(items.removesuffix("/items"))).json()["message_count"] == 0


async def test_refuses_an_id_that_is_none(ann):
    for path in ("/not-a-uuid", "/%00", "/" + "x" * 5000, "/7c0e7a3e/items", "/%F0%28%8C%BC"):
        answer = await ann.get(CONVERSATIONS + path)
        assert answer.status_code == 422, path
        assert answer.headers["content-type"] == "application/problem+json"


async def test_searches_for_anything_or_says_why_not(ann):
    answers = {"": 422, "%00": 422, "a%00b": 422, "x" * 201: 422, "%ff": 200, "%ed%a0%80": 200}
    for query, status in answers.items():
        assert (await ann.get(f"{CONVERSATIONS}/search?query={query}")).status_code == status, query


async def test_wants_a_query_to_search_for(ann):
    assert (await ann.get(f"{CONVERSATIONS}/search")).status_code == 422


async def test_gives_between_1_and_1000_last_items(service):
    path = "/internal/v1/conversations/7c0e7a3e-0000-4000-8000-000000000000/items"
    for last in (0, 1001, -1, "x", "9" * 20):
        assert (await service().get(path, params={"last": last})).status_code == 422, last


RUN = "7c0e7a3e-0000-4000-8000-000000000001"
TURN = f"/internal/v1/conversations/7c0e7a3e-0000-4000-8000-000000000000/turns/{RUN}"
NO_NUMBERS = (0, -1, "x", "200", None, 1.5, True, 10**20)
A_TURN = {"attempt": 1, "items": []}
NO_TURNS = [
    None,
    [],
    {},
    {"attempt": 1},
    {"items": []},
    A_TURN | {"items": None},
    A_TURN | {"more": 1},
    A_TURN | {"items": [{"id": f"{RUN}-1"}]},
    A_TURN | {"items": [{"id": f"{RUN}-1", "data": {}}] * 2},
    A_TURN | {"items": [{"id": f"{RUN}-{number}", "data": {}} for number in range(101)]},
    *(A_TURN | {"last": last} for last in (1001, *NO_NUMBERS)),
    *(A_TURN | {"attempt": attempt} for attempt in (2**31, *NO_NUMBERS)),
]


async def test_refuses_a_turn_of_another_shape(service):
    ann = service()
    for body in NO_TURNS:
        answer = await ann.put(TURN, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), body

    assert (await ann.get(TURN.replace(f"turns/{RUN}", "items"))).status_code == 404


async def test_names_what_cannot_be_stored_of_a_turn(service):
    for kind, examples in UNSTORABLE.items():
        for data in examples:
            content = with_data(data).replace('{"items"', '{"attempt": 1, "items"', 1)
            answer = await service().put(TURN, content=content, headers=JSON)
            assert [error["type"] for error in answer.json()["errors"]] == [kind]


async def test_refuses_a_run_id_that_is_none(service):
    for run_id in ("x", "%00", "7c0e7a3e", "%25"):
        path = TURN.replace(RUN, run_id)
        assert (await service().put(path, json=A_TURN)).status_code == 422, run_id
        assert (await service().delete(path, params={"attempt": 1})).status_code == 422, run_id


async def test_refuses_to_take_a_turn_back_for_no_attempt(service):
    assert (await service().delete(TURN)).status_code == 422
    for attempt in (0, -1, "x", "1.5", 2**31, 10**20):
        assert (await service().delete(TURN, params={"attempt": attempt})).status_code == 422, attempt


async def test_answers_an_unknown_path_and_method_with_a_problem(ann):
    for method, path, code in [
        ("GET", "/nowhere", "not_found"),
        ("PATCH", CONVERSATIONS, "method_not_allowed"),
    ]:
        answer = await ann.request(method, path)
        assert answer.json()["code"] == code
        assert answer.headers["content-type"] == "application/problem+json"


async def test_refuses_a_body_that_is_not_declared_as_json(ann):
    answer = await ann.post(CONVERSATIONS, content=b"{}", headers={"Content-Type": "text/plain"})

    assert answer.status_code == 422
