"""The page at `/`: static files, which hold nothing of this server and so need no key."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse, Response

FOLDER = Path(__file__).parent
FILES = frozenset(path.name for path in FOLDER.iterdir() if path.suffix in (".css", ".js", ".svg"))
PATHS = frozenset({"/", *(f"/page/{name}" for name in FILES)})
"""Every path of the page. A browser asks for them before it could know a key."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def index() -> Response:
    """The page itself; it asks for its own files and for this server's API, for nothing else."""
    return FileResponse(FOLDER / "index.html", headers=HEADERS, media_type="text/html")


@router.get("/page/{name}")
async def file(name: str) -> Response:
    """One of the page's files, by a name from a fixed list: no path of the request reaches the disk."""
    if name not in FILES:
        raise HTTPException(404, "the page has no such file")
    return FileResponse(FOLDER / name, headers=HEADERS, media_type=_MEDIA_TYPES[Path(name).suffix])
