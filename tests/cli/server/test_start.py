def test_the_address(loco, fake_flow, home):
    asked = []
    fake_flow(
        "flows.server.server",
        ensure_server=lambda home: asked.append(home) or "http://127.0.0.1:4200/api",
    )
    assert loco("server", "start").out == "url  http://127.0.0.1:4200/api"
    assert loco("server", "start", "--json").json == [{"url": "http://127.0.0.1:4200/api"}]
    assert asked == [home, home]
