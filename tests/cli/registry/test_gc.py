def test_listed_then_deleted(loco, filled, home):
    assert loco("registry", "gc").err == "nothing can go"
    partial = home.root / "models" / f".{'0' * 32}.partial"
    partial.write_bytes(b"half")
    outcome = loco("registry", "gc")
    assert outcome.err == "can go: 1, 4 bytes; --delete deletes them"
    assert outcome.out.splitlines()[1].split()[0] == str(partial)
    assert partial.exists()
    assert loco("registry", "gc", "--delete").err == "deleted: 1, 4 bytes"
    assert not partial.exists()


def test_rejected_bases(loco, filled, home):
    one = filled.find(roi="mouth")[0]
    filled.reject(one.id)
    loco("registry", "gc", "--rejected", "--delete")
    assert not home.basis(one.basis_id).exists()
    assert filled.verify() == []
