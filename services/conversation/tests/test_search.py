import pytest

SEARCH = "/api/v1/conversations/search"


@pytest.fixture
def find(ann):
    async def matches(query, **params):
        answer = await ann.get(SEARCH, params={"query": query, **params})
        assert answer.status_code == 200, answer.text
        return answer.json()

    return matches


@pytest.fixture
async def conversation(ann, begin):
    return await begin(
        ann,
        "Running dogs cross the bridge",
        "Die Häuser an der Brücke",
        "Ship order 66-b to the harbour",
        "日本語 の テスト",
        title="Notes",
    )


FOUND = [
    ("dog", ["Running dogs cross the bridge"]),
    ("run bridges", ["Running dogs cross the bridge"]),
    ("häuser", ["Die Häuser an der Brücke"]),
    ("Häus", []),
    ("テスト", ["日本語 の テスト"]),
    ("the", ["Ship order 66-b to the harbour", "Running dogs cross the bridge"]),
    ('"cross the bridge"', ["Running dogs cross the bridge"]),
    ('"bridge the cross"', []),
    ("dogs or harbour", ["Ship order 66-b to the harbour", "Running dogs cross the bridge"]),
    ("the -dogs", ["Ship order 66-b to the harbour"]),
    ("nothing", []),
    ("!!! & | ( :*", []),
    ("' or 1=1 --", []),
    ("%", []),
]


async def test_finds_words_as_a_person_would_ask_for_them(find, conversation):
    for query, snippets in FOUND:
        assert [match["snippet"] for match in (await find(query))["items"]] == snippets, query


SENTENCES = [
    "我住在上海市很久了",
    "海外から東京タワーへ行く。",
    "서울에서 만나요",
    "ฉันอยู่กรุงเทพมหานคร",
    "Visit 上海 soon, at the café",
    "cafe\u0301 society",
    "\uff26\uff55\uff4c\uff4cwidth ﾃｽﾄ and ﬁne",
]
INSIDE = [
    ("上海", [4, 0]),
    ("上海市", [0]),
    ("海市上", []),
    ("海", [4, 1, 0]),
    ("在上海 很久", [0]),
    ('"住在上海"', [0]),
    ('"visit 上海 soon"', [4]),
    ("上海 -上海市", [4]),
    ("visit上海", [4]),
    ("上海 or 東京", [4, 1, 0]),
    ("タワー", [1]),
    ("서울", [2]),
    ("กรุงเทพ", [3]),
    ("café", [5, 4]),
    ("cafe\u0301", [5, 4]),
    ("fullwidth テスト", [6]),
    ("\uff26\uff29\uff2e\uff25", [6]),
    ("北京", []),
    ('"上海', [4, 0]),
]


async def test_finds_words_of_scripts_without_spaces_and_of_every_spelling(ann, begin, find):
    await begin(ann, *SENTENCES)

    for query, numbers in INSIDE:
        snippets = [match["snippet"] for match in (await find(query))["items"]]
        assert snippets == [SENTENCES[number] for number in numbers], query


async def test_shows_the_letters_around_a_match_in_a_long_message_without_spaces(ann, begin, find):
    await begin(ann, "我住在北京很久了" * 2000 + "他住在上海" + "我住在北京很久了" * 500)

    [match] = (await find("上海"))["items"]

    assert "他住在上海" in match["snippet"]
    assert len(match["snippet"]) <= 200


@pytest.mark.parametrize("letters", ["\U00020000", "一", "\ufdfa", "\U00010400"])
async def test_stores_the_longest_message_whatever_it_is_written_in(ann, begin, letters):
    distinct = (chr(ord(letters) + number % 20000) for number in range(60000))
    text = "".join(distinct) if letters != "\ufdfa" else letters * 80000

    await begin(ann, text.encode()[: 250 * 1024].decode(errors="ignore"))


async def test_returns_the_conversation_and_the_role_of_a_match(find, conversation):
    [match] = (await find("harbour"))["items"]

    assert match["conversation_id"] == conversation
    assert match["title"] == "Notes"
    assert match["role"] == "user"
    assert match["created_at"].endswith("Z")


async def test_shows_the_words_around_a_match_in_a_long_message_as_plain_text(ann, begin, find):
    text = "filler <script>alert(1)</script>\n" * 500 + "the needle is here" + " more filler" * 500
    await begin(ann, text)

    [match] = (await find("needle"))["items"]

    assert "needle" in match["snippet"]
    assert len(match["snippet"]) <= 500
    assert "\n" not in match["snippet"]
    assert "<b>" not in match["snippet"]


async def test_finds_nothing_in_tool_calls_and_their_outputs(ann, begin, find):
    conversation_id = await begin(ann)
    data = {"type": "function_call_output", "call_id": "c", "output": "xylophone"}
    path = f"/api/v1/conversations/{conversation_id}/items"
    assert (await ann.post(path, json={"items": [{"id": "o", "data": data}]})).status_code == 200

    assert (await find("xylophone"))["items"] == []


async def test_turns_the_pages_of_what_it_finds(ann, begin, find):
    for _ in range(3):
        await begin(ann, "tea one", "tea two", "coffee", "tea three")
    snippets, cursor = [], None
    while True:
        page = await find("tea", limit=2, **({"cursor": cursor} if cursor else {}))
        snippets += [match["snippet"] for match in page["items"]]
        if not (cursor := page["next_cursor"]):
            break

    assert snippets == ["tea three", "tea two", "tea one"] * 3
