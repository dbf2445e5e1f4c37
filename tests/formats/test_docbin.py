"""spaCy's DocBin; skipped without spaCy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import documents, gold, labelled, round_trip, unscored

from medmt5.formats import docbin, exchange

spacy = pytest.importorskip("spacy")


@given(st.lists(documents(), max_size=3))
def test_a_file_reads_back_with_ids_and_scores(tmp_path_factory, drawn):
    drawn = [*(d._replace(id=f"n {i}") for i, d in enumerate(drawn)), labelled("")]
    path = tmp_path_factory.mktemp("docbin") / "a.spacy"
    read = round_trip(drawn, "docbin", path)
    assert [d._replace(words=()) for d in read] == drawn


def test_a_doc_has_the_words_of_the_document_and_spacys_own_spaces():
    document = labelled("no  fever, 急性阑尾炎", (4, 9, "Sign"), (13, 16, "Disease"))
    doc = docbin.to_doc(
        document._replace(words=((0, 2), (4, 9), (9, 10), (11, 13), (13, 16))),
        spacy.vocab.Vocab(),
    )
    assert [token.text_with_ws for token in doc] == ["no", "  ", "fever", ", ", "急性", "阑尾炎"]
    assert [(e.text, e.label_) for e in doc.ents] == [("fever", "Sign"), ("阑尾炎", "Disease")]
    assert unscored(document)[0] == doc.text


def test_spacy_itself_reads_the_file(tmp_path):
    path = tmp_path / "a.spacy"
    exchange.write_documents([labelled("a fever", (2, 7, "Sign"))], "docbin", path)
    (doc,) = spacy.tokens.DocBin().from_disk(path).get_docs(spacy.blank("en").vocab)
    assert [(e.text, e.label_) for e in doc.ents] == [("fever", "Sign")]


def test_span_groups_are_counted(tmp_path):
    doc = docbin.to_doc(labelled("a fever"), spacy.vocab.Vocab())
    doc.spans["sc"] = [doc[0:2], doc[1:2]]
    path = tmp_path / "a.spacy"
    spacy.tokens.DocBin(docs=[doc]).to_disk(path)
    assert gold("docbin", path)[1].other == {"spans of group 'sc'": 2}


def test_a_file_of_something_else_and_a_missing_one_are_named(tmp_path):
    (tmp_path / "a").write_text("fever")
    with pytest.raises(ValueError, match="a is not a DocBin"):
        gold("docbin", tmp_path / "a")
    with pytest.raises(ValueError, match="b: cannot be read"):
        gold("docbin", tmp_path / "b")
