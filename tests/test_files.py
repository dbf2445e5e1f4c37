import subprocess

import pytest

from medmt5 import files


def test_text_is_written_whole_and_makes_its_folder(tmp_path):
    path = tmp_path / "new" / "a.jsonl"
    files.write_text(str(path), "fièvre\n")
    files.write_text(str(path), "toux\n")
    assert path.read_text(encoding="utf-8") == "toux\n"
    assert [p.name for p in path.parent.iterdir()] == ["a.jsonl"]


def test_two_runs_that_write_one_file_do_not_share_a_temporary_one(tmp_path):
    path = tmp_path / "a"
    with files.target(str(path)) as one, files.target(str(path)) as other:
        for temporary in (one, other):
            with open(temporary, "w") as file:
                file.write(temporary)
    assert path.read_text() == one
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_remote_paths_stay_as_they_are_and_local_ones_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.absolute("gs://bucket/run") == "gs://bucket/run"
    assert files.absolute("run") == str(tmp_path / "run")


@pytest.fixture
def folder(tmp_path):
    for name in ("a.txt", "sub/b.txt"):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_text(name)
    files.write_manifest(str(tmp_path / "f"))
    return tmp_path / "f"


def test_a_manifest_is_what_sha256sum_reads(folder):
    assert (folder / "SHA256SUMS").read_text().splitlines()[1].endswith("  sub/b.txt")
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True)
    assert done.returncode == 0, done.stderr
    files.check_manifest(str(folder))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "a.txt").write_text("b.txt"), "a.txt is damaged: its bytes are not those"),
        (lambda f: (f / "sub/b.txt").unlink(), "b.txt is missing; .*SHA256SUMS lists it"),
        (lambda f: (f / "SHA256SUMS").write_text("0  ../x\n"), "SHA256SUMS:1: not a line of"),
        (lambda f: (f / "SHA256SUMS").write_text("nonsense\n"), "SHA256SUMS:1: not a line of"),
    ],
)
def test_a_manifest_finds_what_is_damaged_missing_or_no_manifest(folder, damage, message):
    damage(folder)
    with pytest.raises(ValueError, match=message):
        files.check_manifest(str(folder))


def test_of_a_part_of_a_folder_its_own_files_and_those_beside_it_are_checked(folder):
    (folder / "other").mkdir()
    (folder / "other" / "c.txt").write_text("c")
    files.write_manifest(str(folder))
    (folder / "other" / "c.txt").write_text("changed")
    files.check_manifest(str(folder / "sub"))
    (folder / "a.txt").write_text("changed")
    with pytest.raises(ValueError, match="a.txt is damaged"):
        files.check_manifest(str(folder / "sub"))


def test_where_there_is_no_manifest_nothing_is_checked(tmp_path):
    files.check_manifest(str(tmp_path))
