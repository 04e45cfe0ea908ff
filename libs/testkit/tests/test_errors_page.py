"""docs/errors.md, as `make contracts` writes it."""

import importlib.util
from types import ModuleType

import pytest
from testkit.pacts import ROOT


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("errors_script", ROOT / "scripts" / "errors.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lists_the_code_status_and_meaning_of_every_error(script):
    page = script.page()
    assert "\n| `conversation_not_found` | 404 | " in page.partition("\n## conversation\n")[2]
    assert "\n| `rate_limited` | 429 | " in page.partition("\n## auth\n")[0]


def test_leaves_out_what_is_only_a_base_of_errors(script):
    codes = {code for code, _, _ in script.rows("auth")}
    assert "invalid_credentials" in codes
    assert "oauth_error" not in codes


def test_a_stale_page_is_refused(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "PAGE", tmp_path / "errors.md")
    with pytest.raises(SystemExit):
        script.main(["--check"])
    script.main([])
    script.main(["--check"])
