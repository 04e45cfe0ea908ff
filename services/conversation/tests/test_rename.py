CONVERSATIONS = "/api/v1/conversations"


async def read(owner, conversation_id):
    return (await owner.get(f"{CONVERSATIONS}/{conversation_id}")).json()


async def test_renames_a_conversation_which_stays_where_it_is_in_the_list(ann, begin):
    first = await begin(ann, "Hello", title="Greetings")
    second = await begin(ann, "Hello again")
    before = await read(ann, first)
    answer = await ann.patch(f"{CONVERSATIONS}/{first}", json={"title": "  Farewells \n of May "})
    assert answer.status_code == 200
    assert (await read(ann, first)) == {**before, "title": "Farewells of May"}
    assert answer.json().items() <= (await read(ann, first)).items()
    listed = (await ann.get(CONVERSATIONS)).json()["items"]
    assert [(one["conversation_id"], one["title"]) for one in listed] == [
        (second, "Hello again"),
        (first, "Farewells of May"),
    ]


async def test_a_chosen_title_is_not_replaced_by_the_first_message(ann, begin):
    conversation_id = await begin(ann)
    await ann.patch(f"{CONVERSATIONS}/{conversation_id}", json={"title": "Plans"})
    item = {"id": "m1", "data": {"role": "user", "content": "Hello"}}
    await ann.post(f"{CONVERSATIONS}/{conversation_id}/items", json={"items": [item]})
    assert (await read(ann, conversation_id))["title"] == "Plans"


async def test_a_title_is_a_line_of_at_most_200_characters(ann, begin):
    conversation_id = await begin(ann, "Hello", title="Greetings")
    for body in (
        *({"title": title} for title in ("", " ", "x" * 201, "a\0b", None, 1)),
        {},
        {"title": "x", "icon": "y"},
    ):
        answer = await ann.patch(f"{CONVERSATIONS}/{conversation_id}", json=body)
        assert answer.status_code == 422, body
    assert (await read(ann, conversation_id))["title"] == "Greetings"


async def test_a_repeated_request_has_one_effect(ann, begin):
    path = f"{CONVERSATIONS}/{await begin(ann, 'Hello')}"
    key = {"Idempotency-Key": "rename-once"}
    first = await ann.patch(path, json={"title": "One"}, headers=key)
    await ann.patch(path, json={"title": "Two"})
    again = await ann.patch(path, json={"title": "One"}, headers=key)
    assert again.json() == first.json()
    assert (await ann.get(path)).json()["title"] == "Two"
    other = await ann.patch(path, json={"title": "Three"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
