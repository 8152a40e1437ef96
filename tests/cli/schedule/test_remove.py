from flows.schedules.schedule import schedules_folder
from tests.cli.schedule.test_list import put


def test_without_a_server(loco, home):
    put(home)
    assert loco("schedule", "remove", "nightly").out == "removed  nightly"
    assert list(schedules_folder(home).iterdir()) == []


def test_an_unknown_one(loco, home):
    put(home)
    message = "error: no schedule is called 'x'; there are: nightly; make one with `loco schedule create`"
    assert loco("schedule", "remove", "x", code=2).err == message


def test_a_name_that_leads_elsewhere(loco):
    assert loco("schedule", "remove", "../models/x", code=2).err.startswith("error: schedule name: expected")
