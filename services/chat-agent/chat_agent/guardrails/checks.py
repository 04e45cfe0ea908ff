"""What guardrails find in a text, each by a pattern of bounded length and a check of what matched.

Bounded, so that a text that arrives in pieces need not be held back for long.
"""

import ipaddress
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

import regex

from chat_agent.guardrails.config import (
    Bundle,
    Guardrail,
    Keywords,
    PersonalData,
    SecretKeys,
    UrlFilter,
    UrlFilterConfig,
)
from chat_agent.guardrails.keyword_list import KeywordPattern, keyword_pattern

# Returns how many characters of a match count, 0 for none.
Measure = Callable[[str], int]
# Bits for each character, from which on a long word counts as random.
RANDOM_ENTROPY = 4.0
MIN_IBAN = 15


@dataclass(frozen=True)
class Check:
    """A pattern, and what a match means: it is masked where there is a mask, else it ends the run."""

    guardrail: str
    pattern: regex.Pattern[str] | KeywordPattern
    measure: Measure
    mask: str | None = None


def whole_if(is_valid: Callable[[str], bool]) -> Measure:
    """Return a measure that takes a match as a whole or not at all."""
    return lambda text: len(text) if is_valid(text) else 0


def is_card_number(text: str) -> bool:
    """Return whether the digits of a text pass Luhn's check (ISO/IEC 7812-1)."""
    digits = [int(character) for character in reversed(text) if character.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return any(digits) and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def iban_length(text: str) -> int:
    """Return how much of a text is an account number (ISO 13616, modulo 97), up to a space or its end."""
    ends = [*(match.start() for match in regex.finditer(" ", text)), len(text)]
    return next((end for end in ends if is_iban(text[:end].replace(" ", ""))), 0)


def is_iban(text: str) -> bool:
    """Return whether a text without spaces is an account number."""
    moved = text[4:] + text[:4]
    return len(text) >= MIN_IBAN and int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


def is_ip_address(text: str) -> bool:
    """Return whether a text is an address of IPv4 or IPv6."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_random(text: str) -> bool:
    """Return whether a word looks random: letters and digits, and no character much oftener than others."""
    counts = Counter(text)
    entropy = -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values())
    return entropy >= RANDOM_ENTROPY and any(map(str.isdigit, text)) and any(map(str.isalpha, text))


# By entity: how it is written, and what else must hold.
PERSONAL: dict[str, tuple[str, Measure]] = {
    "CREDIT_CARD": (r"(?<![\w-])[0-9](?:[ -]?[0-9]){12,18}+(?![\w-])", whole_if(is_card_number)),
    "EMAIL_ADDRESS": (r"(?<![\w.+-])[\w.+-]{1,64}+@(?:[\w-]{1,63}+\.){1,8}+\p{L}{2,24}+(?![\w-])", len),
    "IBAN_CODE": (r"(?<!\w)[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}+(?!\w)", iban_length),
    "IP_ADDRESS": (
        r"(?<![\w.:])(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|(?:[0-9a-fA-F]{0,4}:){2,7}+[0-9a-fA-F]{1,4})(?![\w:])",
        whole_if(is_ip_address),
    ),
    "PHONE_NUMBER": (r"(?<![\w+])\+[0-9](?:[ ()/.-]{0,2}+[0-9]){7,14}+(?!\w)", len),
    "US_SSN": (r"(?<![\w-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![\w-])", len),
}
# By threshold; each takes those above it, too.
SECRETS: dict[str, tuple[str, Measure]] = {
    "permissive": (
        r"(?<![\w-])(?:sk-|sk_live_|sk_test_|rk_live_|whsec_|ghp_|gho_|ghs_|github_pat_|glpat-|xox[abprs]-|"
        r"AKIA|ASIA|AIza|npm_|pypi-|hvs\.|xai-|tvly-)[\w-]{12,200}+",
        len,
    ),
    "balanced": (
        r"-----BEGIN (?:(?!PRIVATE)[A-Z]{2,10}+ ){0,3}+PRIVATE KEY-----"
        r"|(?<![\w-])eyJ[\w-]{10,2000}+\.[\w-]{2,4000}+\.[\w-]{0,1000}+",
        len,
    ),
    "strict": (r"(?<![\w+/=-])[\w+/=-]{32,200}+(?![\w+/=-])", whole_if(is_random)),
}
URL = r"(?<!\w)(?:[a-zA-Z][a-zA-Z0-9+-]{1,15}+://|www\.)[^\s<>\"'`\p{Cc}]{1,2000}+"


def personal_data(guardrail: PersonalData) -> Iterator[Check]:
    """Return the checks for personal data."""
    for entity in guardrail.config.entities:
        pattern, measure = PERSONAL[entity]
        mask = None if guardrail.config.block else f"<{entity}>"
        yield Check(guardrail.name, regex.compile(pattern), measure, mask)


def secret_keys(guardrail: SecretKeys) -> Iterator[Check]:
    """Return the checks for secret keys."""
    thresholds = [*SECRETS]
    for threshold in thresholds[: thresholds.index(guardrail.config.threshold) + 1]:
        pattern, measure = SECRETS[threshold]
        yield Check(guardrail.name, regex.compile(pattern), measure)


def url_filter(guardrail: UrlFilter) -> Iterator[Check]:
    """Return the check for URLs that are not allowed."""
    yield Check(guardrail.name, regex.compile(URL), whole_if(AllowedUrls(guardrail.config).forbid))


@dataclass(frozen=True)
class AllowedUrls:
    """The URLs that a filter lets pass."""

    config: UrlFilterConfig

    @cached_property
    def starts(self) -> Mapping[str, Sequence[str]]:
        """Where the path of a URL may begin, by host."""
        starts: dict[str, list[str]] = {}
        for entry in self.config.url_allow_list:
            allowed = urlsplit(entry if "://" in entry else f"//{entry}")
            host = (allowed.hostname or "").rstrip(".")
            starts.setdefault(host, []).append(allowed.path.rstrip("/"))
        return starts

    def forbid(self, text: str) -> bool:
        """Return whether a URL is none of those that are allowed."""
        url = text if "://" in text else f"https://{text}"
        try:
            parts = urlsplit(url.rstrip(".,;:!?)]}"))
            host = (parts.hostname or "").rstrip(".")
        except ValueError:
            return True
        if parts.scheme not in self.config.allowed_schemes:
            return True
        if self.config.block_userinfo and "@" in parts.netloc:
            return True
        return not any(
            parts.path == start or parts.path.startswith(f"{start}/")
            for name in self._names(host)
            for start in self.starts.get(name, ())
        )

    def _names(self, host: str) -> Iterator[str]:
        """Yield the names of a list that stand for a host."""
        yield host
        while self.config.allow_subdomains and "." in host:
            host = host.partition(".")[2]
            yield host


def keywords(guardrail: Keywords) -> Iterator[Check]:
    """Return the check for words of a list."""
    yield Check(guardrail.name, keyword_pattern(tuple(guardrail.config.keywords)), len)


def checks_of(bundle: Bundle) -> tuple[Check, ...]:
    """Return the checks of a stage, in its order."""
    return tuple(check for guardrail in bundle.guardrails for check in checks_of_one(guardrail))


def checks_of_one(guardrail: Guardrail) -> Sequence[Check]:
    """Return the checks of one guardrail."""
    match guardrail:
        case PersonalData():
            return [*personal_data(guardrail)]
        case SecretKeys():
            return [*secret_keys(guardrail)]
        case UrlFilter():
            return [*url_filter(guardrail)]
        case Keywords():
            return [*keywords(guardrail)]
    # Of a guardrail that asks a model.
    return []
