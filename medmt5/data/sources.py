"""Data sets with a stable public source: where each is, at which commit, its licence, whom to cite.

Another set is one entry of `SETS`. What is in the files is read by `upstream`.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from medmt5.data import upstream

RAW = "https://raw.githubusercontent.com"
Files = Mapping[str, Mapping[str, Sequence[str]]]  # language -> split -> paths in the repository


class Set(NamedTuple):
    """A data set.

    Attributes:
      kind: labelling or questions.
      file: its name within those of the files that tasks read, `<lang>-<file>-<split>`.
      about: what is in it.
      repository: on GitHub, `owner/name`.
      commit: of the repository.
      files: what each split is made of.
      read: paths, language, split -> sentences (labelling) or records (questions).
      licence: what the repository says, or that it says nothing.
      citation: BibTeX.
      counts: (language, split) -> sentences or questions, and spans (labelling) or those with
        several right answers (questions), at this commit.
    """

    kind: str
    file: str
    about: str
    repository: str
    commit: str
    files: Files
    read: Callable[[Sequence[str], str, str], Iterator[Any]]
    licence: str
    citation: str
    counts: Mapping[tuple[str, str], tuple[int, int]]

    def url(self, path: str = "") -> str:
        """Of one of its files, or of the repository."""
        if not path:
            return f"https://github.com/{self.repository}/tree/{self.commit}"
        return f"{RAW}/{self.repository}/{self.commit}/{urllib.parse.quote(path)}"

    def folder(self) -> str:
        """Of its files under MEDMT5_DATA_DIR, before the language."""
        return "seqlab" if self.kind == "labelling" else "qa"

    def name(self, lang: str, split: str) -> str:
        """Of the file that tasks read."""
        return f"{lang}-{self.file}-{split}.{'tsv' if self.kind == 'labelling' else 'jsonl'}"


def _splits(path: str, **names: str) -> dict[str, tuple[str, ...]]:
    """Split -> path, with `{}` replaced by upstream's name for it."""
    return {split: (path.format(name),) for split, name in names.items()}


def _mtl(set: str) -> Files:
    return {"en": _splits(f"data/{set}-IOB/{{}}.tsv", train="train", dev="devel", test="test")}


_LANGUAGES = {"en": "English", "es": "Spanish", "fr": "French", "it": "Italian", "eu": "Basque"}
_E3C = "preprocessed_data/clinical_entities/layer1/{}/{{}}.txt"
_REVISED = "{}/{}/argument_components/manual_revision/{}_{}_{}_awesome_{{}}.tsv"


def _abstrct(topic: str, *splits: str) -> Files:
    same = {split: split for split in splits}
    files = {"en": _splits(f"EN/argument_components/original_data/{topic}_{{}}.tsv", **same)}
    for lang, translator in (("es", "deepl"), ("fr", "nllb"), ("it", "nllb")):
        path = _REVISED.format(lang.upper(), translator, lang, topic, translator)
        files[lang] = _splits(path, **same)
    return files


def _exams(*years: int) -> tuple[str, ...]:
    return tuple(f"data/{year}/{year - 1906}-{part}.jsonl" for year in years for part in "ABCDEF")


_MTL = (
    "cambridgeltl/MTL-Bioinformatics-2016",
    "df0df02fae6dbb87d88ffcf323b9096528f06f84",
)
_MTL_LICENCE = "CC BY 4.0 (the repository's LICENSE.md)"
_BC5CDR_CITATION = """@article{li2016biocreative,
  title = {{BioCreative V CDR} task corpus: a resource for chemical disease relation extraction},
  author = {Li, Jiao and Sun, Yueping and Johnson, Robin J. and Sciaky, Daniela and
    Wei, Chih-Hsuan and Leaman, Robert and Davis, Allan Peter and Mattingly, Carolyn J. and
    Wiegers, Thomas C. and Lu, Zhiyong},
  journal = {Database},
  year = {2016}
}"""
_ABSTRCT = (
    "hitz-zentroa/multilingual-abstrct",
    "8076db35aab7c3f1b5c4937eb9dcfde37ee19926",
)
_ABSTRCT_LICENCE = "none stated by the repository"
_ABSTRCT_CITATION = """@misc{yeginbergen2024crosslingual,
  title = {Cross-lingual Argument Mining in the Medical Domain},
  author = {Anar Yeginbergen and Rodrigo Agerri},
  year = {2024},
  eprint = {2301.10527},
  archivePrefix = {arXiv},
  primaryClass = {cs.CL}
}
@inproceedings{mayer2020transformer,
  title = {Transformer-based Argument Mining for Healthcare Applications},
  author = {Mayer, Tobias and Cabrio, Elena and Villata, Serena},
  booktitle = {ECAI 2020},
  year = {2020}
}"""
_CASIMEDICOS: tuple[str, str, Files] = (
    "ixa-ehu/antidote-casimedicos",
    "bead23e4bd1235440c4ff5b37ae7f2f81ea7c738",
    {
        lang: dict.fromkeys(("train", "dev", "test"), ("casimedicos-arg.tar.gz",))
        for lang in ("en", "es", "fr", "it")
    },
)
_CASIMEDICOS_LICENCE = "CC BY 4.0 (the repository's README; its LICENSE file is CC0 1.0)"
_CASIMEDICOS_CITATION = """@inproceedings{sviridova-etal-2024-casimedicos,
  title = {{CasiMedicos-Arg: A Medical Question Answering Dataset Annotated with Explanatory
    Argumentative Structures}},
  author = {Sviridova, Ekaterina and Yeginbergen, Anar and Estarrona, Ainara and
    Cabrio, Elena and Villata, Serena and Agerri, Rodrigo},
  booktitle = {Proceedings of the 2024 Conference on Empirical Methods in Natural Language
    Processing},
  year = {2024},
  pages = {18463--18475}
}"""

SETS = {
    "ncbi_disease": Set(
        "labelling",
        "ncbi-disease",
        "disease mentions in PubMed abstracts",
        *_MTL,
        _mtl("NCBI-disease"),
        upstream.read_columns,
        _MTL_LICENCE,
        """@article{dogan2014ncbi,
  title = {{NCBI} disease corpus: a resource for disease name recognition and concept
    normalization},
  author = {Do{\\u{g}}an, Rezarta Islamaj and Leaman, Robert and Lu, Zhiyong},
  journal = {Journal of Biomedical Informatics},
  volume = {47},
  year = {2014}
}""",
        {("en", "train"): (5424, 5134), ("en", "dev"): (923, 787), ("en", "test"): (940, 960)},
    ),
    "bc5cdr_disease": Set(
        "labelling",
        "bc5cdr_disease",
        "disease mentions in PubMed abstracts (BioCreative V)",
        *_MTL,
        _mtl("BC5CDR-disease"),
        upstream.read_columns,
        _MTL_LICENCE,
        _BC5CDR_CITATION,
        {("en", "train"): (4560, 4182), ("en", "dev"): (4581, 4246), ("en", "test"): (4797, 4424)},
    ),
    "bc5cdr_chemical": Set(
        "labelling",
        "bc5cdr_chemical",
        "chemical mentions in the same abstracts",
        *_MTL,
        _mtl("BC5CDR-chem"),
        upstream.read_columns,
        _MTL_LICENCE,
        _BC5CDR_CITATION,
        {("en", "train"): (4560, 5203), ("en", "dev"): (4581, 5347), ("en", "test"): (4797, 5385)},
    ),
    "diann": Set(
        "labelling",
        "diann",
        "disability mentions in Elsevier abstracts; development: the last 40 training documents",
        "gildofabregat/DIANN-IBEREVAL-2018",
        "6861c8592c379c2271b12d6b657b14a8fe1d095e",
        {
            lang: dict.fromkeys(("train", "dev", "test"), (f"DIANN_CORPUS/{name}.zip",))
            for lang, name in (("en", "english"), ("es", "spanish"))
        },
        upstream.read_diann,
        "none stated by the repository",
        """@inproceedings{fabregat2018overview,
  title = {Overview of the {DIANN} Task: Disability Annotation Task},
  author = {Fabregat, Hermenegildo and Martinez-Romo, Juan and Araujo, Lourdes},
  booktitle = {IberEval 2018},
  year = {2018}
}""",
        {
            ("en", "train"): (4241, 1219),
            ("en", "dev"): (541, 194),
            ("en", "test"): (1309, 243),
            ("es", "train"): (4115, 1156),
            ("es", "dev"): (524, 170),
            ("es", "test"): (1284, 229),
        },
    ),
    "e3c": Set(
        "labelling",
        "e3c",
        "clinical entities in case reports, layer 1; development: the last 15 % of training",
        "hltfbk/E3C-Corpus",
        "8196181eacd5d65828d324dcc63970c503aff5e9",
        {
            lang: _splits(_E3C.format(language), train="train", dev="train", test="test")
            for lang, language in _LANGUAGES.items()
        },
        upstream.read_e3c,
        "CC BY-NC (the repository's README)",
        """@inproceedings{magnini2020e3c,
  title = {The {E3C} Project: Collection and Annotation of a Multilingual Corpus of Clinical Cases},
  author = {Magnini, Bernardo and Altuna, Bego{\\~n}a and Lavelli, Alberto and
    Speranza, Manuela and Zanoli, Roberto},
  booktitle = {CLiC-it 2020},
  year = {2020}
}""",
        {
            ("en", "train"): (569, 347),
            ("en", "dev"): (100, 90),
            ("en", "test"): (851, 516),
            ("es", "train"): (387, 422),
            ("es", "dev"): (68, 87),
            ("es", "test"): (679, 800),
            ("fr", "train"): (428, 463),
            ("fr", "dev"): (76, 106),
            ("fr", "test"): (605, 695),
            ("it", "train"): (383, 306),
            ("it", "dev"): (68, 39),
            ("it", "test"): (673, 460),
            ("eu", "train"): (1157, 663),
            ("eu", "dev"): (204, 172),
            ("eu", "test"): (1765, 1054),
        },
    ),
    "neoplasm": Set(
        "labelling",
        "neoplasm",
        "AbstRCT: premises and claims in abstracts of trials on neoplasms; en original, es DeepL, "
        "fr and it NLLB, projections corrected by hand",
        *_ABSTRCT,
        _abstrct("neoplasm", "train", "dev", "test"),
        upstream.read_columns,
        _ABSTRCT_LICENCE,
        _ABSTRCT_CITATION,
        {
            ("en", "train"): (4404, 2266),
            ("en", "dev"): (679, 326),
            ("en", "test"): (1251, 686),
            ("es", "train"): (4404, 2265),
            ("es", "dev"): (679, 326),
            ("es", "test"): (1251, 686),
            ("fr", "train"): (4404, 2266),
            ("fr", "dev"): (679, 326),
            ("fr", "test"): (1251, 686),
            ("it", "train"): (4405, 2265),
            ("it", "dev"): (679, 326),
            ("it", "test"): (1251, 686),
        },
    ),
    "glaucoma": Set(
        "labelling",
        "glaucoma",
        "AbstRCT: as neoplasm, on glaucoma; a test set",
        *_ABSTRCT,
        _abstrct("glaucoma", "test"),
        upstream.read_columns,
        _ABSTRCT_LICENCE,
        _ABSTRCT_CITATION,
        {
            ("en", "test"): (1247, 594),
            ("es", "test"): (1247, 594),
            ("fr", "test"): (1247, 594),
            ("it", "test"): (1247, 594),
        },
    ),
    "mixed": Set(
        "labelling",
        "mixed",
        "AbstRCT: as neoplasm, on five diseases; a test set",
        *_ABSTRCT,
        _abstrct("mixed", "test"),
        upstream.read_columns,
        _ABSTRCT_LICENCE,
        _ABSTRCT_CITATION,
        {
            ("en", "test"): (1147, 600),
            ("es", "test"): (1147, 600),
            ("fr", "test"): (1147, 600),
            ("it", "test"): (1147, 600),
        },
    ),
    "casimedicos_arg": Set(
        "labelling",
        "casimedicos-arg",
        "premises and claims in Spanish medical exams and doctors' explanations, translated",
        *_CASIMEDICOS,
        upstream.read_casimedicos,
        _CASIMEDICOS_LICENCE,
        _CASIMEDICOS_CITATION,
        {
            ("en", "train"): (6278, 4988),
            ("en", "dev"): (927, 741),
            ("en", "test"): (1899, 1514),
            ("es", "train"): (6278, 4973),
            ("es", "dev"): (927, 740),
            ("es", "test"): (1899, 1510),
            ("fr", "train"): (6278, 4967),
            ("fr", "dev"): (927, 740),
            ("fr", "test"): (1898, 1501),
            ("it", "train"): (6278, 4954),
            ("it", "dev"): (927, 740),
            ("it", "test"): (1899, 1504),
        },
    ),
    "casimedicos": Set(
        "questions",
        "casimedicos",
        "the questions of casimedicos_arg, with doctors' explanations as rationales",
        *_CASIMEDICOS,
        upstream.casimedicos,
        _CASIMEDICOS_LICENCE,
        _CASIMEDICOS_CITATION,
        {
            (lang, split): (number, 0)
            for lang in ("en", "es", "fr", "it")
            for split, number in (("train", 381), ("dev", 55), ("test", 117))
        },
    ),
    "pubmedqa": Set(
        "questions",
        "pubmedqa",
        "yes, no or maybe to the question of a PubMed abstract; no training split",
        "pubmedqa/pubmedqa",
        "1cbae8e92f72f20c8d3747cbb3bf5bc53554d997",
        {
            "en": dict.fromkeys(
                ("dev", "test"), ("data/ori_pqal.json", "data/test_ground_truth.json")
            )
        },
        upstream.pubmedqa,
        "MIT (the repository's LICENSE)",
        """@inproceedings{jin2019pubmedqa,
  title = {{PubMedQA}: A Dataset for Biomedical Research Question Answering},
  author = {Jin, Qiao and Dhingra, Bhuwan and Liu, Zhengping and Cohen, William and Lu, Xinghua},
  booktitle = {EMNLP-IJCNLP 2019},
  pages = {2567--2577},
  year = {2019}
}""",
        {("en", "dev"): (500, 0), ("en", "test"): (500, 0)},
    ),
    "frenchmedmcqa": Set(
        "questions",
        "frenchmedmcqa",
        "French pharmacy exams, one or several right answers of five",
        "qanastek/FrenchMedMCQA",
        "4e36a4055245feec3218573c9f6bb1a9ecb1756b",
        {"fr": _splits("corpus/{}.json", train="train", dev="dev", test="test")},
        upstream.questions,
        "Apache-2.0 (a badge in the README; no LICENSE file)",
        """@unpublished{labrak2022frenchmedmcqa,
  title = {{FrenchMedMCQA}: A French Multiple-Choice Question Answering Dataset for Medical domain},
  author = {Labrak, Yanis and Bazoge, Adrien and Dufour, Richard and Daille, B{\\'e}atrice and
    Gourraud, Pierre-Antoine and Morin, Emmanuel and Rouvier, Mickael},
  url = {https://hal.archives-ouvertes.fr/hal-03824241},
  year = {2022}
}""",
        {("fr", "train"): (2171, 1576), ("fr", "dev"): (312, 148), ("fr", "test"): (622, 301)},
    ),
    "headqa": Set(
        "questions",
        "headqa",
        "Spanish exams for health specialists; from a copy, since the authors' is on Google Drive",
        "claudiaqw/head-qa-afi",
        "9a8c0b3be470a1d3a271dac15e9b0ef400e70d75",
        {"es": _splits("data/HEAD/{}_HEAD.json", train="train", dev="dev", test="test")},
        upstream.questions,
        "authors' code MIT; exams: reuse terms of the Spanish Ministry of Health (name the source "
        "and its date, 2019-01-14; do not distort)",
        """@inproceedings{vilares2019headqa,
  title = {{HEAD-QA}: A Healthcare Dataset for Complex Reasoning},
  author = {Vilares, David and G{\\'o}mez-Rodr{\\'\\i}guez, Carlos},
  booktitle = {ACL 2019},
  year = {2019}
}""",
        {
            ("es", "train"): (2657, 0),
            ("es", "dev"): (1366, 0),
            ("es", "test"): (2742, 0),
        },
    ),
    "igakuqa": Set(
        "questions",
        "igakuqa",
        "Japanese medical licensing exams, questions without images; train 2018 to 2020, dev 2021, "
        "test 2022",
        "jungokasai/IgakuQA",
        "2bc4c3d159cf5505f6253d24a909fbd53237e239",
        {"ja": {"train": _exams(2018, 2019, 2020), "dev": _exams(2021), "test": _exams(2022)}},
        upstream.questions,
        "none stated by the repository; questions of the Japanese Ministry of Health",
        """@misc{kasai2023evaluating,
  title = {Evaluating {GPT}-4 and {ChatGPT} on {J}apanese Medical Licensing Examinations},
  author = {Jungo Kasai and Yuhei Kasai and Keisuke Sakaguchi and Yutaro Yamada and
    Dragomir Radev},
  year = {2023}
}""",
        {
            ("ja", "train"): (862, 131),
            ("ja", "dev"): (299, 45),
            ("ja", "test"): (298, 47),
        },
    ),
    "rumeddanet": Set(
        "questions",
        "rumeddanet",
        "yes or no to a question on a Russian medical text",
        "sb-ai-lab/MedBench",
        "dd57f4f4f11aebe4fd18011b109d96b6d331a1bf",
        {"ru": _splits("data/RuMedDaNet/{}_v1.jsonl", train="train", dev="dev", test="test")},
        upstream.questions,
        "Apache-2.0 (the repository's LICENSE)",
        """@misc{blinov2022rumedbench,
  title = {{RuMedBench}: A Russian Medical Language Understanding Benchmark},
  author = {Pavel Blinov and Arina Reshetnikova and Aleksandr Nesterov and Galina Zubkova and
    Vladimir Kokh},
  year = {2022},
  eprint = {2201.06499},
  archivePrefix = {arXiv},
  primaryClass = {cs.CL}
}""",
        {("ru", "train"): (1052, 0), ("ru", "dev"): (256, 0), ("ru", "test"): (256, 0)},
    ),
}
