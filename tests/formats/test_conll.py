"""CoNLL files: what is read, and where each fault is reported."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import documents, gold, labelled, round_trip

from medmt5.formats import conll
from medmt5.formats.conll import Sentence, check_tag, read_conll


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "notes.tsv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def message(path, **options):
    with pytest.raises(ValueError) as error:
        list(read_conll(path, **options))
    return str(error.value).replace(path, "notes.tsv")


def test_sentences_have_words_tags_and_the_line_they_begin_on(write):
    path = write("Acute\tB-Disease\npain\tI-Disease\n\n\nNo\tO\n")
    assert list(read_conll(path)) == [
        Sentence(("Acute", "pain"), ("B-Disease", "I-Disease"), 1),
        Sentence(("No",), ("O",), 5),
    ]


def test_byte_order_mark_windows_line_ends_and_a_missing_last_line_end_are_read(write):
    path = write("\ufeffNo\tO\r\n\r\nYes\tO")
    assert [s.words for s in read_conll(path)] == [("No",), ("Yes",)]


def test_only_a_line_feed_ends_a_line(write):
    # U+2028, U+0085 and a form feed end lines for str.splitlines.
    path = write("a\u2028b\tO\nc\u0085d\tO\ne\x0cf\tO\n")
    assert [s.words for s in read_conll(path)] == [("a\u2028b", "c\u0085d", "e\x0cf")]


def test_lines_of_white_space_separate_sentences(write):
    assert len(list(read_conll(write("a\tO\n \t \nb\tO\n")))) == 2


@pytest.mark.parametrize("row", ["pain", "pain O", "pain\t", "pain\tO\tO", "\tO"])
def test_a_row_without_exactly_a_word_and_a_tag_is_reported(write, row):
    text = message(write(f"Acute\tO\n{row}\n"))
    assert text.startswith(f"notes.tsv:2: {row!r} has ")
    assert "a line is word<TAB>tag" in text


@pytest.mark.parametrize("tag", ["X-Disease", "B", "I-", "Disease", "B_Disease", "o", "U-", "L"])
def test_a_tag_that_is_not_iob_is_reported(write, tag):
    text = message(write(f"a\tO\n\nb\t{tag}\n"))
    assert text == f"notes.tsv:3: tag {tag!r} is not IOB2; use O, B-LABEL or I-LABEL"


def test_an_unknown_label_is_reported_with_the_known_ones(write):
    path = write("a\tB-Disease\nb\tI-Drug\n")
    text = message(path, labels=("Disease", "Chemical"))
    assert text == "notes.tsv:2: label 'Drug' is unknown; this task has Disease, Chemical"
    assert len(list(read_conll(path))) == 1  # accepted where no labels are given


def test_a_label_may_hold_a_hyphen():
    check_tag("B-Sign-or-symptom", ("Sign-or-symptom",))


def test_invalid_utf8_is_reported_with_line_and_byte(write):
    text = message(write(b"a\tO\nf\xe9vrier\tO\n"))
    assert text.startswith("notes.tsv:2: invalid UTF-8 at byte 2 of the line")
    assert text.endswith("convert the file to UTF-8")


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", "  \n"])
def test_a_file_without_sentences_is_reported(write, content):
    assert message(write(content)) == "notes.tsv: no sentences; a line is word<TAB>tag"


def test_a_missing_file_is_reported(tmp_path):
    path = str(tmp_path / "none.tsv")
    with pytest.raises(ValueError, match=r"none\.tsv: cannot be read \(No such file"):
        list(read_conll(path))


# Writing


def test_adjacent_entities_of_one_label_each_begin_with_b():
    document = labelled(
        "acute renal failure fever .",
        (0, 19, "Disease"),
        (20, 25, "Disease"),
        words=((0, 5), (6, 11), (12, 19), (20, 25), (26, 27)),
    )
    assert conll.to_conll(document) == (
        "acute\tB-Disease\nrenal\tI-Disease\nfailure\tI-Disease\nfever\tB-Disease\n.\tO\n\n"
    )


def test_without_words_text_is_cut_at_whitespace_and_at_entity_edges():
    document = labelled("un\u00a0été,\nchaud", (3, 6, "T"), (6, 13, "U"))
    assert conll.to_conll(document) == "un\tO\nété\tB-T\n,\tB-U\nchaud\tI-U\n\n"


def test_words_without_spaces_between_them_are_tagged():
    document = labelled("急性阑尾炎入院", (2, 5, "Disease"), words=((0, 2), (2, 5), (5, 7)))
    assert conll.to_conll(document) == "急性\tO\n阑尾炎\tB-Disease\n入院\tO\n\n"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (labelled("fevers", (0, 5, "S"), words=((0, 6),)), "cuts the word 'fevers'"),
        (labelled("a\tb", words=((0, 3),)), r"word \(0, 3\) 'a\\tb'"),
        (labelled("ab c", words=((0, 2), (1, 4))), "in order"),
        (labelled("a b", (2, 3, "S"), words=((0, 1),)), "1 of 1 entities cover no word"),
        (labelled("a b", (0, 1, "S"), words=((2, 3),)), "1 of 1 entities cover no word"),
        (labelled("a b", (1, 2, "S")), "cover no word"),
    ],
)
def test_conll_refuses_what_it_cannot_hold(document, message):
    with pytest.raises(ValueError, match=message):
        conll.to_conll(document)


@given(documents().filter(lambda d: not any(e.text.isspace() for e in d.entities)))
def test_words_and_entities_read_back(tmp_path_factory, document):
    try:
        text = conll.to_conll(document)
    except ValueError:  # an entity of white space alone, or with some at its edge
        return
    if text == "\n":
        return  # without words: CoNLL has no empty documents
    path = tmp_path_factory.mktemp("conll") / "a.tsv"
    (read,) = round_trip([document], "conll", path)
    words = [document.text[a:b] for a, b in conll.plain_words(document)]
    assert [read.text[a:b] for a, b in read.words] == words
    assert conll.to_conll(read) == text
    assert [e.label for e in read.entities] == [e.label for e in document.entities]


# Schemes

# One sentence, two adjacent entities of one label, and one of another, of one word.
WORDS = "acute renal failure fever aspirin .".split()
SCHEMES = {
    "iob1": ["I-D", "I-D", "I-D", "B-D", "I-C", "O"],
    "iob2": ["B-D", "I-D", "I-D", "B-D", "B-C", "O"],
    "bilou": ["B-D", "I-D", "L-D", "U-D", "U-C", "O"],
    "bioes": ["B-D", "I-D", "E-D", "S-D", "S-C", "O"],
}


def rows(*sentences):
    return "\n".join("".join(f"w\t{tag}\n" for tag in tags) for tags in sentences)


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("said", [True, False])
def test_all_schemes_read_alike_said_or_found(write, name, said):
    scheme = name.removesuffix("1").removesuffix("2") if said else "auto"
    sentence, again = read_conll(write(rows(SCHEMES[name], SCHEMES[name])), scheme=scheme)
    assert list(sentence.tags) == list(again.tags) == SCHEMES["iob2"]


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["", "A", "B"])), max_size=6))
def test_any_spans_mean_the_same_in_every_scheme(stretches):
    tags = {name: [] for name in SCHEMES}
    before = ""
    for length, label in stretches:
        inner = [f"I-{label}"] * (length - 1) if label else ["O"] * length
        if label:
            first = f"B-{label}" if before == label else f"I-{label}"
            tags["iob1"] += [first, *inner]
            tags["iob2"] += [f"B-{label}", *inner]
            for name, last, single in (("bilou", "L", "U"), ("bioes", "E", "S")):
                many = [f"B-{label}", *inner[:-1], f"{last}-{label}"]
                tags[name] += many if inner else [f"{single}-{label}"]
        else:
            for found in tags.values():
                found += inner
        before = label
    for name, found in tags.items():
        result, odd = conll.to_iob2(found)
        assert result == tags["iob2"]
        assert odd is None or name.startswith("iob")


@pytest.mark.parametrize(
    ("tags", "scheme", "said"),
    [
        (["B-D", "O", "U-D"], "auto", "line 3, 'U-D', is bilou"),
        (["B-D", "L-D", "S-D"], "auto", "3, 'S-D', is bioes, but line 2, 'L-D', is bilou"),
        (["L-D"], "auto", "the entity at line 1 has no B-"),
        (["B-D", "L-D", "I-D"], "auto", "the entity at line 3 has no B- or no end"),
        (["B-D"], "bilou", "as only iob has it, but scheme='bilou' was given"),
        (["S-D"], "iob", "is bioes, but scheme='iob' was given"),
        (["B-D", "I-D"], "bioes", "the entity at line 1 has no B- or no end"),
    ],
)
def test_a_file_in_two_schemes_is_explained(write, tags, scheme, said):
    assert said in message(write(rows(tags)), scheme=scheme)


def test_a_later_sentence_in_another_scheme_names_both_lines(write):
    text = message(write(rows(["B-D", "O"], ["U-D"])))
    assert text == (
        "notes.tsv:4: line 4, 'U-D', is bilou, but the entity at line 1 has no B- or no end, as "
        "only iob has it; one of both is wrong: correct it"
    )


def test_an_unknown_scheme_is_answered_with_the_known_ones(write):
    assert "use one of auto, iob, bilou, bioes" in message(write("a\tO\n"), scheme="iob2")


# Skipping, documents


def test_a_broken_sentence_is_skipped_whole_and_the_rest_goes_on(write, caplog):
    path = write(
        b"a\tO\nb\nc\tO\n\nd\tB-D\n\ne\tO\nf\xe9\tO\ng\tO\n\nU\tU-D\n\nh\tI-D\n\n\xff\ni\tO\n\nj\tO\n\xff\n"
    )
    read, report = gold("conll", path, skip_bad=True)
    assert [document.text for document in read] == ["d", "h"]
    assert report.skipped == 5 and report.entities == 2
    for line in (2, 8, 11, 15, 19):
        assert f"notes.tsv:{line}: " in caplog.text


def test_sentences_are_documents_with_their_words(write):
    (document,), _ = gold("conll", write("急性\tO\n阑尾 炎\tB-D\n😀\tI-D\n.\tB-E\n"))
    assert document.text == "急性 阑尾 炎 😀 ."
    assert document.words == ((0, 2), (3, 7), (8, 9), (10, 11))
    assert [e[:4] for e in document.entities] == [(3, 9, "D", "阑尾 炎 😀"), (10, 11, "E", ".")]
