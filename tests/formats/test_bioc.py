"""BioC JSON: passages, annotations, and the containers they come in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import documents, gold, labelled, round_trip

from medmt5.formats import bioc

# As PubTator exports an article; the abstract begins after one character.
ARTICLE = {
    "id": "17",
    "passages": [
        {
            "offset": 0,
            "infons": {"type": "title"},
            "text": "Gout 😀",
            "annotations": [
                {
                    "id": "1",
                    "infons": {"type": "Disease", "identifier": "MESH:D006073"},
                    "text": "Gout",
                    "locations": [{"offset": 0, "length": 4}],
                }
            ],
        },
        {
            "offset": 7,
            "infons": {"type": "abstract"},
            "sentences": [
                {"offset": 7, "text": "Renal and"},
                {
                    "offset": 17,
                    "text": "hepatic failure.",
                    "annotations": [
                        {
                            "id": "2",
                            "infons": {"type": "Disease"},
                            "text": "Renal failure",
                            "locations": [
                                {"offset": 7, "length": 5},
                                {"offset": 25, "length": 7},
                            ],
                        },
                        {
                            "id": "3",
                            "infons": {"type": "Disease", "score": "0.5"},
                            "text": "hepatic failure",
                            "locations": [{"offset": 17, "length": 15}],
                        },
                    ],
                },
            ],
            "relations": [{"id": "R1"}],
        },
    ],
}


def write(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"source": "", "documents": [ARTICLE]}, indent=1),
        json.dumps({"PubTator3": [ARTICLE]}),
        json.dumps([ARTICLE]),
        json.dumps(ARTICLE),
        "\n" + json.dumps(ARTICLE) + "\n\n",
    ],
)
def test_passages_sentences_and_every_container_are_read(tmp_path, content, caplog):
    (document,), report = gold("bioc", write(tmp_path, content))
    assert document.id == "17" and document.text == "Gout 😀\nRenal and\nhepatic failure."
    assert [e[:4] for e in document.entities] == [
        (0, 4, "Disease", "Gout"),
        (17, 32, "Disease", "hepatic failure"),
    ]
    assert [e.score for e in document.entities] == [1.0, 0.5]
    assert [lost.why for lost in report.lost] == ["discontinuous"]
    assert "(17) 2: Disease 7-12 25-32 is discontinuous: not kept" in caplog.text
    assert +report.other == {"infons 'identifier'": 1, "relations": 1}


def test_documents_on_lines_of_their_own_are_read_one_by_one(tmp_path):
    path = write(tmp_path, f"{json.dumps(ARTICLE)}\n{{}}\n{json.dumps(ARTICLE)}\n")
    with pytest.raises(ValueError, match=r"a\.json:2: not BioC JSON \(neither documents nor"):
        gold("bioc", path)
    read, report = gold("bioc", path, skip_bad=True)
    assert len(read) == 2 and report.skipped == 1


@given(st.lists(documents(), max_size=3))
def test_a_collection_reads_back_with_ids_and_scores(tmp_path_factory, drawn):
    drawn = [d._replace(id=f"n {i}") for i, d in enumerate(drawn)]
    path = tmp_path_factory.mktemp("bioc") / "a.json"
    assert round_trip(drawn, "bioc", path) == drawn
    assert set(json.loads(path.read_text())) == {"source", "date", "key", "infons", "documents"}


def test_a_document_by_hand():
    passage = json.loads(bioc.to_bioc(labelled("a 😀 fever", (4, 9, "Sign")), 3))
    assert passage["id"] == "3"
    assert passage["passages"][0]["annotations"] == [
        {
            "id": "T1",
            "infons": {"type": "Sign", "score": "0.5000"},
            "text": "fever",
            "locations": [{"offset": 4, "length": 5}],
        }
    ]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"passages": [{"offset": 3, "text": "a"}, {"offset": 3, "text": "b"}]}, "come before it"),
        ({"passages": [{"offset": 10**9, "text": "a"}]}, "must count Unicode code points"),
        ({"passages": [{"text": "a"}]}, "not BioC"),
        ({"passages": [{"offset": 0, "text": "a", "annotations": [{}]}]}, "not BioC"),
        ({"passages": None}, "not BioC"),
    ],
)
def test_a_broken_document_is_named_or_skipped(tmp_path, change, fault):
    path = write(tmp_path, json.dumps([ARTICLE | change, ARTICLE]))
    with pytest.raises(ValueError, match=rf"a\.json:1 \(17\): .*{fault}"):
        gold("bioc", path)
    read, report = gold("bioc", path, skip_bad=True)
    assert len(read) == 1 and report.skipped == 1


@pytest.mark.parametrize("content", ["", "fever", "<xml/>", '{"documents": 5}'])
def test_a_file_of_something_else_is_named(tmp_path, content):
    with pytest.raises(ValueError, match=r"a\.json.*: not BioC JSON .*; give a collection"):
        gold("bioc", write(tmp_path, content))
