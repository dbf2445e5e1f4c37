"""Launching on TPU, with programs that stand in for gcloud, xpk, kubectl, uv and medmt5.

`gcloud` here keeps one queued resource with two hosts, which are folders: what is copied to them
and run on them is really copied and run.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_programs import FakePrograms, alive

from medmt5.plan.chips import SLICES

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import launch_tpu as tool  # noqa: E402 (the tools folder is no package)
import launching  # noqa: E402
import tpu_hosts  # noqa: E402

# `states` holds the states of each request in turn; the last one stays. A state may be followed by
# that of the node, which is else READY.
GCLOUD = """
HOSTS = ("host0", "host1")

def option(name):
    return next((w.partition("=")[2] for w in words if w.startswith(f"--{name}=")), None)

def hosts():
    return HOSTS if option("worker") == "all" else [f"host{option('worker')}"]

def states():
    return json.loads((here / "states").read_text())

def fail(text):
    sys.exit(f"ERROR: (gcloud.{'.'.join(words[:4])}) {text}")

kind, action = words[2:4]
if (here / f"no {action}").exists():
    (here / f"no {action}").unlink()
    fail("unable to reach the API")
request = here / "request"
if action == "create":
    request.write_text("0")
    for host in HOSTS:
        (here / host).mkdir()
elif action == "delete":
    request.unlink()
    for host in HOSTS:
        shutil.rmtree(here / host)
    (here / "preempted").unlink(missing_ok=True)
    (here / "states").write_text(json.dumps(states()[1:]))
elif action == "describe":
    if not request.exists():
        fail("NOT_FOUND: Resource 'projects/p/locations/z/queuedResources/run1' was not found")
    at = int(request.read_text())
    now = states()[0][at]
    if (here / "preempted").exists():
        now = "SUSPENDED"
    elif kind == "queued-resources" and at + 1 < len(states()[0]):
        request.write_text(str(at + 1))
    if now == "NETWORK":
        fail("unable to reach the API")
    state, _, other = now.partition(" ")
    if kind == "tpu-vm":
        print(json.dumps({"state": other or "READY"}))
    else:
        answer = {"state": state, "stateInitiator": other or "SERVICE"}
        if state == "FAILED":
            answer["failedData"] = {"error": {"code": 8, "message": "no capacity in this zone"}}
        print(json.dumps({"state": answer}))
elif action == "scp":
    source, target = [w for w in words[4:] if not w.startswith("--")]
    assert target == "run1:"
    for host in hosts():
        name = pathlib.Path(source).name
        shutil.copytree(source, here / host / name, dirs_exist_ok=True)
elif action == "ssh":
    statuses = []
    for host in hosts():
        env = os.environ | {"HOME": str(here / host)}
        # As ssh does: one text, for a shell.
        done = subprocess.run(["bash", "-c", option("command")], cwd=here / host, env=env)
        statuses.append(done.returncode)
    sys.exit(max(statuses))
"""

# Makes an environment whose medmt5 is the script `here/medmt5`.
UV = """
if words[0] == "venv":
    (pathlib.Path("env") / "bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(here / "medmt5", "env/bin/medmt5")
"""

# Training: notes its words and variables; $1 is its turn on this host, counted over all slices.
MEDMT5 = """#!/bin/bash
here={here}
host=$(basename $HOME)
printf '%s\\0' "$@" >>$here/$host.argv
printf '\\n' >>$here/$host.argv
turn=$(wc -l <$here/$host.argv)
echo "step 1 on $host, turn $turn"
{do}
"""

FLAGS = ["--name", "run1", "--project", "p", "--zone", "us-west4-a", "--accelerator", "v4-16"]
PACKAGE = ["--package", "git+https://example.org/medmt5"]
RECIPE = ["--recipe", "gin_configs/recipes/quickstart_pretrain.gin"]
MODEL_DIR = "--gin.MODEL_DIR='gs://bucket/run1'"
RUN = [*FLAGS, *RECIPE, *PACKAGE, "--poll", "0.05", MODEL_DIR]


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    programs = FakePrograms(tmp_path, monkeypatch)
    programs.add("gcloud", GCLOUD)
    programs.add("uv", UV)

    def prepare(*states, do="exit 0"):
        (tmp_path / "states").write_text(json.dumps(states))
        script = tmp_path / "medmt5"
        script.write_text(MEDMT5.format(here=tmp_path, do=do))
        script.chmod(0o755)
        return programs

    return prepare


def trained_with(folder, host="host0"):
    """The words that training was started with on a host, once per start."""
    lines = (folder / f"{host}.argv").read_text().split("\0\n")
    return [line.split("\0") for line in lines if line]


def test_a_run_waits_for_its_slice_starts_every_host_and_shows_the_log(cloud, tmp_path, capfd):
    programs = cloud(["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"])
    assert tool.launch([*RUN, "--spot"]) == 0

    tpus = ["gcloud", "compute", "tpus"]
    where = ["--project=p", "--zone=us-west4-a", "--quiet"]
    (create,) = programs.calls(*tpus, "queued-resources", "create")
    assert create[5:] == [
        "run1", "--node-id=run1", "--async", "--accelerator-type=v4-16",
        "--runtime-version=tpu-ubuntu2204-base", "--spot", *where,
    ]  # fmt: skip
    for call in programs.calls("gcloud"):
        assert call[-3:] == where

    out = capfd.readouterr().out
    told = [out.index(f"run1: {s}") for s in ("WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE")]
    assert told == sorted(told)
    assert out.count("step 1 on host0, turn 1") == 1 and "step 1 on host1" not in out
    assert "training has ended with status 0" in out
    assert "is billed" in out and "--delete" in out

    command = ["train", "--distributed", f"--gin_file={RECIPE[1]}", MODEL_DIR]
    for host in ("host0", "host1"):
        assert trained_with(tmp_path, host) == [command]
    packages = programs.calls("uv", "pip", "install")[0]
    assert packages[-1] == "medmt5[data,tpu] @ git+https://example.org/medmt5"
    assert not programs.calls(*tpus, "queued-resources", "delete")


def test_flags_reach_training_as_they_were_given(cloud, tmp_path, monkeypatch):
    recipe = tmp_path / "it's mine $HOME.gin"
    recipe.write_text("# mine")
    wheel = tmp_path / "medmt5-1.0-py3-none-any.whl"
    wheel.write_text("a wheel")
    odd = [
        "--gin.MODEL_DIR='gs://b/a b'",
        '--gin.A="it\'s"',
        "--gin.B=$HOME `date` $(date) \\n \\ !x",
        "--gin.C={'inputs': 512, \"targets\": [1, *'ab']}; # no comment",
        "--gin.D='é 名'",
        "--gin.E=",
    ]
    programs = cloud(["ACTIVE"], do='echo "$VALUE" >$here/value')
    given = [*FLAGS, *RECIPE, "--recipe", str(recipe), "--package", str(wheel), *odd]
    assert tool.launch([*given, "--poll", "0.05", "--env", "VALUE=a 'b' $HOME"]) == 0

    (words,) = trained_with(tmp_path)
    assert words == [
        "train", "--distributed", f"--gin_file={RECIPE[1]}", f"--gin_file={recipe.name}", *odd,
    ]  # fmt: skip
    folder = tmp_path / "host1" / "medmt5-run1"
    assert (folder / recipe.name).read_text() == "# mine"
    assert (tmp_path / "value").read_text() == "a 'b' $HOME\n"
    package = programs.calls("uv", "pip", "install")[1][-1]
    assert package == f"medmt5[data,tpu] @ file://{folder}/{wheel.name}"


def test_a_preempted_slice_is_replaced_and_the_same_command_goes_on(cloud, tmp_path, capfd):
    # The first time Google takes the slice away, hosts and all.
    do = (
        "[ $turn = 1 ] && touch $here/preempted && while [ -e $here/preempted ]; do sleep .05; done"
    )
    programs = cloud(["ACTIVE"], ["WAITING_FOR_RESOURCES", "ACTIVE"], do=f"{do}; exit 0")
    assert tool.launch(RUN) == 0

    first, second = trained_with(tmp_path)
    assert first == second
    requests = [call[4] for call in programs.calls("gcloud", "compute", "tpus", "queued-resources")]
    assert [action for action in requests if action != "describe"] == ["create", "delete", "create"]
    out = capfd.readouterr().out
    assert "run1: preempted; restart 1 of 20" in out
    assert "step 1 on host0, turn 2" in out


def test_a_node_that_is_preempted_under_an_active_request_is_replaced_too(cloud, tmp_path):
    programs = cloud(["ACTIVE PREEMPTED"], ["ACTIVE"])
    (tmp_path / "request").write_text("0")
    for host in ("host0", "host1"):
        (tmp_path / host).mkdir()
    assert tool.launch(RUN) == 0
    assert len(programs.calls("gcloud", "compute", "tpus", "queued-resources", "delete")) == 1
    assert len(trained_with(tmp_path)) == 1


def test_training_that_was_told_to_stop_is_not_taken_for_finished(cloud, tmp_path, capfd):
    # As the trainer: saves and ends with 0. The slice stays, as in maintenance.
    do = "trap 'exit 0' TERM; kill -TERM $PPID; while :; do sleep .05; done"
    programs = cloud(["ACTIVE"], do=f"[ $turn = 2 ] && exit 0; {do}")
    assert tool.launch(RUN) == 0
    assert len(trained_with(tmp_path)) == 2
    assert len(programs.calls("gcloud", "compute", "tpus", "queued-resources", "create")) == 1
    assert "restart 1 of 20" in capfd.readouterr().out


def test_a_slice_is_given_up_after_so_many_restarts(cloud, capfd):
    programs = cloud(["ACTIVE"], ["ACTIVE"], ["ACTIVE"], do="touch $here/preempted; exit 1")
    assert tool.launch([*RUN, "--max_restarts", "1"]) == 1
    assert len(programs.calls("gcloud", "compute", "tpus", "queued-resources", "create")) == 2
    assert "more often than --max_restarts" in capfd.readouterr().out


def test_training_that_fails_is_not_repeated_and_every_host_tells_why(cloud, tmp_path, capfd):
    cloud(["ACTIVE"], do="echo BATCH_SIZE 100 does not divide on $host; exit 2")
    assert tool.launch(RUN) == 2
    out = capfd.readouterr().out
    assert "training has ended with status 2" in out
    assert len(trained_with(tmp_path)) == 1
    for host in ("host0", "host1"):
        assert re.search(rf"^\S+: BATCH_SIZE 100 does not divide on {host}$", out, re.MULTILINE)
    assert "stays and is billed" in out


def test_the_slice_is_deleted_at_the_end_if_that_is_wanted(cloud, tmp_path, capfd):
    cloud(["ACTIVE"])
    assert tool.launch([*RUN, "--delete_when_done"]) == 0
    assert not (tmp_path / "request").exists()
    assert "billed" not in capfd.readouterr().out


def until(condition):
    """Wait for a condition, for a minute at most."""
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to be")


def test_after_ctrl_c_training_goes_on_and_the_same_command_joins_it(cloud, tmp_path, capfd):
    cloud(["ACTIVE"], do="while [ ! -e $here/enough ]; do sleep .05; done; echo enough")
    command = [sys.executable, str(ROOT / "tools/launch_tpu.py"), *RUN]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = ""
    while "step 1 on host0" not in line:
        line = first.stdout.readline()
        assert line, "the launcher has ended"
    first.send_signal(signal.SIGINT)
    rest = first.stdout.read()
    assert first.wait() == 130
    assert "interrupted here" in rest and "is billed" in rest and "--delete" in rest
    training = int((tmp_path / "host0/medmt5-run1/pid").read_text())
    assert alive(training)

    second, line = subprocess.Popen(command, stdout=subprocess.PIPE, text=True), ""
    while "step 1 on host0" not in line:
        line = second.stdout.readline()
        assert line, "the launcher has ended"
    (tmp_path / "enough").touch()
    assert "enough" in second.stdout.read()
    assert second.wait() == 0
    assert len(trained_with(tmp_path)) == 1
    until(lambda: not alive(training))


def test_a_slice_that_a_user_deletes_is_not_asked_for_again(cloud, capfd):
    programs = cloud(["ACTIVE", "ACTIVE", "SUSPENDED USER"], do="sleep 3")
    assert tool.launch(RUN) == 1
    assert "run1 was deleted; launch it again to go on" in capfd.readouterr().out
    assert len(programs.calls("gcloud", "compute", "tpus", "queued-resources", "create")) == 1


@pytest.mark.parametrize("action", ["describe", "ssh"])
def test_trouble_with_the_network_does_not_end_a_run(cloud, tmp_path, capfd, action):
    # One call of gcloud fails while training runs, or after it.
    wait = f'while [ -e "$here/no {action}" ]; do sleep .05; done' if action == "describe" else ":"
    programs = cloud(
        ["ACTIVE"], do=f'[ $host = host1 ] && exit 0; touch "$here/no {action}"; {wait}'
    )
    assert tool.launch(RUN) == 0
    captured = capfd.readouterr()
    assert "unable to reach the API" in captured.out + captured.err
    assert len(programs.calls("gcloud", "compute", "tpus", "queued-resources", "create")) == 1
    assert len(trained_with(tmp_path)) == 1


def test_trouble_with_the_network_does_not_leave_a_request_alone(cloud, tmp_path, capfd):
    waiting = cloud(["WAITING_FOR_RESOURCES"] * 3 + ["NETWORK", "ACTIVE"])
    assert tool.launch(RUN) == 0
    assert "unable to reach the API" in capfd.readouterr().out
    assert len(waiting.calls("gcloud", "compute", "tpus", "queued-resources", "create")) == 1


def test_a_request_that_fails_says_why(cloud, capfd):
    cloud(["WAITING_FOR_RESOURCES", "FAILED"])
    assert tool.launch(RUN) == 1
    out = capfd.readouterr().out
    assert "the request for v4-16 failed: no capacity in this zone" in out


def test_what_is_left_of_an_earlier_request_is_deleted_first(cloud, tmp_path):
    programs = cloud(["SUSPENDED"], ["ACTIVE"])
    (tmp_path / "request").write_text("0")
    for host in ("host0", "host1"):
        (tmp_path / host).mkdir()
    assert tool.launch(RUN) == 0
    assert len(programs.calls("gcloud", "compute", "tpus", "queued-resources", "delete")) == 1


def test_gclouds_own_message_is_passed_on(tmp_path, monkeypatch, capfd):
    programs = FakePrograms(tmp_path, monkeypatch)
    programs.add("gcloud", "sys.exit('You do not currently have an active account selected.')")
    assert tool.launch(RUN) == 1
    assert "You do not currently have an active account selected." in capfd.readouterr().out


def test_a_missing_gcloud_is_said(tmp_path, monkeypatch):
    FakePrograms(tmp_path, monkeypatch, alone=True)
    with pytest.raises(launching.Failed, match="gcloud is not on PATH: see https://cloud"):
        tool.launch(RUN)


@pytest.mark.parametrize(
    "change, message",
    [
        (["--accelerator", "v5e-17"], "'v5e-17' is unknown; there are\n"),
        (["--accelerator", "v5e-17"], "v5litepod-16     16 chips    4 hosts"),
        (["--gin.MODEL_DIR='runs/a'"], "MODEL_DIR runs/a is on the disk of one host"),
        (["--gin.MODEL_DIR=gs://b/a"], "MODEL_DIR gs://b/a is no gin string; mind the quotes"),
        (["--gin.STEPS"], "--gin.STEPS has no value"),
        (["--gin.A='a\nb'"], "has several lines"),
        (["--recipe", "none.gin"], "there is no recipe none.gin"),
        (["--package", "nowhere"], "there is no nowhere; --package is"),
        (["--env", "not a name=1"], "--env not a name=1 is not NAME=VALUE"),
        (["--xpk", "c", "--spot"], "--spot is no flag of workloads"),
    ],
)
def test_mistakes_are_found_before_anything_is_asked_for(cloud, change, message):
    programs = cloud(["ACTIVE"])
    for name in ("xpk", "kubectl"):
        programs.add(name, "")
    with pytest.raises(ValueError) as error:
        tool.launch([*RUN, *change])
    assert message in str(error.value)
    assert not programs.calls()


@pytest.mark.parametrize(
    "given, hint",
    [
        ([*FLAGS, *RECIPE], "no MODEL_DIR, where a run is saved; add --gin.MODEL_DIR="),
        ([*FLAGS, MODEL_DIR], "no --recipe; try"),
        ([*FLAGS[:-2], *RECIPE, MODEL_DIR], "no --accelerator; such as"),
    ],
)
def test_what_a_run_needs_is_asked_for(cloud, given, hint):
    cloud(["ACTIVE"])
    with pytest.raises(ValueError, match=hint):
        tool.launch(given)


def test_two_recipes_of_one_name_are_refused(cloud, tmp_path):
    cloud(["ACTIVE"])
    recipes = [tmp_path / folder / "a.gin" for folder in ("x", "y")]
    for recipe in recipes:
        recipe.parent.mkdir()
        recipe.write_text("")
    with pytest.raises(ValueError, match="a.gin, a.gin need different names"):
        tool.launch([*RUN, *(word for r in recipes for word in ("--recipe", str(r)))])


def test_names_that_google_does_not_take_are_refused(capsys):
    with pytest.raises(SystemExit):
        tool.launch(["--name", "Run_1", *FLAGS[2:]])
    assert "'Run_1' is no name: use up to 40 of a-z, 0-9 and -" in capsys.readouterr().err


def test_a_dry_run_prints_every_command_and_runs_none(cloud, capfd):
    programs = cloud(["ACTIVE"])
    assert tool.launch([*FLAGS, *RECIPE, MODEL_DIR, "--dry_run"]) == 0
    assert not programs.calls()
    out = capfd.readouterr().out
    lines = [line for line in out.splitlines() if re.match(r"gcloud|\S*python", line)]
    steps = [
        "pip wheel", "queued-resources create", "queued-resources describe", "tpu-vm describe",
        "run.sh state", "tpu-vm scp", "run.sh install", "run.sh start", "run.sh follow",
        "queued-resources delete",
    ]  # fmt: skip
    for step, line in zip(steps, lines, strict=True):
        assert step in line
    assert "set -- medmt5 train --distributed" in out


def test_the_real_flow_calls_what_the_dry_run_prints(cloud, capfd):
    programs = cloud(["ACTIVE"])
    tool.launch([*RUN, "--dry_run"])
    printed = {
        re.sub(r"/\S*/medmt5-run1 ", "DIR ", line)
        for line in capfd.readouterr().out.splitlines()
        if line.startswith("gcloud")
    }
    tool.launch([*RUN, "--delete_when_done"])
    called = {
        re.sub(r"/\S*/medmt5-run1 ", "DIR ", shlex.join(call)) for call in programs.calls("gcloud")
    }
    assert called == printed


def test_status_and_delete(cloud, tmp_path, capfd):
    programs = cloud(["ACTIVE"])
    tool.launch(RUN)
    capfd.readouterr()
    assert tool.launch([*FLAGS, "--status"]) == 0
    out = capfd.readouterr().out
    assert "run1: request ACTIVE, node READY" in out
    assert out.count("ended 0") == 2 and "step 1 on host1, turn 1" in out
    assert tool.launch([*FLAGS, "--delete"]) == 0
    assert programs.calls()[-1][3:7] == ["queued-resources", "delete", "run1", "--force"]
    assert tool.launch([*FLAGS, "--status"]) == 0
    assert "run1: request none, node none" in capfd.readouterr().out


@pytest.mark.parametrize(
    "name, google, chips, hosts",
    [
        # Names of v4 and v5p count cores, two per chip; those of v5e and v6e count chips.
        ("v4-8", "v4-8", 4, 1),
        ("v4-32", "v4-32", 16, 4),
        ("v5p-8", "v5p-8", 4, 1),
        ("v5e-1", "v5litepod-1", 1, 1),
        ("v5litepod-8", "v5litepod-8", 8, 1),
        ("v5litepod-16", "v5litepod-16", 16, 4),
        ("v6e-8", "v6e-8", 8, 1),
        ("v6e-256", "v6e-256", 256, 64),
    ],
)
def test_slices_have_the_chips_and_hosts_that_google_says(name, google, chips, hosts):
    found = tool.accelerator(name)
    assert (found.name, found.chips, found.hosts) == (google, chips, hosts)


def test_every_slice_that_plans_are_made_for_can_be_asked_for():
    for generation, sizes in SLICES.items():
        for size in sizes:
            assert tool.accelerator(f"{generation}-{size}").runtime_version


def test_a_wheel_is_built_from_copies_of_what_belongs_to_it(tmp_path):
    copied = tpu_hosts.copy_source(ROOT, tmp_path / "source")
    names = {path.name for path in copied.iterdir()}
    assert {"setup.py", "medmt5", "gin_configs", "tasks"} <= names
    assert not {"build", ".git", "runs", ".venv"} & names


def test_help_says_what_it_is_for(capsys):
    with pytest.raises(SystemExit):
        tool.launch(["--help"])
    out = capsys.readouterr().out
    assert "Trains on a Cloud TPU slice" in out and "--dry_run" in out


# Kubernetes: `jobset` holds the statuses to tell, one after the other.
KUBECTL = """
if words[:2] == ["get", "jobset"]:
    path = here / "jobset"
    now, *rest = json.loads(path.read_text())
    path.write_text(json.dumps(rest or [now]))
    print(json.dumps({"status": now}))
else:
    print("step 1 in a pod")
"""


def test_a_workload_on_gke_is_created_watched_and_ends(cloud, tmp_path, capfd):
    programs = cloud([])
    programs.add("xpk", "")
    programs.add("kubectl", KUBECTL)
    waiting = {"replicatedJobsStatus": [{"name": "slice-job", "ready": 0}]}
    running = {"replicatedJobsStatus": [{"name": "slice-job", "ready": 1}]}
    done = {"conditions": [{"type": "Completed", "status": "True"}]}
    (tmp_path / "jobset").write_text(json.dumps([{}, waiting, running, done]))
    assert tool.launch([*RUN, "--xpk", "cluster1", "--env", "A=1"]) == 0

    (create,) = programs.calls("xpk")
    folder = next(w for w in create if w.startswith("--script-dir=")).partition("=")[2]
    assert create == [
        "xpk", "workload", "create", "--workload=run1", "--tpu-type=v4-16",
        "--base-docker-image=python:3.12", f"--script-dir={folder}", "--max-restarts=20",
        "--termination-grace-period-seconds=120",
        "--command=bash run.sh install && exec bash run.sh run",
        "--cluster=cluster1", "--project=p", "--zone=us-west4-a",
    ]  # fmt: skip
    assert Path(folder).name == "medmt5-run1"
    assert "step 1 in a pod" in capfd.readouterr().out

    failed = {"restarts": 20, "conditions": [{"type": "Failed", "status": "True"}]}
    (tmp_path / "jobset").write_text(json.dumps([failed]))
    with pytest.raises(launching.Failed, match="run1 has failed after 20 restarts"):
        tool.launch([*RUN, "--xpk", "cluster1"])


def test_status_and_deletion_of_a_workload_on_gke(cloud):
    programs = cloud([])
    for name in ("xpk", "kubectl"):
        programs.add(name, "")
    where = ["--cluster=cluster1", "--project=p", "--zone=us-west4-a"]
    assert tool.launch([*FLAGS, "--xpk", "cluster1", "--status"]) == 0
    assert tool.launch([*FLAGS, "--xpk", "cluster1", "--delete"]) == 0
    assert programs.calls("xpk") == [
        ["xpk", "workload", "list", "--filter-by-job=^run1$", *where],
        ["xpk", "workload", "delete", "--workload=run1", "--force", *where],
    ]
    assert not programs.calls("gcloud")


def test_a_container_that_is_told_to_stop_ends_so_that_xpk_starts_it_again(cloud, tmp_path):
    # XPK starts again what ends with 127 or more.
    cloud([], do="trap 'exit 0' TERM; while :; do sleep .05; done")
    flags, gin = launching.parse(tool.parser(), RUN)
    with tpu_hosts.folder(launching.Programs(dry_run=False), flags, gin) as folder:
        command = "bash run.sh install && exec bash run.sh run"
        env = os.environ | {"HOME": str(tmp_path / "host0")}
        container = subprocess.Popen(["bash", "-c", command], cwd=folder, env=env)
        until(lambda: (tmp_path / "host0.argv").exists())
        container.send_signal(signal.SIGTERM)
        assert container.wait() == launching.STOPPED == 143
