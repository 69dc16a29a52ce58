"""The hub is asked once, and what its client logs about further tries is kept back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants
from support.tiny import VOCABULARY, llava

from mmunlearner.core import hub
from mmunlearner.core.hub import hub_problem, quiet_hub
from mmunlearner.errors import DataError, ModelError


class Hub(BaseHTTPRequestHandler):
    status, requests = 200, 0

    def do_HEAD(self) -> None:
        Hub.requests += 1
        self.send_response(Hub.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A hub on this machine."""
    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Hub.status, Hub.requests = 200, 0
    address = f"http://127.0.0.1:{server.server_port}"
    use(monkeypatch, address)
    yield address
    server.shutdown()
    server.server_close()
    hub_problem.cache_clear()


def use(monkeypatch: pytest.MonkeyPatch, address: str, *, offline: bool = False) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    hub_problem.cache_clear()


def test_hub_that_answers(endpoint: str) -> None:
    assert [hub_problem(), hub_problem()] == ["", ""]
    assert Hub.requests == 1


def test_hub_that_fails(endpoint: str) -> None:
    Hub.status = 503
    assert hub_problem() == f"{endpoint}: answers 503"


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://", "no address"])
def test_hub_that_is_not_there(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    use(monkeypatch, address)
    assert hub_problem().startswith(f"{address}: ")
    hub_problem.cache_clear()


def test_nothing_is_asked_offline(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, endpoint, offline=True)
    assert hub_problem() == "HF_HUB_OFFLINE is set"
    assert Hub.requests == 0


def test_one_line_without_a_network(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    from mmunlearner.data.load import local_folder
    from mmunlearner.models.sources import find_sources

    use(monkeypatch, "http://127.0.0.1:1")
    with pytest.raises(ModelError, match=r"^model no/such: no such directory, no copy .* asked \(http://127.0.0.1:1: "):
        find_sources("no/such")
    with pytest.raises(DataError, match=r"^no/such: no such folder, .*\(http://127.0.0.1:1: "):
        local_folder("no/such")
    hub_problem.cache_clear()
    assert capfd.readouterr() == ("", "")


def test_retries_are_kept_back(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("huggingface_hub.utils._http")
    before = log.getEffectiveLevel()
    with quiet_hub():
        assert not log.isEnabledFor(logging.WARNING)
    assert log.getEffectiveLevel() == before
    assert hub.SECONDS <= 10


def test_copies_serve_where_the_hub_does_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Models and hashes are the same with and without a network."""
    from mmunlearner.models import load, save
    from mmunlearner.models.sources import source_hashes

    snapshot = tmp_path / "models--some--model" / "snapshots" / "0123abc"
    save(llava(VOCABULARY), snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0123abc")
    # The client reads the folder of its cache when it is imported.
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    use(monkeypatch, "http://127.0.0.1:1")
    assert load("some/model", device="cpu").source == "some/model"
    assert source_hashes("some/model") == {"revision": "0123abc"}
    hub_problem.cache_clear()
