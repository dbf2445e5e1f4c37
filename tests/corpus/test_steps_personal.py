"""Personal data: what is replaced, and what of medicine must never be."""

from __future__ import annotations

import pytest

from medmt5.corpus.documents import Document, Removed
from medmt5.corpus.steps.personal import Personal


def replaced(text, **settings):
    step = Personal(**settings)
    return step(Document(text, "1", "notes")).text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to ana.b-c@h.uni.es.", "Write to [EMAIL]."),
        ("邮箱abc@x.com。", "邮箱[EMAIL]。"),
        ("see https://ana:pw@h.org/x now", "see [URL] now"),
        # Telephones: international, then national forms.
        ("call +34 612 34 56 78 or +1-555-234-5678", "call [PHONE] or [PHONE]"),
        ("+44 (0)20 7946 0958, +39 06 1234 5678", "[PHONE], [PHONE]"),
        ("(555) 234-5678; 555-234-5678", "[PHONE]; [PHONE]"),
        ("01 23 45 67 89, 01.23.45.67.89", "[PHONE], [PHONE]"),
        ("020 7946 0958; 07700 900123", "[PHONE]; [PHONE]"),
        ("612 34 56 78, 91 123 45 67", "[PHONE], [PHONE]"),
        ("8 (495) 123-45-67", "[PHONE]"),
        ("手机13812345678，电话：010-12345678", "手机[PHONE]，电话：[PHONE]"),
        ("03-1234-5678 と 090-1234-5678", "[PHONE] と [PHONE]"),
        ("Tel. 06 1234567, тел.: 495 1234567", "Tel. [PHONE], тел.: [PHONE]"),
        # Identity numbers with right check digits, then with wrong ones.
        ("NHS number: 943 476 5919", "NHS number: [IDENTITY]"),
        ("NHS number: 943 476 5918", "NHS number: 943 476 5918"),
        ("DNI 12345678Z, NIE X1234567L", "DNI [IDENTITY], NIE [IDENTITY]"),
        ("DNI 12345678A, NIE X1234567A", "DNI 12345678A, NIE X1234567A"),
        ("2 55 08 14 168 025 38", "[IDENTITY]"),
        ("2 55 08 14 168 025 39", "2 55 08 14 168 025 39"),
        ("RSSMRA85T10A562S", "[IDENTITY]"),
        ("RSSMRA85T10A562T", "RSSMRA85T10A562T"),
        ("112-233-445 95", "[IDENTITY]"),
        ("112-233-445 96", "112-233-445 96"),
        ("身份证11010519491231002X", "身份证[IDENTITY]"),
        ("身份证110105194912310021", "身份证110105194912310021"),
        ("マイナンバー：1234 5678 9018", "マイナンバー：[IDENTITY]"),
        ("マイナンバー：1234 5678 9019", "マイナンバー：1234 5678 9019"),
        ("SSN 123-45-6789, 000-45-6789", "SSN [IDENTITY], 000-45-6789"),
        # Numbers of records, called so.
        ("MRN: 1234567; NHC 123456", "MRN: [RECORD]; NHC [RECORD]"),
        ("historia clínica nº 445566", "historia clínica nº [RECORD]"),
        ("dossier n° 12345", "dossier n° [RECORD]"),
        ("cartella clinica n. 99/1234", "cartella clinica n. [RECORD]"),
        ("住院号：A123456，患者ID：114-0021医師", "住院号：[RECORD]，患者ID：[RECORD]医師"),
        # Dates of birth, called so; other dates stay.
        ("DOB: 12/03/1960, seen 12/03/2015", "DOB: [BIRTH_DATE], seen 12/03/2015"),
        ("né le 9 Aout 2011 d'un accouchement", "né le [BIRTH_DATE] d'un accouchement"),
        ("nato il 23/02/1952; born on May 3, 1970", "nato il [BIRTH_DATE]; born on [BIRTH_DATE]"),
        ("fecha de nacimiento: 3 de mayo de 1960", "fecha de nacimiento: [BIRTH_DATE]"),
        ("дата рождения 12.03.1960", "дата рождения [BIRTH_DATE]"),
        ("出生日期：1960年5月3日，入院", "出生日期：[BIRTH_DATE]，入院"),
        ("生年月日 昭和35年5月3日", "生年月日 [BIRTH_DATE]"),
        ("from 192.168.10.200, 2001:db8::ff00:42:8329", "from [IP], [IP]"),
    ],
)
def test_personal_data_is_replaced(text, expected):
    assert replaced(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "aspirin 100 mg 1-0-1, 3 x 500 mg/day, 1.000.000 UI, 0.05 mg/kg",
        "Hb 12.5 g/dL, Na 138, K 4.2, leucocytes 12 300 000, 4.5-11.0 x10^9/L, TA 120/80 mmHg",
        "AD 120-140/80-90, ЧСС 80 -90, 8-10 раз, 1200-1300 мл",
        "p < 0.0001, OR 1.23 (95% CI 1.01-1.50), n = 123 456 789, r=0.123456789",
        "ICD-10 I10, E11.9, C34.90; SNOMED 73211009; MeSH D010292; LOINC 2345-7; ATC N02BE01",
        "PMID: 12345678; PMC1234567; doi 10.1016/0140-6736(95)90001-2; 10.1001/jama.2020.12345",
        "NCT01234567, ISRCTN12345678, EudraCT 2004-000446-20, UMIN000012345, ChiCTR2000029308",
        "ISSN 0028-0836, ISBN 978-3-16-148410-0, ORCID 0000-0002-1825-0097, CAS 50-78-2",
        "EC 3.4.21.5, section 1.2.3.4, version 10.2.1.0, HLA-DRB1*04:01:01:01, EML4::ALK",
        "chr7:55241707-55242100, rs1234567, NM_000546.5, ENSG00000141510, 12:30:45",
        "2010-2015, 12/03/2015, 3 de mayo de 2015, 1998-2003-2008, ingreso el 12-03-2015",
        "300 000 habitantes, 912 345 678 de euros, 1 234 567 890",
        "血压120/80mmHg，白细胞12.5×10^9/L，尿蛋白(++)，WBC 12300",
        "血圧 120/80mmHg、脈拍 80/分、赤血球 450万、CRP 0.3mg/dL、2019/12/08",
        "m/z 301.1410@3.2, a@b, @patient, born at 38 weeks, né à terme, nacido a las 38 semanas",
    ],
)
def test_numbers_of_medicine_stay(text):
    assert replaced(text) == text


def test_the_report_counts_kinds():
    before = Document("a@b.org, c@d.org, DOB 1/2/1960; [EMAIL] stood there", "1", "notes")
    step = Personal()
    after = step(before)
    assert step.report(before, after) == {"email": 2, "birth_date": 1}
    assert step(after) is after


def test_a_document_can_be_removed_instead_and_kinds_chosen():
    document = Document("a@b.org or +34 612 34 56 78", "1", "notes")
    assert Personal(action="remove")(document) == Removed("personal data", "email 1, phone 1")
    assert replaced(document.text, kinds=["email"]) == "[EMAIL] or +34 612 34 56 78"
    with pytest.raises(ValueError, match="kinds has 'name'; there are url, email"):
        Personal(kinds=["name"])
    with pytest.raises(ValueError, match="action is 'hide'"):
        Personal(action="hide")
