import shutil

import pytest
from fastapi.testclient import TestClient

from cli.serve.access import Access
from cli.serve.app import application
from cli.serve.tokens import Token, add_token, hashed
from registry.home import Home
from registry.records import now
from registry.registry import Registry

BASE = "http://127.0.0.1:8321"
OWN = "the token of this start"


def access_of(registry, *, loopback=True, hosts=("127.0.0.1", "localhost", "[::1]")):
    return Access(registry.home, Token("page", "run", hashed(OWN), now()), frozenset(hosts), loopback)


class Served(TestClient):
    """A client of the served catalogue; `role` sends a token of that role along."""

    def __init__(self, registry, role=None, **more):
        self.registry = registry
        super().__init__(application(registry, access_of(registry, **more)), base_url=BASE)
        if role is not None:
            token = add_token(registry.home, f"a-{role}", role)
            self.headers["authorization"] = f"Bearer {token}"

    def ok(self, path, **params):
        answer = self.get(f"/api/v1{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="session")
def looked(template, tmp_path_factory):
    """A client of a server whose catalogue nobody changes: for tests that look, or are refused."""
    root = tmp_path_factory.mktemp("looked") / "home"
    shutil.copytree(template, root)
    return Served(Registry(Home(root)))


@pytest.fixture(scope="session")
def anybody(looked):
    """The same of a server that the network can reach."""
    return Served(looked.registry, loopback=False, hosts=("127.0.0.1",))


@pytest.fixture
def served(filled):
    return Served(filled)


@pytest.fixture
def labeller(filled):
    return Served(filled, "label")


@pytest.fixture
def serve_as(filled):
    return lambda role, **more: Served(filled, role, **more)
