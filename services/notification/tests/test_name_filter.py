# ruff: noqa: RUF001  # letters that look like others are what this is about
"""Names in mails: ordinary ones as they are; of none does a mail program make a link or a number."""

from datetime import UTC, datetime

import pytest
from notification import email_templates
from notification.events import EmailRequested, Facts, VerificationRequested
from notification.handlers import payload_of
from notification.models import Delivery
from notification.name_filter import safe_name
from notification.rendering import render_email
from notification.team_templates import TEAM_TEMPLATES
from servicekit.encryption import encrypt

from .phishing_names import found, lures, text_of

TEMPLATES = {**email_templates.TEMPLATES, **TEAM_TEMPLATES}
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
NAMES = [
    *(
        "O'Brien",
        "D’Angelo",
        "Zoë",
        "José",
        "Łukasz Żółć",
        "Søren Kierkegaard",
        "İstanbul Büyükşehir",
        "Ștefan",
    ),
    *(
        "Ångström Labs",
        "Nguyễn Thị Minh Khai",
        "Đặng",
        "Kaʻiulani",
        "Al-Khwārizmī",
        "van der Berg",
        "da Silva",
    ),
    *("Jean-Luc Picard", "J.R.R. Tolkien", "Dr. Ada Lovelace, Ph.D.", "Smith, John", "St. John's Ambulance"),
    *(
        "Müller & Söhne GmbH",
        "Ann's Bakery",
        "Ben & Jerry's",
        "Société Générale S.A.",
        "Yahoo!",
        "3M",
        "Studio 54",
    ),
    *(
        "Café 1892",
        "ACME (Berlin)",
        "Tel Aviv University",
        "Punto de Encuentro",
        "Tourist-Info Bonn",
        "U.S. Steel",
    ),
    *(
        "Col·lectiu Barcelona",
        "李小龙",
        "山田 太郎",
        "佐々木",
        "株式会社トヨタ",
        "ヴァン・ヘイレン",
        "ＡＢＣ株式会社",
    ),
    *(
        "김철수",
        "Иван",
        "Хачапури и вино",
        "Кафе Jazz",
        "Αλέξανδρος Παπαδόπουλος",
        "Արամ Խաչատրյան",
        "გიორგი",
    ),
    *(
        "דוד בן־גוריון",
        "محمد",
        "عبد الله بن عبد العزيز",
        "علی‌رضا",
        "ދިވެހި",
        "अमित शर्मा",
        "ਹਰਪ੍ਰੀਤ ਸਿੰਘ",
        "રાજેશ પટેલ",
    ),
    *("আবদুর রহমান", "தமிழ்ச்செல்வன்", "రాము", "ಕನ್ನಡ ರಾಜು", "മോഹൻലാൽ", "සුනිල් පෙරේරා", "สมชาย ใจดี", "ສົມສັກ"),
    *("ពិសិដ្ឋ", "အောင်ဆန်း", "བསྟན་འཛིན", "አበበ ቢቂላ", "Firefox on Linux", "São Paulo, Brazil", "nightly build"),
]
FIELDS = [name for name in Facts.model_fields if name != "at"]


@pytest.fixture
def written(settings):
    """Write the mail of a kind in which every field is the one text."""

    def write(kind: str, text: str):
        recipient = "user:1"
        # Without the digits that a judge might take for a number.
        token = encrypt(settings.event_sealing_key, "the-token", context=recipient)
        event = EmailRequested.model_validate(
            {
                "kind": kind,
                "recipient": recipient,
                "tenant_id": None,
                "email": "ada@example.com",
                "display_name": text,
                "facts": dict.fromkeys(FIELDS, text),
                "token": token,
                "expires_at": NOW,
            }
        )
        delivery = Delivery(
            template=kind,
            user_id=recipient,
            address=event.email,
            payload=payload_of(event, NOW),
            sealed_token=token,
        )
        return render_email(delivery, settings)

    return write


@pytest.mark.parametrize("kind", TEMPLATES)
def test_no_mail_program_finds_a_link_or_a_number_in_what_others_have_chosen(written, kind):
    plain = written(kind, "Ada")
    ours = found(plain["text"]) | found(text_of(plain["html"]))
    for lure in lures():
        mail = written(kind, lure)
        assert (mail["subject"], mail["to"]) == (plain["subject"], plain["to"])
        assert mail["html"].count("href=") == plain["html"].count("href=")
        assert found(mail["text"]) | found(text_of(mail["html"])) <= ours, (kind, lure)


def test_a_new_account_gets_a_confirmation_without_a_lure():
    for lure in lures():
        names = {"display_name": lure, "tenant_name": lure}
        event = VerificationRequested.model_validate(
            {
                "user_id": "user:1",
                "tenant_id": "0b6e0a0c-8f39-4a53-9d26-6f4e3a1f2a11",
                "email": "ada@example.com",
                "verification": {"token": "sealed", "expires_at": NOW},
                **names,
            }
        )
        names = f"{event.display_name} of {event.tenant_name}"
        assert found(names) == set(), lure


def test_the_judges_find_what_they_should():
    assert found("Win at evil.com now") == {"evil.com"}
    assert found("write to ann@evil.com") == {"ann@evil.com"}
    assert found("call +1 202 555 0143 now") == {"+1 202 555 0143"}
    assert found("call ٢٠٢ ٥٥٥ ٠١٤٣ now")
    assert len(lures()) > 800


@pytest.mark.parametrize("name", NAMES)
def test_an_ordinary_name_comes_through_unchanged(written, name):
    mail = written("invitation", name)
    for part in (mail["text"], text_of(mail["html"])):
        assert f"Hello {name}," in part
        assert f"{name} has invited you to join “{name}” as {name}." in part


def test_a_name_is_one_line_of_64_characters_at_most():
    assert safe_name("a" * 64)
    assert safe_name("a" * 65) is None
    assert safe_name(" Ada \n\t Lovelace ") == "Ada Lovelace"
    assert safe_name("") is None


@pytest.mark.parametrize(
    "name",
    [
        "раypal",
        "Αdmin",
        "\u3164",
        "A\u0301\u0302\u0303\u0304\u0305nn",
        "ᛗᚨᚾ",
        "𝐀𝐧𝐧",
        "Ann 🎁",
        "A\u200dnn",
        "x=1",
    ],
)
def test_letters_belong_together_and_are_seen(name):
    assert safe_name(name) is None
