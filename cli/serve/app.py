"""The application: the API under /api/v1, the page that uses nothing else, and the guard in front of both."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse

from cli.serve import catalogue, drawn, jobs, lists, problems, sessions
from cli.serve.access import Access, guarded
from cli.serve.queue import Queue
from cli.serve.uploads import Uploads
from registry.registry import Registry

PREFIX = "/api/v1"
STATIC = Path(__file__).parent / "static"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


def application(registry: Registry, access: Access, queue: Queue | None = None) -> Any:
    """The ASGI application that serves that catalogue to whom `access` lets in, drawing in that queue."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.queue.close()

    app = FastAPI(
        title="LOCO: a catalogue of edit directions",
        version="1",
        description="Directions, their evidence and pictures, what is said of them, and jobs. Errors are RFC 9457.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.registry, app.state.access = registry, access
    app.state.queue, app.state.uploads = queue or Queue(), Uploads()
    app.state.jobs = jobs.Started(registry.home, registry_url=access.url)
    problems.install(app)
    for part in (sessions, catalogue, drawn, lists, jobs):
        app.include_router(part.router, prefix=PREFIX)
    problems.document(app)
    files = {path.name: path for path in sorted(STATIC.iterdir()) if path.suffix in _TYPES}

    def file(name: str, status: int = 200) -> FileResponse:
        # Named from a list, never from a path that somebody sent.
        path = files[name]
        return FileResponse(path, status, {"cache-control": "no-cache"}, media_type=_TYPES[path.suffix])

    @app.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        if name not in files:
            return problems.answer(404, "no such file")
        return file(name)

    @app.get("/{rest:path}", include_in_schema=False)
    def page(rest: str, request: Request) -> Response:
        """The page, whatever view of it the URL is."""
        if rest.startswith("api/"):
            return problems.answer(
                404, f"nothing is at /{rest[:200]}; {PREFIX}/openapi.json lists what there is"
            )
        return file("index.html")

    return guarded(app, access.hosts)
