import httpx
import pytest
from sandbox.main import create_sandbox
from sandbox.pages import PAGES
from sandbox.processes import free_port
from testkit.live_server import serving


@pytest.mark.parametrize("page", [*PAGES, "billing"])
def test_a_page_asks_and_says_when_acme_is_away(page: str) -> None:
    with serving(create_sandbox(gateway=f"http://127.0.0.1:{free_port()}")) as url:
        response = httpx.get(f"{url}/app/{page}", params={"token": "a<b>"}, timeout=60)
        assert response.status_code == 200
        assert "<button>" in response.text
        assert "no-referrer" in response.headers["referrer-policy"]
        pressed = httpx.post(
            f"{url}/app/{page}", params={"token": "a<b>"}, data={"password": "x"}, timeout=60
        )
    assert pressed.status_code == 503
    assert "Acme does not answer" in pressed.text


def test_there_are_no_pages_where_acme_is_not_known() -> None:
    with serving(create_sandbox()) as url:
        assert httpx.get(f"{url}/app/verify-email", timeout=60).status_code == 404
