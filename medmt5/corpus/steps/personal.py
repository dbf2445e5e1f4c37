"""Patterns of personal data, replaced by placeholders such as `[EMAIL]` or a reason to remove.

A pattern takes a number only where its form, its check digit or a word before it says what it is:
doses, laboratory values, codes (ICD, CAS, EC), PMIDs, trial numbers, DOIs and p-values stay. Names
and addresses are not looked for: they need a model, not a pattern. So this is no anonymisation.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence

from medmt5.corpus.documents import Document, Removed
from medmt5.corpus.steps import personal_numbers as numbers
from medmt5.corpus.steps import personal_patterns as patterns

# In the order in which they are looked for: a URL with a password also has the form of an e-mail
# address, and an identity number might pass for a telephone number.
KINDS = ("url", "email", "identity", "record", "birth_date", "phone", "ip")


def _url(text: str) -> str:
    return patterns.URL.sub("[URL]", text) if "://" in text else text


def _email(text: str) -> str:
    return patterns.EMAIL.sub("[EMAIL]", text) if "@" in text or "＠" in text else text


def _identity(text: str) -> str:
    for pattern, valid in numbers.IDENTITIES:
        text = pattern.sub(
            # The group `number` where words before it are a part of the pattern.
            lambda match, valid=valid: _masked(match, "[IDENTITY]") if valid(match) else match[0],
            text,
        )
    return text


def _masked(match: re.Match[str], placeholder: str) -> str:
    """The match with its group `number` replaced: the words that announce it stay."""
    start, end = (position - match.start() for position in match.span("number"))
    return match[0][:start] + placeholder + match[0][end:]


def _record(text: str) -> str:
    return patterns.RECORD.sub(lambda match: _masked(match, "[RECORD]"), text)


def _birth_date(text: str) -> str:
    return patterns.BIRTH_DATE.sub(lambda match: _masked(match, "[BIRTH_DATE]"), text)


def _phone(text: str) -> str:
    def mask(match: re.Match[str]) -> str:
        digits = sum(map(str.isdigit, match["number"]))
        return _masked(match, "[PHONE]") if 7 <= digits <= 15 else match[0]

    for pattern in (patterns.STATED_PHONE, patterns.PHONE):
        text = pattern.sub(mask, text)
    return text


def _ip(text: str) -> str:
    return patterns.IP.sub(lambda m: "[IP]" if numbers.is_address(m[0]) else m[0], text)


_REPLACE = dict(
    zip(KINDS, (_url, _email, _identity, _record, _birth_date, _phone, _ip), strict=True)
)


@dataclasses.dataclass(frozen=True)
class Personal:
    """Replaces personal data.

    Args:
      kinds: of `KINDS`: `url` (with a user name or password in it), `email`, `identity` (national
        and health service numbers, with their check digits), `record` (numbers of files and
        patients that are called so), `birth_date` (called so), `phone`, `ip`.
      action: `replace` by a placeholder, or `remove` the document.
    """

    kinds: Sequence[str] = KINDS
    action: str = "replace"

    def __post_init__(self) -> None:
        unknown = sorted(set(self.kinds) - set(KINDS))
        if unknown:
            raise ValueError(f"personal: kinds has {unknown[0]!r}; there are {', '.join(KINDS)}")
        if self.action not in ("replace", "remove"):
            raise ValueError(f"personal: action is {self.action!r}; use 'replace' or 'remove'")
        object.__setattr__(self, "kinds", tuple(self.kinds))

    def __call__(self, document: Document) -> Document | Removed:
        text = document.text
        for kind in KINDS:
            if kind in self.kinds:
                text = _REPLACE[kind](text)
        if text == document.text:
            return document
        after = dataclasses.replace(document, text=text)
        if self.action == "remove":
            found = self.report(document, after)
            return Removed("personal data", ", ".join(f"{k} {n}" for k, n in found.items()))
        return after

    def report(self, before: Document, after: Document) -> dict[str, int]:
        """How many of each kind were replaced."""
        placeholders = {kind: f"[{kind.upper()}]" for kind in KINDS}
        counts = Counter(
            {
                kind: after.text.count(placeholder) - before.text.count(placeholder)
                for kind, placeholder in placeholders.items()
            }
        )
        return {kind: count for kind, count in counts.items() if count > 0}
