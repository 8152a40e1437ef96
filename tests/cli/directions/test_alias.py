def test_an_alias_stands_where_an_id_can(loco, filled):
    one, two = filled.find(limit=2)
    assert loco("directions", "alias", "smile@prod", one.short).out.splitlines() == [
        "alias  smile@prod",
        f"id     {one.id}",
    ]
    assert loco("directions", "show", "smile@prod", "--json").json[0]["id"] == one.id
    loco("directions", "alias", "smile@prod", two.short)
    assert loco("directions", "list", "--alias", "smile", "--json").json[0]["id"] == two.id
    assert loco("directions", "alias", "smile@prod", "--remove").out.startswith("without  smile@prod")
    assert "no direction has the alias" in loco("directions", "show", "smile@prod", code=2).err


def test_wrong_usage(loco, filled):
    one = filled.find(limit=1)[0]
    assert "give either an ID or --remove" in loco("directions", "alias", "smile@prod", code=2).err
    assert "expected NAME@LABEL" in loco("directions", "alias", "smile", one.short, code=2).err
