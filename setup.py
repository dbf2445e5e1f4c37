"""Installs medmt5; `gin_configs` and `tasks` become `medmt5.gin_configs` and `medmt5.tasks`."""

import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "medmt5/__init__.py").read_text()).group(1)

# Pins that install together on Python 3.11 and 3.12. Newer jax and flax work too (GPU machines).
BASE = [
    "jax>=0.10.2",
    "flax>=0.12.8",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12.8",
    "etils[epath]",
    "gin-config==0.5.0",
    "filelock",
    "jaxtyping",
    "numpy",
    # With 0.2.3 `import seqio` fails while pip check stays silent.
    "sentencepiece>=0.2.1,<0.2.3",
    "tensorboardX",
]
DATA = [
    "seqio==0.0.20",
    "tensorflow==2.21.0",
    "tensorflow-text==2.21.1",
    "tensorflow-datasets==4.9.10",
]
QWIX = "qwix>=0.1.8,<0.2"
METRICS = ["nltk", "jieba", "janome"]
CORPUS = [
    "ftfy>=6.3",
    "lxml>=5",
    "lxml_html_clean",  # which trafilatura imports from lxml 5.2 on
    "mwparserfromhell>=0.6.6",
    "py3langid>=0.4",
    "pyahocorasick>=2.1",
    "pyarrow>=15",
    "pypdf>=5",
    "trafilatura>=2.0",
    "warcio>=1.7.5",
    "zstandard>=0.23",
]
EXTRAS = {
    "data": DATA,
    "tpu": ["jax[tpu]>=0.10.2"],
    "gpu": ["jax[cuda13]>=0.10.2"],
    # The compiler for TPUs, which `medmt5 plan` uses where there is no TPU.
    "plan": ["jax[tpu]>=0.10.2"],
    # T5X itself, for gin_configs/t5x. It brings airio, jestimator, clu and seqio by git URL: give
    # it an environment of its own.
    "t5x": [*DATA, "t5x @ git+https://github.com/google-research/t5x", "tensorboard"],
    "spacy": ["spacy>=3.5"],
    "hf": ["transformers>=5", "torch", "safetensors", "peft>=0.21"],
    "corpus": CORPUS,
    # Beside seqio it works while sentencepiece is below 0.2.3: it moves protobuf from 7 to 6.
    "beam": [*CORPUS, "apache-beam>=2.77"],
    "int8": [QWIX],
    # What MMedBench's published scores cut words with.
    "metrics": METRICS,
    "test": [
        *DATA,
        *METRICS,
        *CORPUS,
        QWIX,
        "pytest",
        "pytest-xdist",
        "hypothesis",
        "beartype",
        "nervaluate",
        "rouge",
        "rouge-score",
        "sacrebleu",
        "seqeval",
        "build",
        "ruff==0.14.5",
    ],
}

setup(
    name="medmt5",
    version=VERSION,
    description="Multilingual medical text-to-text models in JAX/Flax: pre-train, fine-tune, label",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        "medmt5",
        "medmt5.adapters",
        "medmt5.book",
        "medmt5.convert",
        "medmt5.corpus",
        "medmt5.corpus.readers",
        "medmt5.corpus.steps",
        "medmt5.data",
        "medmt5.formats",
        "medmt5.metrics",
        "medmt5.models",
        "medmt5.plan",
        "medmt5.t5x_gin",
        "medmt5.gin_configs",
        "medmt5.tasks",
        "medmt5.sample_data",
    ],
    package_dir={"medmt5.gin_configs": "gin_configs", "medmt5.tasks": "tasks"},
    package_data={
        "medmt5.book": ["published/*.json"],
        "medmt5.corpus": ["examples/*.toml"],
        "medmt5.corpus.steps": ["keywords/*.txt"],
        "medmt5.gin_configs": ["**/*.gin"],
        "medmt5.sample_data": ["**/*.jsonl", "**/*.tsv", "**/*.model", "*.md"],
    },
    install_requires=BASE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["medmt5=medmt5.cli:main"]},
)
