def test_a_key_is_made_once_and_for_its_owner_alone(loco, tmp_path):
    path = tmp_path / "key"
    [said] = loco("--json", "outputs", "key", path).json
    assert said["file"] == str(path)
    assert len(said["key"]) == 16
    assert (len(path.read_bytes()), path.stat().st_mode & 0o777) == (32, 0o600)
    former = path.read_bytes()
    assert "is never replaced" in loco("outputs", "key", path, code=2).err
    assert path.read_bytes() == former
