from dataclasses import dataclass


@dataclass(frozen=True)
class State:
    pid: int = 12
    url: str = "http://127.0.0.1:4200/api"
    started_at: str = "2026-11-20T10:00:00"
    healthy: bool = True


def test_none(loco, fake_flow):
    fake_flow("flows.server.server", server_status=lambda home: None)
    assert loco("server", "status").out == "server  not running"
    assert loco("server", "status", "--json").json == [{"running": False}]


def test_one_with_the_address_of_its_page_and_where_the_password_lies(loco, home, fake_flow):
    fake_flow("flows.server.server", server_status=lambda home: State())
    assert loco("server", "status").out.splitlines() == [
        "server       running",
        "page         http://127.0.0.1:4200",
        f"log in with  the line in {home.prefect / 'secret'}",
        "url          http://127.0.0.1:4200/api",
        "pid          12",
        "started      2026-11-20T10:00:00",
    ]
    [record] = loco("server", "status", "--json").json
    assert record["running"] is record["healthy"] is True
    assert (record["page"], record["secret"]) == ("http://127.0.0.1:4200", str(home.prefect / "secret"))
    fake_flow("flows.server.server", server_status=lambda home: State(healthy=False))
    assert loco("server", "status").out.startswith("server       running, but does not answer\n")
