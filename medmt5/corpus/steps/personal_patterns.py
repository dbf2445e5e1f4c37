"""Regular expressions of personal data that are recognised by form or by the words before them."""

from __future__ import annotations

import re

_MONTHS = (
    r"jan\w*|feb\w*|mar\w*|apr\w*|may|mayo|jun\w*|jul\w*|aug\w*|sep\w*|oct\w*|nov\w*|dec\w*"
    r"|ene\w*|abr\w*|ago\w*|dic\w*|janv\w*|f[ée]vr?\w*|avr\w*|mai|juin|juil\w*|ao[ûu]t|d[ée]c\w*"
    r"|genn\w*|magg\w*|giu\w*|lug\w*|sett\w*|ott\w*|okt\w*|dez\w*|märz|fev\w*|març\w*|set\w*|out\w*"
    r"|янв\w*|фев\w*|мар\w*|апр\w*|мая|июн\w*|июл\w*|авг\w*|сен\w*|окт\w*|ноя\w*|дек\w*"
)
# A day, month and year in any order, or year, month and day as in Chinese, Japanese and Basque.
_DATE = (
    r"(?:\d{1,2}[./ -]{1,2}\d{1,2}[./ -]{1,2}(?:\d{4}|\d{2})\b"
    r"|\d{4}[./-]\d{1,2}[./-]\d{1,2}\b"
    rf"|\d{{1,2}}(?:st|nd|rd|th|er|º)?[ -](?:of |de )?(?:{_MONTHS})\.?,?[ -](?:de |del )?\d{{4}}\b"
    rf"|(?:{_MONTHS})\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}\b"
    r"|(?:\d{4}|[明大昭平令][治正和成和](?:\d{1,2}|元))\s?年\s?\d{1,2}\s?月\s?\d{1,2}\s?日"
    r"|\d{4}ko \w{4,10}(?:ren)? \d{1,2}\w{0,3})"
)
_IS = r"[\s:：.=-]{0,4}"

# Said to be one: a date alone may be that of an admission, which is part of the case.
BIRTH_DATE = re.compile(
    r"(?:(?<!\w)(?:date of birth|birth ?date|d\.?o\.?b\.?|born(?: on)?(?: the)?"
    r"|fecha de nacimiento|f\. ?nac\.?|fec\. ?nac\.?|nacid[oa] el(?: d[íi]a)?"
    r"|date de naissance|né(?:e|\(e\))? le|data di nascita|nat[oa] il"
    r"|geburtsdatum|geb\.|geboren am|data de nascimento|nascid[oa] em|jaiotze[- ]data"
    r"|дата рождения|родил(?:ся|ась))|出生(?:日期|年月日|于)|生年月日)"
    rf"{_IS}(?P<number>{_DATE})",
    re.I,
)

# Numbers of patients and files, called so. Digits with at most a few letters, dashes and slashes.
RECORD = re.compile(
    r"(?:(?<!\w)(?:m\.?r\.?n\.?|medical record(?: (?:number|no\.?|#))?|patient (?:id|no\.?|number)"
    r"|hospital (?:number|no\.?)|chart (?:number|no\.?)|case file (?:number|no\.?)"
    r"|n\.?h\.?c\.?|n[º°o]?\.? (?:de )?(?:historia|expediente)|historia clínica(?: n[º°úu]\w*\.?)"
    r"|número de (?:historia(?: clínica)?|expediente|paciente)"
    r"|num[ée]ro de dossier|n[°º]\s?(?:de )?dossier|dossier n[°º]|ipp"
    r"|cartella(?: clinica)? n(?:\.|°|umero)|numero di cartella(?: clinica)?"
    r"|patientennummer|fallnummer|processo clínico n[.º°]"
    r"|(?:номер|№) (?:истории болезни|медицинской карты|карты)|история болезни №|и/б №)"
    r"|病历号|病案号|住院号|门诊号|患者ID|患者番号|カルテ番号|診察券番号)"
    rf"{_IS}(?:n[º°o.]{{1,2}}\s?)?"
    r"(?P<number>[A-Za-z]{0,3}[-/]?\d[\d/-]{2,18}+)(?![A-Za-z])",
    re.I,
)

# https://name:secret@host; an address without user is a source, not a person.
URL = re.compile(
    r"\b[a-z][a-z0-9+.-]{1,9}://[^\s/@:]{1,100}(?::[^\s/@]{0,100})?@[^\s<>\"]{1,2000}", re.I
)
# The last label is of letters, so `2@10.5` and mass spectrometry's `m/z@3` stay.
EMAIL = re.compile(
    r"(?<![A-Za-z0-9._+%-])[A-Za-z0-9._+%-]{1,64}[@＠](?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}"
    r"(?![A-Za-z0-9-])"
)

# Of alphabets: Chinese and Japanese write on without a space.
_LETTERS = "A-Za-zÀ-ɏЀ-ӿ_"
_SEPARATED = r"\d(?:[ .()/–-]{0,2}\d){5,14}"
# After a word or sign for it, any number of 6 to 15 digits in groups.
STATED_PHONE = re.compile(
    r"(?:(?<!\w)(?:tel(?:e(?:phone|fax)|éfono|efono|éphone)?|tlfn?o?|phone|mobile|cell(?:ulare)?|fax"
    r"|móvil|movil|portable|handy|telefon[oe]?|телефон|тел|моб|факс)"
    r"|电话|手机|传真|電話(?:番号)?|携帯|☎|☏)"
    rf"(?: (?:number|no|nº|n°))?{_IS}(?P<number>\+?\(?{_SEPARATED})(?![{_LETTERS}\d])",
    re.I,
)
# By form alone, each with what keeps it from numbers of other kinds.
PHONE = re.compile(
    # Not in the middle of a number, code, DOI, trial number or path.
    rf"(?<![{_LETTERS}\d.,/+=<>≤≥±-])(?P<number>"
    # International: + and country, groups; `+ 12` of a value has a space or too few digits.
    r"\+[1-9]\d{0,2}[ .-]?(?:\(0?\d{0,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}"
    # US and Canada: area codes begin with 2-9; the brackets or both dashes are asked for.
    r"|\([2-9]\d{2}\) ?\d{3}-\d{4}|(?:1-)?[2-9]\d{2}-[2-9]\d{2}-\d{4}"
    # France: five pairs from 01 to 09.
    r"|0[1-9](?:(?: \d{2}){4}|(?:\.\d{2}){4}|(?:-\d{2}){4})"
    # United Kingdom: area code and two groups, ten or eleven digits in all.
    r"|\(?020\)? \d{4} \d{4}|\(?01\d{3}\)? \d{6}|07\d{3} \d{6}|07\d{3} \d{3} \d{3}"
    # Spain: nine digits from 6, 7 or 9; only these groups, which thousands do not have.
    r"|9[1-8] \d{3} \d{2} \d{2}|[69]\d{2} \d{2} \d{2} \d{2}"
    # Russia: 8, the area code in brackets or dashes.
    r"|8 ?\(\d{3,5}\) ?\d{1,3}-\d{2}-\d{2}|8-\d{3}-\d{3}-\d{2}-\d{2}"
    # China: mobile numbers, eleven digits in a row only after Chinese; land lines with area code.
    r"|1[3-9]\d-\d{4}-\d{4}|1[3-9]\d \d{4} \d{4}|0[1-9]\d{1,2}-\d{7,8}"
    r"|(?:(?<=[\u4e00-\u9fff])|(?<=[\u4e00-\u9fff][ :：，]))1[3-9]\d{9}"
    # Japan: ten digits, or eleven for mobile numbers, from 0, in three groups.
    r"|0[5789]0-\d{4}-\d{4}|0\d-\d{4}-\d{4}|0\d{2}-\d{3}-\d{4}|0\d{3}-\d{2}-\d{4}"
    rf")(?![{_LETTERS}\d/-]|[.,]\d)"
)

_HEX = r"[0-9A-Fa-f]{1,4}"
IP = re.compile(
    r"(?<![\w.:/-])(?:(?:\d{1,3}\.){3}\d{1,3}"
    rf"|(?:{_HEX}:){{7}}{_HEX}|(?:{_HEX}:){{2,6}}(?::{_HEX}){{1,5}})(?![\w:-]|\.\d)"
)
