"""Launching on SLURM, with programs that stand in for its own and for medmt5.

`sbatch` here runs the script it is given, and `srun` the command it is given, both with bash.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_programs import FakePrograms

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import launch_slurm as tool  # noqa: E402 (the tools folder is no package)
import launching  # noqa: E402

# Submits: the script runs when the job's state, of those in the file of its number, is RUNNING.
SBATCH = """
job = str(1 + len(list(here.glob("script-*"))))
shutil.copy(words[-1], here / f"script-{job}")
print(job)
"""

# A look at a job moves it one state on; the last state stays. Without --states only jobs that wait
# or run are told.
SQUEUE = """
def option(name):
    return next((w.partition("=")[2] for w in words if w.startswith(f"--{name}=")), None)

def states(job):
    return (here / f"states-{job}").read_text().split()

if option("format") == "%i":
    print("\\n".join(path.name[7:] for path in here.glob("states-*") if (here / "queued").exists()))
elif option("format") == "%T":
    print((here / "state").read_text())
elif option("job"):
    job = option("job")
    if not (here / f"states-{job}").exists():
        sys.exit("slurm_load_jobs error: Invalid job id specified")
    now, *rest = states(job)
    (here / f"states-{job}").write_text(" ".join(rest or [now]))
    log = [l for l in (here / f"script-{job}").read_text().splitlines() if "--output=" in l]
    if now == "RUNNING":
        with open(log[0].partition("=")[2], "a") as file:
            file.write(f"step 1 of job {job}\\n")
    print(f"{now}|{'Priority' if now == 'PENDING' else 'None'}")
"""

# Runs the command on one node.
SRUN = """
at = words.index("bash")
sys.exit(subprocess.run(words[at:]).returncode)
"""

RUN = [
    "--name", "run1", "--nodes", "2", "--gpus_per_node", "4", "--poll", "0.02",
    "--recipe", "gin_configs/recipes/quickstart_pretrain.gin", "--gin.MODEL_DIR='/shared/run1'",
]  # fmt: skip


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    programs = FakePrograms(tmp_path, monkeypatch)
    programs.add("sbatch", SBATCH)
    programs.add("squeue", SQUEUE)
    programs.add("srun", SRUN)
    programs.add("scontrol", "")
    programs.add("scancel", "")
    programs.add("medmt5", "")
    monkeypatch.chdir(tmp_path)

    def jobs(*states):
        for number, each in enumerate(states, 1):
            (tmp_path / f"states-{number}").write_text(each)
        return programs

    return jobs


def script(*arguments):
    flags, gin = launching.parse(tool.parser(), [*RUN, *arguments])
    tool.check(flags, gin)
    return tool.script(flags, gin)


def execute(tmp_path, text, **variables):
    """Run a job's script as SLURM would; its status."""
    path = tmp_path / "job"
    path.write_text(text)
    env = os.environ | {"SLURM_JOB_ID": "7"} | variables
    return subprocess.run(["bash", path], env=env, cwd=tmp_path).returncode


def test_a_job_is_submitted_and_watched_to_its_end(cluster, capfd):
    programs = cluster("PENDING PENDING RUNNING COMPLETED")
    assert tool.launch(RUN) == 0
    assert programs.calls("sbatch") == [["sbatch", "--parsable", "run1.sbatch"]]
    out = capfd.readouterr().out
    told = [
        out.index(text)
        for text in ("job 1: PENDING (Priority)", "RUNNING", "step 1 of job 1", "COMPLETED")
    ]
    assert told[0] < told[1] < told[3] and told[2] < told[3]
    assert out.count("PENDING") == 1
    assert Path("run1.sbatch").read_text() == script()


def test_the_directives_ask_for_one_task_per_node_with_all_its_gpus(cluster, tmp_path):
    cluster()
    flags = ["--partition", "gpu", "--account", "a1", "--time", "2-00", "--sbatch=--qos=long"]
    lines = script(*flags).splitlines()
    assert [line for line in lines if line.startswith("#SBATCH")] == [
        "#SBATCH --job-name=run1",
        f"#SBATCH --output={tmp_path}/run1.log",
        "#SBATCH --open-mode=append",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --cpus-per-task=32",
        "#SBATCH --gres=gpu:4",
        "#SBATCH --time=2-00",
        "#SBATCH --requeue",
        "#SBATCH --signal=TERM@300",
        "#SBATCH --partition=gpu",
        "#SBATCH --account=a1",
        "#SBATCH --qos=long",
    ]
    # Without it JAX would take one GPU per process.
    assert "export JAX_LOCAL_DEVICE_IDS=0,1,2,3" in lines


def test_flags_reach_training_as_they_were_given(cluster, tmp_path):
    odd = [
        '--gin.A="it\'s"',
        "--gin.B=$HOME `date` $(date) ${x} {y} \\n \\ !x",
        "--gin.C={'inputs': 512, \"targets\": [1, *'ab']}; # no comment",
        "--gin.D='é 名'",
        "--gin.E=",
        "--gin.F=END",
    ]
    programs = cluster()
    assert execute(tmp_path, script(*odd)) == 0
    assert programs.calls("medmt5") == [
        ["medmt5", "train", "--distributed", f"--gin_file={RUN[9]}", RUN[10], *odd]
    ]


# As the trainer: saves and ends with 0 when it is told to stop.
SAVES = """
import signal
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
os.kill(os.getppid(), signal.SIGTERM)
signal.pause()
"""


@pytest.mark.parametrize(
    "state, restarts, requeued",
    [
        ("RUNNING", "0", True),
        ("RUNNING", "19", True),
        ("RUNNING", "20", False),  # --max_restarts
        ("CANCELLED", "0", False),  # by the user
        ("COMPLETING", "0", False),  # SLURM does it
    ],
)
def test_a_job_that_was_told_to_stop_is_queued_again(cluster, tmp_path, state, restarts, requeued):
    programs = cluster()
    programs.add("medmt5", SAVES)
    (tmp_path / "state").write_text(state)
    status = execute(tmp_path, script(), SLURM_RESTART_COUNT=restarts)
    assert status == launching.STOPPED
    expected = [["scontrol", "requeue", "7"]] if requeued else []
    assert programs.calls("scontrol") == expected


@pytest.mark.parametrize("status", [0, 2])
def test_a_job_that_ends_by_itself_is_not_queued_again(cluster, tmp_path, status):
    programs = cluster()
    programs.add("medmt5", f"sys.exit({status})")
    (tmp_path / "state").write_text("RUNNING")
    assert execute(tmp_path, script()) == status
    assert not programs.calls("scontrol")


def test_the_script_survives_the_signal_that_training_gets(cluster, tmp_path):
    # SLURM may tell all processes of a job; the script has to wait for the save.
    programs = cluster()
    programs.add("medmt5", "(here / 'started').touch(); import time; time.sleep(1)")
    (tmp_path / "job").write_text(script())
    env = os.environ | {"SLURM_JOB_ID": "7"}
    job = subprocess.Popen(["bash", "job"], cwd=tmp_path, env=env)
    while not (tmp_path / "started").exists():
        assert job.poll() is None
    job.send_signal(signal.SIGTERM)
    assert job.wait() == 0


def test_an_interrupted_job_is_submitted_again(cluster, capfd):
    programs = cluster("RUNNING PREEMPTED", "RUNNING COMPLETED")
    assert tool.launch(RUN) == 0
    assert len(programs.calls("sbatch")) == 2
    out = capfd.readouterr().out
    assert "run1: PREEMPTED, so it is submitted again" in out and "step 1 of job 2" in out


def test_a_job_that_slurm_queues_again_by_itself_is_not_submitted_twice(cluster, capfd):
    programs = cluster("RUNNING PREEMPTED NODE_FAIL PENDING RUNNING COMPLETED")
    assert tool.launch(RUN) == 0
    assert len(programs.calls("sbatch")) == 1
    assert capfd.readouterr().out.count("step 1 of job 1") == 2


def test_interruptions_have_a_limit(cluster):
    programs = cluster(*["RUNNING TIMEOUT"] * 3)
    with pytest.raises(launching.Failed, match="interrupted more often than --max_restarts"):
        tool.launch([*RUN, "--max_restarts", "1"])
    assert len(programs.calls("sbatch")) == 2


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED", "OUT_OF_MEMORY"])
def test_a_job_that_fails_is_an_error_that_names_its_log(cluster, tmp_path, state):
    programs = cluster(f"RUNNING {state}")
    with pytest.raises(launching.Failed) as error:
        tool.launch(RUN)
    assert str(error.value) == f"job 1 has ended: {state}; its log is {tmp_path}/run1.log"
    assert len(programs.calls("sbatch")) == 1


def test_a_job_that_slurm_has_forgotten_is_said(cluster):
    cluster()
    with pytest.raises(launching.Failed, match="job 1 has ended: SLURM has forgotten how"):
        tool.launch(RUN)


def test_the_same_command_joins_a_job_that_is_there(cluster, tmp_path, capfd):
    programs = cluster("RUNNING COMPLETED")
    (tmp_path / "script-1").write_text(script())
    (tmp_path / "queued").touch()
    (tmp_path / "run1.log").write_text("x" * 5000 + "\nlast line\n")
    assert tool.launch(RUN) == 0
    assert not programs.calls("sbatch")
    out = capfd.readouterr().out
    assert "last line" in out and "x" * 4000 not in out


def test_after_ctrl_c_the_job_goes_on(cluster, tmp_path):
    programs = cluster("RUNNING")
    command = [sys.executable, str(ROOT / "tools/launch_slurm.py"), *RUN]
    launcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    line = ""
    while "step 1" not in line:
        line = launcher.stdout.readline()
        assert line, "the launcher has ended"
    launcher.send_signal(signal.SIGINT)
    out = launcher.stdout.read()
    assert launcher.wait() == 130
    assert "interrupted here; job 1 goes on" in out and "--name run1 --cancel" in out
    assert not programs.calls("scancel")


def test_status_and_cancel(cluster, tmp_path, capfd):
    programs = cluster()
    (tmp_path / "run1.log").write_text("loss 2.5\n")
    assert tool.launch(["--name", "run1", "--status"]) == 0
    assert "loss 2.5" in capfd.readouterr().out
    assert tool.launch(["--name", "run1", "--cancel"]) == 0
    (cancel,) = programs.calls("scancel")
    assert cancel[1].startswith("--user=") and cancel[2:] == ["--name=run1"]


def test_a_dry_run_prints_the_script_and_every_command_and_runs_none(cluster, capfd):
    programs = cluster()
    assert tool.launch([*RUN, "--dry_run"]) == 0
    assert not programs.calls() and not Path("run1.sbatch").exists()
    out = capfd.readouterr().out
    assert script() in out and "sbatch --parsable run1.sbatch" in out


def test_a_virtual_environment_is_activated(cluster, tmp_path):
    cluster()
    venv = tmp_path / "my venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/medmt5").write_text("#!/bin/bash\necho $MARK >$HOME/ran")
    (venv / "bin/medmt5").chmod(0o755)
    (venv / "bin/activate").write_text(f"export MARK=active PATH='{venv}/bin':$PATH")
    assert execute(tmp_path, script("--venv", str(venv)), HOME=str(tmp_path)) == 0
    assert (tmp_path / "ran").read_text() == "active\n"


def test_containers_of_apptainer_and_pyxis(cluster, tmp_path):
    cluster()
    lines = script("--container", "m.sif", "--mount", "/data").splitlines()
    srun = next(line for line in lines if line.startswith("srun"))
    here = str(tmp_path)
    assert f"apptainer exec --nv --bind {here} --bind /data m.sif bash -c" in srun
    lines = script("--container", "nvcr.io#nvidia/jax", "--mount", "/data").splitlines()
    srun = next(line for line in lines if line.startswith("srun"))
    assert "'--container-image=nvcr.io#nvidia/jax'" in srun
    assert f"--container-mounts={here}:{here},/data:/data --container-workdir={here} bash" in srun


@pytest.mark.parametrize(
    "time, expected",
    [
        # The six forms of sbatch's manual.
        ("90", 90),
        ("90:30", 90.5),
        ("24:00:00", 1440),
        ("2-12", 3600),
        ("2-12:30", 3630),
        ("1-00:00:30", 1440.5),
    ],
)
def test_times_are_read_as_slurm_reads_them(time, expected):
    assert tool.minutes(time) == expected


@pytest.mark.parametrize(
    "change, message",
    [
        (["--time", "tomorrow"], "--time tomorrow is no time of SLURM"),
        (["--time", "0:10:00"], "--time 0:10:00 is too short: a job is told to save 5 minutes"),
        (["--nodes", "0"], "--nodes and --gpus_per_node are 1 or more"),
        (["--recipe", "none.gin"], "there is no recipe none.gin"),
        (["--venv", "/nowhere"], "there is no /nowhere/bin/medmt5; activate"),
        (["--gin.MODEL_DIR=/a"], "MODEL_DIR /a is no gin string"),
    ],
)
def test_mistakes_are_found_before_anything_is_submitted(cluster, change, message):
    programs = cluster()
    with pytest.raises(ValueError, match=message):
        tool.launch([*RUN, *change])
    assert not programs.calls()


def test_a_missing_sbatch_is_said(tmp_path, monkeypatch):
    FakePrograms(tmp_path, monkeypatch, alone=True)
    with pytest.raises(launching.Failed, match="sbatch is not on PATH: run this on a login node"):
        tool.launch(RUN)


def test_what_sbatch_says_is_passed_on(cluster):
    programs = cluster()
    programs.add("sbatch", "sys.exit('sbatch: error: invalid partition specified: gpu')")
    with pytest.raises(launching.Failed, match="invalid partition specified: gpu"):
        tool.launch(RUN)


def test_errors_end_the_program_with_a_message(tmp_path):
    command = [sys.executable, str(ROOT / "tools/launch_slurm.py"), "--name", "run1", "--dry_run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("launch_slurm: error: no MODEL_DIR")
