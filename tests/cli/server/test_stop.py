import pytest


@pytest.mark.parametrize(("ran", "text"), [(True, "stopped"), (False, "none was running")])
def test_stopping(loco, fake_flow, ran, text):
    fake_flow("flows.server.server", stop_server=lambda home: ran)
    assert loco("server", "stop").out == f"server  {text}"
    assert loco("server", "stop", "--json").json == [{"stopped": ran}]
