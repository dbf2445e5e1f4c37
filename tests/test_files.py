from medmt5 import files


def test_text_is_written_whole_and_makes_its_folder(tmp_path):
    path = tmp_path / "new" / "a.jsonl"
    files.write_text(str(path), "fièvre\n")
    files.write_text(str(path), "toux\n")
    assert path.read_text(encoding="utf-8") == "toux\n"
    assert [p.name for p in path.parent.iterdir()] == ["a.jsonl"]


def test_remote_paths_stay_as_they_are_and_local_ones_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.absolute("gs://bucket/run") == "gs://bucket/run"
    assert files.absolute("run") == str(tmp_path / "run")
