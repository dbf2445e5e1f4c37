"""`medmt5 label` as a stream: order, memory, resuming, signals, pipes, wrong input.

Most of it needs no model: a stand-in marks every `fever`. What a run of the real one must keep,
byte for byte, is tested at the end.
"""

import io
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc

import pytest
import tiny
from labelled import labelled
from stand_in import CHUNK, PERIOD, StandIn

from medmt5 import label, launch
from medmt5.formats import exchange
from medmt5.formats.documents import Document
from medmt5.formats.gold import Report
from medmt5.labeller import Labeller

LINES = [f"{i} a fever\u2028 and fever 😀" for i in range(43)]
TEXT = "".join(line + "\n" for line in LINES).encode()


@pytest.fixture
def run(monkeypatch, capfdbinary, caplog):
    """Run the command in this process: exit status, output and messages."""

    def run(*arguments, given=TEXT, delay=0.0):
        stdin, stdout = io.BufferedReader(io.BytesIO(given)), io.BytesIO()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stdin))
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stdout, encoding="latin-1"))
        monkeypatch.setattr(label, "CHUNK", CHUNK)
        monkeypatch.setattr("medmt5.progress.PERIOD", PERIOD)
        monkeypatch.setattr(StandIn, "delay", delay)
        monkeypatch.setattr(Labeller, "load", lambda path, **options: StandIn())
        monkeypatch.setattr(launch, "setup_logging", lambda: None)
        caplog.set_level("INFO", "medmt5")
        caplog.clear()
        status = 0
        try:
            label.main(["-m", "none", *map(str, arguments)])
        except SystemExit as end:
            status = end.code
        messages = caplog.text + capfdbinary.readouterr().err.decode()
        return status, stdout.getvalue(), messages

    return run


def start(*arguments, delay=0.0):
    """The command in a process of its own, for what signals and pipes do."""
    tests = os.path.dirname(os.path.abspath(__file__))
    program = os.path.join(tests, "helpers", "stand_in.py")
    command = [sys.executable, program, str(delay), *map(str, arguments)]
    pipe = subprocess.PIPE
    env = tiny.subprocess_env(PYTHONPATH=os.path.dirname(tests))
    return subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, stderr=pipe)


def wait_for(path, size):
    end = time.monotonic() + 60
    while not (path.exists() and path.stat().st_size >= size):
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def whole(run):
    code, out, err = run()
    assert code == 0, err
    return out


@pytest.fixture
def notes(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(TEXT)
    return path


# Streaming


def test_every_document_is_written_in_order_and_the_rate_is_told(whole):
    records = [json.loads(line) for line in whole.decode().splitlines()]
    assert [record["text"] for record in records] == LINES
    assert all(len(record["entities"]) == 2 for record in records)


def test_progress_tells_share_and_time_left_where_the_size_is_known(run, notes):
    code, _, err = run(notes, delay=0.1)
    assert code == 0 and "%  ETA 0:0" in err and "43 documents labelled, " in err
    code, _, err = run(delay=0.1)
    assert code == 0 and "ETA" not in err and " documents  " in err


@pytest.mark.parametrize("format", ["jsonl", "html", "bioc"])
def test_memory_does_not_grow_with_the_number_of_documents(tmp_path, format):
    def peak(count, folder):
        documents = (Document(f"fever {i} " + "x" * 1000, ()) for i in range(count))
        progress = label._Progress(Report(), None)
        tracemalloc.start()
        out = exchange.writer(format, tmp_path / folder)
        label.label_stream(StandIn(), documents, out, progress)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert progress.documents == count
        return used

    peak(10, "first")  # what is loaded late
    # Held are a chunk and the one before it, of 256 kB each; eight more would be 2 MB.
    assert peak(11 * label.CHUNK, "many") < peak(3 * label.CHUNK, "few") + 400_000


# Options


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (("--min-score", 0.5), 86),
        (("--min-score", 0.51), 0),
    ],
)
def test_spans_are_kept_by_score(run, arguments, count):
    code, out, err = run(*arguments)
    assert code == 0, err
    assert sum(len(json.loads(line)["entities"]) for line in out.splitlines()) == count


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--min-score", "nan"), "not a number from 0 to 1"),
        (("--batch-size", "0"), "'0' is neither a positive number nor auto"),
        (("--batch-size", "some"), "'some' is neither a positive number nor auto"),
        (("--resume",), "--resume goes on with a file; give --output"),
        (("--format", "offsets"), "give --output FOLDER"),
        (("--format", "docbin"), "give --output FILE"),
        (("--input-format", "brat"), "cannot be read from standard input; name the folder"),
        (("/none.txt",), "/none.txt: cannot be read (no such file)"),
        (("--format", "html", "--resume", "-o", "/tmp/x"), "html output cannot be resumed"),
        (("-o", "/none/x"), "/none/x: cannot be written (No such file or directory)"),
    ],
)
def test_wrong_options_end_with_status_2_and_what_to_do(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, b"") and message in err and "Traceback" not in err


def test_the_input_is_not_overwritten(run, notes):
    code, _, err = run(notes, "-o", notes)
    assert code == 2 and "is the input; give another --output" in err
    assert notes.read_bytes() == TEXT


@pytest.mark.parametrize("format", [f for f in exchange.READERS if f not in ("text", "docbin")])
def test_texts_of_every_format_are_labelled_anew_and_their_gold_is_counted(run, tmp_path, format):
    source = tmp_path / "in"
    gold = [labelled("a fever", (0, 1, "Old"), id="n1"), labelled("no fever x")]
    exchange.write_documents(gold, format, source)
    code, out, err = run("--input-format", format, source)
    assert code == 0, err
    texts = {
        (r["text"], *(e["text"] for e in r["entities"])) for r in map(json.loads, out.splitlines())
    }
    assert texts == {("a fever", "fever"), ("no fever x", "fever")}
    assert "1 annotations left aside" in err
    kept = format in ("jsonl", "brat", "offsets", "bioc", "pubtator", "html")
    assert (b'"id": "n1"' in out) == kept


# Wrong input


def test_a_binary_file_is_named(run, tmp_path):
    path = tmp_path / "notes.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00 and so on")
    code, out, err = run(path, "--skip-bad-lines")
    assert (code, out) == (2, b"")
    assert "notes.gz is a gzip archive, not UTF-8 text; convert it first" in err


def test_bad_lines_are_skipped_reported_and_counted(run):
    given = TEXT + b"caf\xe9\nmore fever\n\xff\xff\n"
    code, out, err = run("--skip-bad-lines", given=given)
    assert code == 0 and len(out.splitlines()) == 44
    assert "standard input:44: invalid UTF-8" in err and "standard input:46: invalid" in err
    assert "2 lines or records could not be read and were skipped" in err


def test_after_a_bad_line_the_same_command_goes_on(run, tmp_path, notes, whole):
    target = tmp_path / "out"
    lines = TEXT.splitlines(keepends=True)
    notes.write_bytes(b"".join([*lines[:10], b"\xff\n", *lines[10:]]))
    code, _, err = run(notes, "-o", target)
    assert code == 2 and "notes.txt:11: invalid UTF-8" in err and "--skip-bad-lines" in err
    assert whole.startswith(target.read_bytes()) and target.read_bytes().count(b"\n") == 8
    code, _, err = run(notes, "-o", target, "--resume", "--skip-bad-lines")
    assert code == 0 and target.read_bytes() == whole, err


# Interruptions


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_killed_goes_on_to_the_same_bytes(run, tmp_path, notes, whole, how):
    target = tmp_path / "out.jsonl"
    process = start(notes, "-o", target, delay=0.3)
    wait_for(target, len(whole) // 4)
    process.send_signal(how)
    _, err = process.communicate()
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    written = target.read_bytes()
    assert len(written) < len(whole) and whole.startswith(written) and written.endswith(b"\n")
    if how == signal.SIGINT:
        assert err.decode().endswith(
            "medmt5: interrupted: complete documents were written; the same command with "
            "--resume goes on\n"
        )
    target.write_bytes(written + b'{"text": "torn')
    code, _, err = run(notes, "-o", target, "--resume")
    assert code == 0 and target.read_bytes() == whole
    assert "documents were there already" in err
    code, _, err = run(notes, "-o", target, "--resume")  # nothing is left to do
    assert code == 0 and target.read_bytes() == whole


def test_ctrl_c_on_a_pipe_leaves_complete_lines():
    process = start(delay=0.3)
    process.stdin.write(TEXT)
    process.stdin.flush()
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out = first + process.stdout.read()  # `communicate` would miss what came with the first line
    _, err = process.communicate()
    assert process.returncode == 130
    lines = out.decode().splitlines()
    assert (
        0 < len(lines) < 43 and [json.loads(line)["text"] for line in lines] == LINES[: len(lines)]
    )
    assert b"Traceback" not in err and b"Exception ignored" not in err


def test_a_reader_that_has_gone_ends_the_command_quietly():
    process = start(delay=0.05)
    process.stdin.write(TEXT * 20)
    process.stdin.close()
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 141
    err = process.stderr.read().decode()
    assert "Traceback" not in err and "Broken" not in err and "error" not in err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_named(run):
    code, _, err = run("-o", "/dev/full")
    assert code == 2 and "/dev/full: No space left on device" in err and "Traceback" not in err


def test_another_input_is_not_mixed_into_the_output(run, tmp_path, notes, whole):
    target = tmp_path / "out.jsonl"
    target.write_bytes(whole[: len(whole) // 2])
    notes.write_bytes(b"one more\n" + TEXT)
    code, _, err = run(notes, "-o", target, "--resume")
    assert code == 2 and "made from another input, model or with other options" in err
    assert whole.startswith(target.read_bytes())


# The real model


@pytest.mark.slow
def test_a_resumed_run_of_a_model_gives_the_same_bytes(tmp_path):
    model = tiny.labelling_model(str(tmp_path / "model"))
    notes, target = tmp_path / "notes.txt", tmp_path / "out"
    lines = [f"Patient {i} had gout and took " + "aspirin " * (i % 9) for i in range(280)]
    notes.write_text("\n".join(lines))

    def run(*arguments):
        command = [sys.executable, "-m", "medmt5.cli", "label", "-m", model, str(notes)]
        command += ["-o", str(target), "--batch-size", "auto", *arguments]
        done = subprocess.run(command, capture_output=True, env=tiny.subprocess_env())
        assert done.returncode == 0, done.stderr.decode()
        return done.stderr.decode()

    assert "batch size 32" in run()
    whole = target.read_bytes()
    for share in (0.5, 0.97):  # within the first chunk, and the second
        target.write_bytes(whole[: int(len(whole) * share)])
        run("--resume")
        assert target.read_bytes() == whole
