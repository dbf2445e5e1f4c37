"""Scores of predictions: spans, choices and texts, with intervals and paired tests.

    records = read_predictions("runs/eval/headqa_es-constrained.jsonl")
    score(records)                              # {"accuracy": 61.3, ...}
    interval(METRICS["accuracy"], records)      # (59.4, 63.1)
    paired_test(METRICS["accuracy"], records, others).p

Needs nothing beyond NumPy, but for metrics that say so: BERTScore, and those by jieba, Janome or
NLTK. A metric of your own is a `Metric`, and `score`, `interval` and `paired_test` take it.
"""

from medmt5.metrics.bertscore import bert_score
from medmt5.metrics.metric import Metric
from medmt5.metrics.records import kind_of, read_predictions
from medmt5.metrics.registry import METRICS, intervals, macro, micro, score
from medmt5.metrics.significance import Comparison, interval, paired_test
from medmt5.metrics.spans import precision_recall_f1, span_f1

__all__ = [
    "METRICS",
    "Comparison",
    "Metric",
    "bert_score",
    "interval",
    "intervals",
    "kind_of",
    "macro",
    "micro",
    "paired_test",
    "precision_recall_f1",
    "read_predictions",
    "score",
    "span_f1",
]
