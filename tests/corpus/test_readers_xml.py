"""PubMed, PMC, ClinicalTrials.gov and TMX, with the structure of their public files."""

import bz2
import gzip
import io
import json
import tarfile
import textwrap
import zipfile

import pytest

from medmt5.corpus.documents import Bad, Document
from medmt5.corpus.readers import READERS

pytest.importorskip("lxml")


def read(path, format, **settings):
    """Documents, and pairs of place and reason."""
    items = list(READERS[format](source="s", **settings)(str(path)))
    documents = [item for item in items if isinstance(item, Document)]
    return documents, [(b.where, b.reason) for b in items if isinstance(b, Bad)]


PUBMED = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle, 1st January 2025//EN"
 "https://dtd.nlm.nih.gov/ncbi/pubmed/out/pubmed_250101.dtd">
<PubmedArticleSet>
<PubmedArticle>
  <MedlineCitation Status="MEDLINE" Owner="NLM">
    <PMID Version="1">31000001</PMID>
    <DateCompleted><Year>2019</Year></DateCompleted>
    <Article PubModel="Print">
      <Journal><Title>Revista m&#233;dica</Title></Journal>
      <ArticleTitle>[Use of H<sub>2</sub> blockers in <i>children</i>].</ArticleTitle>
      <Abstract>
        <AbstractText Label="OBJECTIVE" NlmCategory="OBJECTIVE">To study &lt;5&#xa0;mg doses.
        </AbstractText>
        <AbstractText Label="UNLABELLED">It was <b>safe</b>.<mml:math
         xmlns:mml="http://www.w3.org/1998/Math/MathML"><mml:mi>x</mml:mi></mml:math></AbstractText>
        <CopyrightInformation>Copyright © 2019 SEM.</CopyrightInformation>
      </Abstract>
      <Language>spa</Language>
      <VernacularTitle>Uso de bloqueadores H2 en niños.</VernacularTitle>
    </Article>
    <OtherAbstract Type="Publisher" Language="spa">
      <AbstractText>Fue seguro.</AbstractText>
    </OtherAbstract>
    <OtherAbstract Type="Publisher" Language="fre">
      <AbstractText>C'était sûr.</AbstractText>
      <CopyrightInformation>© SEM</CopyrightInformation>
    </OtherAbstract>
  </MedlineCitation>
  <PubmedData><ArticleIdList><ArticleId IdType="pubmed">31000001</ArticleId></ArticleIdList>
  </PubmedData>
</PubmedArticle>
<PubmedArticle><MedlineCitation><PMID Version="1">2</PMID><Article>
  <ArticleTitle>A title alone.</ArticleTitle></Article></MedlineCitation></PubmedArticle>
<PubmedArticle><MedlineCitation><PMID Version="1">3</PMID><Article>
  <ArticleTitle>[Not Available].</ArticleTitle></Article></MedlineCitation></PubmedArticle>
<PubmedBookArticle><BookDocument><PMID Version="1">4</PMID>
  <Book><BookTitle book="b">A book</BookTitle></Book><ArticleTitle>Gout</ArticleTitle>
  <Abstract><AbstractText>Crystals.</AbstractText></Abstract></BookDocument></PubmedBookArticle>
<DeleteCitation><PMID Version="1">5</PMID></DeleteCitation>
</PubmedArticleSet>
"""


def test_pubmed_gives_english_abstracts_and_translations_as_documents(tmp_path):
    (tmp_path / "pubmed25n0001.xml.gz").write_bytes(gzip.compress(PUBMED.encode()))
    documents, bad = read(tmp_path / "pubmed25n0001.xml.gz", "pubmed", licence="NLM")
    assert not bad
    url = "https://pubmed.ncbi.nlm.nih.gov/31000001/"
    english = "Use of H2 blockers in children"
    spanish = "Uso de bloqueadores H2 en niños."
    assert documents == [
        Document(
            f"{english}\nOBJECTIVE: To study <5 mg doses.\nIt was safe.",
            "31000001",
            "s",
            "en",
            url,
            "Copyright © 2019 SEM.",
            english,
        ),
        Document(f"{spanish}\nFue seguro.", "31000001-es", "s", "es", url, "NLM", spanish),
        Document("C'était sûr.", "31000001-fr", "s", "fr", url, "© SEM"),
        Document(
            "A title alone.",
            "2",
            "s",
            "en",
            "https://pubmed.ncbi.nlm.nih.gov/2/",
            "NLM",
            "A title alone.",
        ),
        Document(
            "Gout\nCrystals.", "4", "s", "en", "https://pubmed.ncbi.nlm.nih.gov/4/", "NLM", "Gout"
        ),
    ]


@pytest.mark.parametrize(
    ("damage", "reason", "kept"),
    [
        (lambda x: x[: x.index(b"A book")], "broken XML", 4),
        (lambda x: x.replace(b"<Book>", b"<Book><p>"), "broken XML", 4),
        (lambda x: x.replace(b"A book", b"\xe9"), "wrong encoding", 4),
        (lambda x: x.replace(b'"UTF-8"', b'"x-none"'), "wrong encoding", 0),
        (lambda x: b"<html><body>503</body></html>", "no records of this format", 0),
        (lambda x: b"\x00\x01binary", "broken XML", 0),
    ],
)
def test_of_broken_xml_the_records_before_are_kept(tmp_path, damage, reason, kept):
    path = tmp_path / "a.xml"
    path.write_bytes(damage(PUBMED.encode()))
    documents, bad = read(path, "pubmed")
    assert bad == [(str(path), reason)]
    assert len(documents) == kept


def test_entities_that_a_file_declares_are_not_expanded(tmp_path):
    (tmp_path / "secret").write_text("secret")
    bomb = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    for declarations in (
        f'<!ENTITY e0 "aaaaaaaaaa">{bomb}',
        f'<!ENTITY e9 SYSTEM "{tmp_path}/secret">',
    ):
        path = tmp_path / "a.xml"
        path.write_text(
            f"<!DOCTYPE PubmedArticleSet [{declarations}]><PubmedArticleSet><MedlineCitation>"
            "<PMID>1</PMID><Article><ArticleTitle>&e9;</ArticleTitle></Article></MedlineCitation>"
            "</PubmedArticleSet>"
        )
        assert read(path, "pubmed") == ([], [(str(path), "XML that declares entities")])


def test_a_record_that_is_too_long_ends_the_file_without_being_held(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(PUBMED.replace("Gout", "Gout " * 100_000))
    documents, bad = read(path, "pubmed", max_document_bytes=200_000)
    assert len(documents) == 4
    assert bad == [(str(path), "document too long")]


JATS = """\
<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96) Journal Archiving and Interchange DTD v1.3//EN"
 "JATS-archivearticle1-3.dtd">
<article xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:mml="http://www.w3.org/1998/Math/MathML"
 article-type="research-article" xml:lang="en" dtd-version="1.3">
<front><journal-meta><journal-title-group><journal-title>J</journal-title></journal-title-group>
</journal-meta><article-meta>
  <article-id pub-id-type="pmid">77</article-id><article-id pub-id-type="pmc">123456</article-id>
  <title-group><article-title>Sepsis in adults<xref ref-type="fn" rid="f">*</xref></article-title>
    <trans-title-group xml:lang="es"><trans-title>Sepsis en adultos</trans-title>
    </trans-title-group>
  </title-group>
  <contrib-group><contrib><name><surname>Roe</surname></name></contrib></contrib-group>
  <permissions><copyright-statement>© 2020</copyright-statement>
    <license license-type="open-access"
     xlink:href="https://creativecommons.org/licenses/by-nc/4.0/"><license-p>Open.</license-p>
    </license></permissions>
  <abstract><title>Abstract</title><sec><title>Aim</title><p>To study sepsis.</p></sec></abstract>
  <trans-abstract xml:lang="es"><p>Estudiar la sepsis.</p></trans-abstract>
  <kwd-group><kwd>sepsis</kwd></kwd-group>
</article-meta></front>
<body>
  <sec><label>1.</label><title>Introduction</title>
    <p>Sepsis is common [<xref ref-type="bibr" rid="B1">1</xref>,
      <xref ref-type="bibr" rid="B2">2</xref>] and severe <sup><xref ref-type="bibr">3</xref></sup>.
      See <xref ref-type="fig" rid="F1">Figure 1</xref>; n&nbsp;=&#160;5, P &lt; .05
      <inline-formula><mml:math><mml:mi>y</mml:mi></mml:math></inline-formula>.</p>
    <fig id="F1"><label>Figure 1</label><caption><p>Curves.</p></caption></fig>
    <table-wrap id="T1"><caption><p>Table text.</p></caption><table><tr><td>9</td></tr></table>
    </table-wrap>
    <disp-formula><tex-math>a=b</tex-math></disp-formula>
    <p>Signs are: <list><list-item><p>fever</p></list-item><list-item><p>chills</p></list-item>
    </list></p>
  </sec>
  <sec><title>Methods</title><sec><title>Design</title><p>A cohort.</p></sec></sec>
</body>
<back><ack><p>Thanks.</p></ack><ref-list><ref id="B1"><mixed-citation>Doe.</mixed-citation></ref>
</ref-list></back>
<sub-article article-type="translation" xml:lang="pt"><front-stub><title-group>
  <article-title>Sepse em adultos</article-title></title-group></front-stub>
  <body><p>A sepse é comum.</p></body></sub-article>
<sub-article article-type="reviewer-report"><front-stub/><body><p>Good.</p></body></sub-article>
</article>
"""


def test_pmc_gives_title_abstract_and_body_without_references_tables_and_formulas(tmp_path):
    (tmp_path / "PMC123456.nxml").write_text(JATS)
    documents, bad = read(tmp_path / "PMC123456.nxml", "pmc")
    assert not bad
    assert [(d.id, d.language, d.title) for d in documents] == [
        ("PMC123456", "en", "Sepsis in adults"),
        ("PMC123456-es", "es", "Sepsis en adultos"),
        ("PMC123456-pt", "pt", "Sepse em adultos"),
    ]
    assert {d.licence for d in documents} == {"CC BY-NC 4.0"}
    assert {d.url for d in documents} == {"https://pmc.ncbi.nlm.nih.gov/articles/PMC123456/"}
    assert documents[0].text.splitlines() == [
        "Sepsis in adults",
        "Abstract",
        "Aim",
        "To study sepsis.",
        "Introduction",
        "Sepsis is common and severe. See Figure 1; n = 5, P < .05.",
        "Signs are:",
        "fever",
        "chills",
        "Methods",
        "Design",
        "A cohort.",
    ]
    assert documents[1].text == "Sepsis en adultos\nEstudiar la sepsis."
    assert documents[2].text == "Sepse em adultos\nA sepse é comum."


def test_of_a_pmc_archive_the_articles_around_a_broken_one_are_read(tmp_path):
    path = tmp_path / "oa_comm.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in (
            ("a/PMC1.xml", JATS.replace("123456", "PMC1")),
            ("a/PMC1.jpg", "x"),
            ("a/PMC2.xml", JATS[:2000]),
            ("a/PMC3.xml", "<article><front/><body><p>Short.</p></body></article>"),
            ("a/PMC4.xml", "<article><front/></article>"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    documents, bad = read(path, "pmc", language="en", licence="unknown")
    assert [d.id for d in documents] == ["PMC1", "PMC1-es", "PMC1-pt", "oa_comm.tar.gz!a/PMC3.xml"]
    assert (documents[3].text, documents[3].licence) == ("Short.", "unknown")
    assert bad == [
        (f"{path}!a/PMC2.xml", "broken XML"),
        (f"{path}!a/PMC4.xml#oa_comm.tar.gz!a/PMC4.xml", "no text"),
    ]


@pytest.mark.parametrize(
    ("permissions", "licence"),
    [
        ('<license><a:license_ref xmlns:a="http://www.niso.org/schemas/ali/1.0/">'
         "http://creativecommons.org/publicdomain/zero/1.0/</a:license_ref></license>", "CC0 1.0"),
        ("<license><license-p>Under CC (http://creativecommons.org/licenses/by/2.0), which permits"
         "</license-p></license>", "CC BY 2.0"),
        ("<license><p>Free to read.</p></license>", "Free to read."),
        ("<copyright-statement>© NEJM</copyright-statement>", "© NEJM"),
    ],
)  # fmt: skip
def test_a_licence_is_a_short_name_where_a_link_says_it(tmp_path, permissions, licence):
    path = tmp_path / "a.xml"
    path.write_text(
        f"<article><front><article-meta><permissions>{permissions}</permissions></article-meta>"
        "</front><body><p>Text.</p></body></article>"
    )
    assert [d.licence for d in read(path, "pmc")[0]] == [licence]


STUDY = {
    "protocolSection": {
        "identificationModule": {
            "nctId": "NCT00000001",
            "briefTitle": "Aspirin in Stroke",
            "officialTitle": "A Trial of Aspirin in Stroke",
        },
        "descriptionModule": {
            "briefSummary": "We test aspirin.",
            "detailedDescription": "Two groups.\n\nDose \\>= 5 mg.",
        },
        "conditionsModule": {"conditions": ["Stroke", "Ischemia"]},
        "armsInterventionsModule": {
            "armGroups": [{"label": "Aspirin", "type": "EXPERIMENTAL", "description": "Daily."}],
            "interventions": [{"type": "DRUG", "name": "Aspirin"}],
        },
        "outcomesModule": {
            "primaryOutcomes": [{"measure": "Death", "description": "Any.", "timeFrame": "1 year"}]
        },
        "eligibilityModule": {"eligibilityCriteria": "Inclusion:\n\n* Adults\n* Stroke"},
        "contactsLocationsModule": {"overallOfficials": [{"name": "J. Roe"}]},
    },
    "resultsSection": {"adverseEventsModule": {"description": "none"}},
}
OLD_STUDY = """\
<?xml version="1.0" encoding="UTF-8"?>
<clinical_study rank="1">
  <id_info><org_study_id>A-1</org_study_id><nct_id>NCT00000001</nct_id></id_info>
  <brief_title>Aspirin in Stroke</brief_title>
  <official_title>A Trial of Aspirin in Stroke</official_title>
  <brief_summary><textblock>
      We test
      aspirin.
    </textblock></brief_summary>
  <detailed_description><textblock>
      Two groups.

      Dose &gt;= 5 mg.
    </textblock></detailed_description>
  <primary_outcome><measure>Death</measure><time_frame>1 year</time_frame>
    <description>Any.</description></primary_outcome>
  <condition>Stroke</condition><condition>Ischemia</condition>
  <arm_group><arm_group_label>Aspirin</arm_group_label><description>Daily.</description></arm_group>
  <intervention><intervention_type>Drug</intervention_type>
    <intervention_name>Aspirin</intervention_name></intervention>
  <eligibility><criteria><textblock>
      Inclusion:

      * Adults

      * Stroke
    </textblock></criteria></eligibility>
  <overall_official><last_name>J. Roe</last_name></overall_official>
</clinical_study>
"""
STUDY_TEXT = """\
Aspirin in Stroke
A Trial of Aspirin in Stroke
We test aspirin.
Two groups.
Dose >= 5 mg.
Stroke, Ischemia
Aspirin: Daily.
Aspirin
Death: Any.
Inclusion:
* Adults
* Stroke"""


def jsons(*ids):
    for id in ids:
        study = json.loads(json.dumps(STUDY))
        study["protocolSection"]["identificationModule"]["nctId"] = id
        yield study


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(STUDY),
        json.dumps([STUDY], indent=2),
        "\ufeff" + json.dumps({"studies": [STUDY], "nextPageToken": "abc"}),
        json.dumps({"totalCount": 1, "studies": [STUDY]}),
        json.dumps(STUDY) + "\n",
        OLD_STUDY,
    ],
    ids=["one", "list", "page", "counted page", "line", "old XML"],
)
def test_a_study_is_the_same_in_every_form_that_the_registry_gave_it(tmp_path, text):
    path = tmp_path / "a"
    path.write_text(text)
    documents, bad = read(path, "clinical_trials")
    assert not bad
    assert documents == [
        Document(
            STUDY_TEXT,
            "NCT00000001",
            "s",
            "en",
            "https://clinicaltrials.gov/study/NCT00000001",
            title="Aspirin in Stroke",
        )
    ]


def test_of_a_long_list_that_breaks_off_the_studies_before_are_kept(tmp_path):
    studies = list(jsons(*(f"NCT{n}" for n in range(200))))
    text = json.dumps(studies, ensure_ascii=False).encode()
    path = tmp_path / "a.json"
    path.write_bytes(text[:-500])
    documents, bad = read(path, "clinical_trials")
    assert [d.id for d in documents] == [f"NCT{n}" for n in range(199)]
    assert bad == [(str(path), "broken JSON")]
    path.write_bytes(gzip.compress(text)[:-20])
    assert read(path, "clinical_trials")[1] == [(str(path), "truncated gzip")]
    lines = [json.dumps(s) for s in studies[:2]] + ['{"x": 1}', "[]", json.dumps(studies[2])]
    path.write_text("\n".join(lines))
    documents, bad = read(path, "clinical_trials")
    assert [d.id for d in documents] == ["NCT0", "NCT1", "NCT2"]
    assert bad == [(f"{path}:3", "wrong fields"), (f"{path}:4", "wrong fields")]
    path.write_text(json.dumps(studies[:2])[:-1] + ', {"a" 1}' + ", {}" * 100)
    documents, bad = read(path, "clinical_trials")
    assert (len(documents), bad) == (2, [(str(path), "broken JSON")])
    path.write_text(json.dumps(studies[:2])[:-1] + ', {"a": "' + "x" * 300_000)
    documents, bad = read(path, "clinical_trials", max_document_bytes=100_000)
    assert (len(documents), bad) == (2, [(str(path), "document too long")])


def test_studies_are_read_from_the_zip_that_the_registry_gives(tmp_path):
    path = tmp_path / "ctg-studies.json.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for study in jsons("NCT1", "NCT2"):
            archive.writestr(
                study["protocolSection"]["identificationModule"]["nctId"] + ".json",
                json.dumps(study),
            )
        archive.writestr("README.txt", "about")
    documents, bad = read(path, "clinical_trials")
    assert ([d.id for d in documents], bad) == (["NCT1", "NCT2"], [])


TMX = """\
<?xml version="1.0" encoding="{encoding}"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header creationtool="x" segtype="sentence" srclang="en" adminlang="en"/>
<body>
<tu tuid="1"><note>n</note><tuv xml:lang="en"><seg>Take one.</seg></tuv>
  <tuv xml:lang="es-ES"><seg>Tome <bpt i="1">&lt;b&gt;</bpt><hi>uno</hi><ept i="1">&lt;/b&gt;</ept>.
  </seg></tuv></tu>
<tu><tuv lang="EN"><seg>Store cool.</seg></tuv>
  <tuv lang="ES"><seg>Conservar en frío.</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>Only here.</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>End.</seg></tuv><tuv xml:lang="es"><seg>Fin.</seg></tuv></tu>
</body></tmx>
"""


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16", "ISO-8859-1"])
def test_of_a_translation_memory_one_language_is_taken(tmp_path, encoding):
    path = tmp_path / "EMEA.en-es.tmx"
    path.write_bytes(TMX.format(encoding=encoding).encode(encoding))
    documents, bad = read(path, "tmx", language="es")
    assert not bad
    assert [(d.text, d.id, d.language) for d in documents] == [
        ("Tome uno.", "EMEA.en-es.tmx:1", "es"),
        ("Conservar en frío.", "EMEA.en-es.tmx:2", "es"),
        ("Fin.", "EMEA.en-es.tmx:4", "es"),
    ]
    grouped, _ = read(path, "tmx", language="es", segments_per_document=2)
    assert [d.text for d in grouped] == ["Tome uno.\nConservar en frío.", "Fin."]


def test_a_translation_memory_without_the_language_is_reported(tmp_path):
    (tmp_path / "a.tmx").write_text(TMX.format(encoding="UTF-8"))
    (bad,) = READERS["tmx"](source="s", language="it")(str(tmp_path / "a.tmx"))
    assert (bad.reason, bad.detail) == (
        "no records of this format",
        "no 'it' in it, but EN, ES, en, es, es-ES",
    )


WIKI = textwrap.dedent("""\
    <mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="es">
    <siteinfo><sitename>Wikipedia</sitename><dbname>eswiki</dbname>
      <base>https://es.wikipedia.org/wiki/Wikipedia:Portada</base>
      <namespaces><namespace key="0" case="first-letter"/>
        <namespace key="6" case="first-letter">Archivo</namespace>
        <namespace key="14" case="first-letter">Categoría</namespace></namespaces></siteinfo>
    {pages}</mediawiki>
""")
PAGE = """<page><title>{title}</title><ns>{ns}</ns><id>{id}</id>{redirect}
<revision><id>1</id><model>wikitext</model><text bytes="9" xml:space="preserve">{text}</text>
</revision></page>
"""
ASTHMA = """\
{{Ficha|nombre=Asma}}
El '''asma''' es una [[enfermedad]] del [[aparato respiratorio|sistema respiratorio]].&lt;ref&gt;x
&lt;/ref&gt; Dosis: {{unidad|5|mg}}&amp;nbsp;al día.&lt;!-- nota --&gt;

== Causas ==
[[Archivo:A.jpg|thumb|Un [[pulmón]]]]
* [https://x.org polen]
* H&lt;sub&gt;2&lt;/sub&gt;O
{| class="wikitable"
|-
| celda
|}
== Véase también ==
=== Enlaces ===
{{Listaref}}
[[Categoría:Enfermedades_del pulmón|Asma]] [[en:Asthma]]
"""


def wiki(*pages):
    filled = (PAGE.format(**{"ns": 0, "redirect": "", "id": 1} | page) for page in pages)
    return WIKI.format(pages="".join(filled)).encode()


def test_wikipedia_gives_plain_text_of_articles_in_the_categories(tmp_path):
    pytest.importorskip("mwparserfromhell")
    path = tmp_path / "eswiki-latest-pages-articles.xml.bz2"
    pages = wiki(
        {"title": "Asma", "text": ASTHMA},
        {"title": "Asma bronquial", "text": ASTHMA, "redirect": '<redirect title="Asma" />'},
        {"title": "Discusión:Asma", "text": ASTHMA, "ns": 1},
        {"title": "Río &amp; mar", "text": "Agua. [[category: Ríos]]"},
        {"title": "Ave", "text": "Vuela. [[:Categoría:Enfermedades]] [[Categoría:Aves]]"},
    )
    # Two streams, as multistream dumps have it.
    path.write_bytes(bz2.compress(pages[:700]) + bz2.compress(pages[700:]))
    documents, bad = read(path, "wikipedia", categories=("^enfermedades", "^Río"))
    assert not bad
    assert [(d.id, d.url, d.language, d.licence) for d in documents] == [
        ("Asma", "https://es.wikipedia.org/wiki/Asma", "es", "CC BY-SA 4.0"),
        ("Río & mar", "https://es.wikipedia.org/wiki/R%C3%ADo_%26_mar", "es", "CC BY-SA 4.0"),
    ]
    assert documents[0].text.splitlines() == [
        "El asma es una enfermedad del sistema respiratorio. Dosis: 5 mg al día.",
        "Causas",
        "polen",
        "H2O",
    ]
    assert documents[1].text == "Agua."
    assert [d.id for d in read(path, "wikipedia")[0]] == ["Asma", "Río & mar", "Ave"]
