"""Identity numbers of persons: their forms and their check digits.

A number without a check digit, or with one that every eleventh number has, is taken only after a
word that names it; the others by their form and check alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence

_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
_ODD_FISCALE = dict(
    zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3,
         6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
        strict=True)
)  # fmt: skip


def _digits(text: str) -> list[int]:
    return [int(char) for char in text if char.isdecimal()]


def _weighted(digits: Sequence[int], weights: Sequence[int]) -> int:
    return sum(digit * weight for digit, weight in zip(digits, weights, strict=True))


def is_nhs(number: str) -> bool:
    """United Kingdom, NHS number: ten digits, modulo 11."""
    digits = _digits(number)
    if len(digits) != 10:
        return False
    check = -_weighted(digits[:9], range(10, 1, -1)) % 11
    return check == digits[9]


def is_dni(number: str) -> bool:
    """Spain, DNI and NIE: eight digits (X, Y, Z for the first of a NIE) and a letter, modulo 23."""
    plain = re.sub(r"[ .-]", "", number.upper())
    digits = plain[:-1].translate(str.maketrans("XYZ", "012"))
    return len(digits) == 8 and digits.isdecimal() and _DNI_LETTERS[int(digits) % 23] == plain[-1]


def is_nir(number: str) -> bool:
    """France, social security number: 13 digits and 97 minus them modulo 97; 2A, 2B for Corsica."""
    plain = re.sub(r"[ .]", "", number.upper())
    body, key = plain[:13].replace("2A", "19").replace("2B", "18"), plain[13:]
    if not (len(plain) == 15 and body.isdecimal() and key.isdecimal()):
        return False
    return 97 - int(body) % 97 == int(key)


def is_codice_fiscale(number: str) -> bool:
    """Italy: 16 letters and digits, the last a letter, modulo 26."""
    plain = number.upper()
    values = [
        _ODD_FISCALE[char] if i % 2 == 0 else int(char, 36) - 10 * char.isalpha()
        for i, char in enumerate(plain[:15])
    ]
    return len(plain) == 16 and chr(65 + sum(values) % 26) == plain[15]


def is_snils(number: str) -> bool:
    """Russia, insurance number: nine digits and two that check them."""
    digits = _digits(number)
    check = _weighted(digits[:9], range(9, 0, -1)) % 101 % 100
    return len(digits) == 11 and check == digits[9] * 10 + digits[10]


def is_chinese_identity(number: str) -> bool:
    """China: 17 digits, the seventh to the fourteenth a date, and a digit or X, modulo 11."""
    weights = [pow(2, 17 - i, 11) for i in range(17)]
    check = "10X98765432"[_weighted(_digits(number[:17]), weights) % 11]
    return check == number[17].upper()


def is_my_number(number: str) -> bool:
    """Japan, individual number: twelve digits, the last a check modulo 11."""
    digits = _digits(number)
    if len(digits) != 12:
        return False
    rest = _weighted(digits[:11], (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return (11 - rest if rest > 1 else 0) == digits[11]


def is_us_social_security(number: str) -> bool:
    """United States: no check digit, but areas, groups and serials that are never given."""
    area, group, serial = number.split("-")
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def is_address(text: str) -> bool:
    """An IP address of a machine, and no section number or enzyme (`EC 3.4.21.5`).

    Numbers of enzymes and sections begin with a small one, and their parts are small.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.version == 6:
        return True
    parts = _digits_of_parts(text)
    return parts[0] > 7 and max(parts) > 99


def _digits_of_parts(text: str) -> list[int]:
    return [int(part) for part in text.split(".")]


def _numbered(check: Callable[[str], bool]) -> Callable[[re.Match[str]], bool]:
    return lambda match: check(match["number"])


# Form and check; `number` is what is replaced.
IDENTITIES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], bool]], ...] = tuple(
    (re.compile(pattern, re.I), _numbered(check))
    for pattern, check in (
        (
            r"(?<!\w)NHS(?: (?:number|no\.?|#))?[\s:.]{0,3}"
            r"(?P<number>\d{3}[ -]?\d{3}[ -]?\d{4})(?!\w)",
            is_nhs,
        ),
        (
            r"(?<![\w.,-])(?P<number>(?:\d{8}|\d{2}\.\d{3}\.\d{3}|[XYZ][ -]?\d{7})[ -]?[A-Z])"
            r"(?!\w)",
            is_dni,
        ),
        (
            # Sex, year, month (or 20 and more, not known), department, place, serial, key.
            r"(?<![\w.,-])(?P<number>[1-478] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?"
            r"(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2})(?!\w)",
            is_nir,
        ),
        (
            r"(?<!\w)(?P<number>[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z])(?!\w)",
            is_codice_fiscale,
        ),
        (r"(?<![\w-])(?P<number>\d{3}-\d{3}-\d{3}[ -]\d{2})(?![\w-])", is_snils),
        (
            r"(?<!\d)(?P<number>[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])"
            r"(?:0[1-9]|[12]\d|3[01])\d{3}[\dX])(?!\d)",
            is_chinese_identity,
        ),
        (
            r"(?:マイナンバー|個人番号)[\s:：はが]{0,3}"
            r"(?P<number>\d{4}[ -]?\d{4}[ -]?\d{4})(?!\d)",
            is_my_number,
        ),
        (r"(?<![\w-])(?P<number>\d{3}-\d{2}-\d{4})(?![\w-])", is_us_social_security),
    )
)
