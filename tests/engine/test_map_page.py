import base64
import hashlib
import re

import pytest

from app.engine.map_page import build_page, main, page_path, policy


@pytest.fixture(scope="module")
def page():
    return build_page()


def test_the_committed_page_is_the_one_that_folium_builds(page):
    assert page_path().read_text(encoding="utf-8") == page, "run python -m app.engine.map_page"


def test_two_builds_are_alike(page):
    assert build_page() == page


def test_the_page_asks_for_nothing_outside_the_program(page):
    assert set(re.findall(r'(?:src|href)="([^"]+)"', page)) == {
        "skyfix://assets/leaflet.js",
        "skyfix://assets/jquery.js",
        "skyfix://assets/qwebchannel.js",
        "skyfix://assets/map.js",
        "skyfix://assets/leaflet.css",
        "skyfix://assets/map.css",
    }
    assert "http://" not in page
    assert "https://" not in page


def test_the_policy_lets_in_only_the_pages_own_inline_blocks(page):
    rules = re.search(r'Content-Security-Policy" content="([^"]+)"', page).group(1)
    assert rules.startswith("default-src 'none';")
    assert "unsafe" not in rules
    assert "http" not in rules
    blocks = re.findall(r"<(?:script|style)>(.*?)</", page, flags=re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(b.encode()).digest()).decode() for b in blocks]
    assert (
        re.findall(r"'sha256-([^']+)'", rules)
        == [
            *hashes[-2:],  # scripts are named before styles
            *hashes[:-2],
        ]
    )


def test_the_policy_comes_before_anything_that_loads(page):
    assert page.index("Content-Security-Policy") < page.index("skyfix://assets/")


def test_a_changed_script_is_not_let_in():
    one, other = policy("<script>draw()</script>"), policy("<script>steal()</script>")
    assert one != other


def test_the_module_writes_the_page_whole(tmp_path, monkeypatch, page):
    monkeypatch.setattr("app.paths.resources", lambda: tmp_path)
    main()
    assert [p.name for p in (tmp_path / "map").iterdir()] == ["map.html"]
    assert (tmp_path / "map" / "map.html").read_text(encoding="utf-8") == page
