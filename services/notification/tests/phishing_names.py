# ruff: noqa: RUF001  # letters that look like others are what this is about
"""Links, addresses and telephone numbers in every spelling that a lure may have, and who finds them.

The judges are independent of what they judge: the linkifier of a Markdown editor, and the library with which
telephones find numbers in texts.
"""

import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from html import unescape

import regex
from linkify_it import LinkifyIt
from phonenumbers import Leniency, PhoneNumberMatcher

DOTS = (
    ".",
    "。",
    "．",
    "｡",
    "․",
    "︒",
    "。 ",
    "(.)",
    "[.]",
    "{.}",
    " dot ",
    "(dot)",
    " . ",
    ". ",
    "\u200b.",
    ".\u2060",
    "·",
    "・",
    "ꞏ",
    "%2e",
)
HOSTS = (
    ("evil", "com"),
    ("login", "acme", "app"),
    ("t", "me"),
    ("xn--80ak6aa92e", "com"),
    ("раураl", "com"),
    ("evil", "рф"),
    ("203", "0", "113", "7"),
)
PREFIXES = (
    "",
    "http://",
    "hxxp://",
    "https:/\\",
    "www.",
    "//",
    "ann@",
    "ann＠",
    "ann(at)",
    "mailto:ann@",
    "ｈｔｔｐ：／／",
)
NUMBERS = (
    "+1 202 555 0143",
    "(202) 555-0143",
    "202.555.0143",
    "+49 30 901820",
    "0800 1234567",
    "110-55512",
    "tel:+12025550143",
)
SETTINGS = ("{}", "Win now: {}", "Ann ({})", "Ann, {} Ltd.", "\u202e{}", "\u2067{}\u2069")
ODD = (
    *(
        "Ann\r\nBcc: ann@evil.com",
        "Ann\nSubject: Win",
        "Ann\x0bevil.com",
        "Ann\x00evil.com",
        "Ann\u2028evil.com",
    ),
    *("1-800-FLOWERS", "1 (800) CALL NOW", "0800 CALLNOW", "電話一三八零零零一三八零零零", "☎ 5551234"),
    *(
        "\u202emoc.live",
        "<a href=https://evil.com>Ann</a>",
        "[Ann](https://evil.com)",
        "{{ token }}",
        "evil.com" * 9,
    ),
)
REGIONS = ("US", "DE", "CN", "IN")

linkifier = LinkifyIt(options={"fuzzy_link": True, "fuzzy_email": True, "fuzzy_ip": True})
linkifier.tlds(["app", "me", "рф", "club", "xyz"], True)


def lures() -> list[str]:
    """List all of them."""
    dotted = [dot.join(host) for dot in DOTS for host in HOSTS]
    begun = [prefix + ".".join(host) for prefix in PREFIXES for host in HOSTS]
    spelled = [spelling for link in begun for spelling in spellings(link)]
    numbers = [digits(number, zero) for number in NUMBERS[:2] for zero in zeros()]
    around = [setting.format(lure) for lure in [*dotted[::5], *NUMBERS] for setting in SETTINGS]
    return list(dict.fromkeys([*dotted, *begun, *spelled, *numbers, *around, *ODD]))


def spellings(link: str) -> Iterator[str]:
    """Write a link in letters that look like its own."""
    for shift in (0xFEE0, 0x1D3B9):
        yield "".join(chr(ord(one) + shift) if one.isascii() and one.isalpha() else one for one in link)
    yield "\u200b".join(link)
    yield "\u00ad".join(link)
    yield link.upper()
    yield link.replace("e", "е").replace("a", "а")


def zeros() -> Iterator[int]:
    """Return the zero of every decimal system that Unicode has."""
    return (code for code in range(sys.maxunicode) if unicodedata.decimal(chr(code), None) == 0)


def digits(number: str, zero: int) -> str:
    """Write a number in another script's digits."""
    return "".join(chr(zero + int(one)) if one.isdecimal() else one for one in number)


@cache
def found(text: str) -> set[str]:
    """Return what a mail program would make a link, an address or a telephone number of."""
    links = {match.raw for match in linkifier.match(text) or []}
    numbers = {
        match.raw_string
        for region in REGIONS
        for match in PhoneNumberMatcher(text, region, leniency=Leniency.POSSIBLE)
    }
    return links | numbers


def text_of(html: str) -> str:
    """Return what is read of a page."""
    return unescape(regex.sub(r"<[^>]*>", " ", html))
