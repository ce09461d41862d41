"""The page of a report reaches a browser in a sandbox, and nothing else does."""

from pathlib import Path

from starlette.testclient import TestClient

from cryptostream.web import site
from tests.web.probes import FakeCommands, FakeProbes


def test_a_page_is_sandboxed_and_an_unknown_one_is_not_found(tmp_path: Path) -> None:
    probes = FakeProbes()
    probes.pages["first"] = tmp_path / "first.html"
    probes.pages["first"].write_text("<!DOCTYPE html><script>1</script>")
    app = TestClient(site.make(probes, FakeCommands(), secret="x" * 20, dashboard=False))
    answer = app.get("/reports/first")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts allow-downloads; default-src 'none'")
    assert "allow-same-origin" not in policy
    assert answer.text.startswith("<!DOCTYPE html>")
    for name in ("second", "..%2fetc%2fpasswd", "%2e%2e"):
        assert app.get(f"/reports/{name}").status_code == 404
