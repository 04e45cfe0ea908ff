# ruff: noqa: RUF001  # punctuation of many languages
"""Filter names that users have chosen, so that an email shows text and nothing to click or to call.

Anybody can register a stranger's address under any name. So only these characters pass: letters of the
scripts that Unicode recommends for identifiers (UAX #31, table 5), a few digits, and punctuation of names.
Any other name is dropped as a whole, and the email has a neutral phrase instead.
"""

from unicodedata import normalize

import regex

MAX_LENGTH = 64
# Fewer than any telephone number has that a mail program would offer to call.
MAX_DIGITS = 4

# UAX #31, table 5. Of Common and Inherited, only what is listed below.
SCRIPTS = (
    *("Arabic", "Armenian", "Bengali", "Bopomofo", "Cyrillic", "Devanagari", "Ethiopic", "Georgian", "Greek"),
    *("Gujarati", "Gurmukhi", "Han", "Hangul", "Hebrew", "Hiragana", "Kannada", "Katakana", "Khmer", "Lao"),
    *("Latin", "Malayalam", "Myanmar", "Oriya", "Sinhala", "Tamil", "Telugu", "Thaana", "Thai", "Tibetan"),
)
# Written together in one word (UTS #39, 5.2): as Chinese, Japanese and Korean are, with Latin letters.
MIXED_SCRIPTS = ("Bopomofo", "Han", "Hangul", "Hiragana", "Katakana", "Latin")
# Letters that belong to several scripts: the modifier apostrophes, the long vowel mark of Japanese.
SHARED_LETTERS = "ʻʼʽーｰ"
PUNCTUATION = r""" .,&+!()'’‘"“”„«»‹›·・׳״־་_/#（）＆\-‐‑–—"""


def scripts(*names: str) -> str:
    """Return what a character class lists for these scripts."""
    return "".join(rf"\p{{Script={name}}}" for name in names)


# Version 1 of the syntax has differences (--) and intersections (&&) of classes.
LETTERS = (
    rf"[[[{scripts(*SCRIPTS)}\p{{Script=Inherited}}]&&[\p{{L}}\p{{M}}]]--\p{{Default_Ignorable_Code_Point}}]"
)
# Zero width, and a part of how Persian and the languages of India are written.
JOINER = r"(?<=[\p{Script=Arabic}\p{Indic_Syllabic_Category=Virama}])[\u200C\u200D](?=\p{L})"
SHAPE = regex.compile(rf"(?V1)(?:[{LETTERS}{SHARED_LETTERS}\p{{Nd}}{PUNCTUATION}]|{JOINER})+")
WORD = regex.compile(rf"(?V1)[\p{{L}}--[{SHARED_LETTERS}]]+")
ONE_SCRIPT = regex.compile(
    "(?V1)" + "|".join(f"[{scripts(*group)}]+" for group in (*zip(SCRIPTS), MIXED_SCRIPTS))
)
TOWER_OF_MARKS = regex.compile(r"\p{M}{5}|\p{Script=Inherited}{3}")

# Initials and degrees, as in J.R.R. Tolkien, Ph.D.: no address ends with a label of one letter.
INITIALS = regex.compile(r"(?<!\w)\p{L}{1,2}\.(?:\p{L}\.)+(?!\w)")
# A dot that ends no word, or that another word follows at once.
DOT_OF_ADDRESS = regex.compile(r"(?<![\p{L}\p{M}\p{N}])\.|\.(?=[^\s,)\"”’'»›])")
PHISHING_PATTERN = regex.compile(
    r"""(?ix)
    \b(?:www\d?|https?|hxxps?|xn--.*)\b                               # how an address begins
    | //
    | [^\w\s\-‐‑–—&+'’]\s*(?:com|net|org|biz|xyz)\b                    # example. com, example· com
    | \b(?:dot|punkt|punto|ponto|point|точка|点)\b\W*                  # example dot com, beispiel punkt de
        (?:(?:com|net|org|info|biz|xyz)\b|\p{L}{2}\W*$)
    | \b(?:1\W+(?:8\d\d|900)|0[89]00)\W*\p{L}                          # 1-800-FLOWERS
    | [〇零一二三四五六七八九]{5}                                        # a number in Chinese
    """
)


def safe_name(name: str | None) -> str | None:
    """Return a name on one line, or None where it could be a link, a phone number or an imitation."""
    text = " ".join((name or "").split())
    if not text or len(text) > MAX_LENGTH or not SHAPE.fullmatch(text):
        return None
    # Fullwidth letters and ligatures are checked as what they look like.
    return text if is_name(normalize("NFKC", text)) else None


def is_name(text: str) -> bool:
    """Return whether a text is a name."""
    return (
        SHAPE.fullmatch(text) is not None
        and all(ONE_SCRIPT.fullmatch(word) for word in WORD.findall(text))
        and sum(map(str.isdecimal, text)) <= MAX_DIGITS
        and not TOWER_OF_MARKS.search(text)
        and not DOT_OF_ADDRESS.search(INITIALS.sub("", text))
        and not PHISHING_PATTERN.search(text)
    )
