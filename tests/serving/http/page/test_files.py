"""The page's files as they leave the server: no key asked, nothing foreign, nothing inline."""

from __future__ import annotations

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from serving.http import page


@pytest.fixture
def client() -> TestClient:
    """A server with nothing but the page."""
    app = FastAPI()
    app.include_router(page.router)
    return TestClient(app)


def test_every_file_is_served_under_the_strict_policy(client: TestClient) -> None:
    assert len(page.PATHS) > 8
    for path in page.PATHS:
        response = client.get(path)
        assert response.status_code == 200
        assert "default-src 'self'" in response.headers["content-security-policy"]
        assert "unsafe" not in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"


def test_files_have_the_types_that_nosniff_demands(client: TestClient) -> None:
    assert client.get("/page/main.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/page/page.css").headers["content-type"].startswith("text/css")
    assert client.get("/page/icon.svg").headers["content-type"].startswith("image/svg+xml")
    assert client.get("/").headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    "name", ["index.html", "page.py", "..%2fpage.py", "%2e%2e%2fpage.py", "..%5cpage.py", "/etc/passwd"]
)
def test_no_other_file_is_served(client: TestClient, name: str) -> None:
    assert client.get(f"/page/{name}").status_code == 404


def test_the_files_name_no_other_host_and_hold_nothing_inline(client: TestClient) -> None:
    for path in page.PATHS:
        text = client.get(path).text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]+\.[a-z]|@import", text), path
    html = client.get("/").text
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", html)
    assert re.findall(r"<script[^>]*>(.*?)</script>", html, re.DOTALL) == [""]


def test_no_script_parses_html_or_code() -> None:
    scripts = "".join(path.read_text() for path in page.FOLDER.glob("*.js"))
    for name in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval(", "Function("):
        assert name not in scripts, name


def test_all_addresses_are_relative_so_that_a_proxy_may_put_the_page_under_a_prefix(client: TestClient) -> None:
    assert not re.search(r'(?:href|src)="/', client.get("/").text)
    assert not re.search(r'(?:fetch|send)\("/', client.get("/page/api.js").text)
