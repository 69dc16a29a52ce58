"""The page in a real browser, headless: a picture is picked, another dropped, and the models are really asked."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from PIL import Image

from mmunlearner import cli
from mmunlearner.run.run_dir import RunDir
from mmunlearner.web.page import HOST

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (BROWSER and DRIVER), reason="no chromium and chromedriver here; apt-get install chromium chromium-driver"
    ),
]
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
DROP = """
const bytes = Uint8Array.from(atob(arguments[1]), sign => sign.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], arguments[0]));
const area = document.querySelector('.q-uploader');
area.dispatchEvent(new DragEvent('dragover', {dataTransfer: data, bubbles: true, cancelable: true}));
setTimeout(() => document.querySelector('.q-uploader__dnd').dispatchEvent(
    new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})), 200);
"""
"""What the browser does when a file (name, content in base64) is dropped on the page."""


@pytest.fixture(scope="module")
def address(finished: RunDir) -> Iterator[str]:
    """Address of a page that another process serves."""
    command = [sys.executable, "-m", "mmunlearner", "compare", str(finished.path), "--port", "0"]
    # NiceGUI waits for its own test tools where it finds this variable.
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            line = server.stdout.readline() if server.stdout else ""
            match = re.search(r"http://[\d.]+:\d+", line)
            assert match, line
            yield match[0]
        finally:
            server.terminate()


@pytest.fixture
def browser(address: str):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER or ""
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        driver.get(address)
        yield driver
    finally:
        driver.quit()


def wait_for(browser, css: str, count: int = 1, text: str = "") -> list:
    """Elements, as soon as there are `count` that hold the text."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    def there(driver) -> list:
        found = [e for e in driver.find_elements("css selector", css) if text in e.text]
        return found if len(found) == count else []

    # An element may be drawn anew between being found and being read: it is looked for again.
    return WebDriverWait(browser, 120, ignored_exceptions=(StaleElementReferenceException,)).until(
        there, f"{count} of {css} with {text!r}"
    )


def click(browser, css: str) -> None:
    browser.execute_script("document.querySelector(arguments[0]).click()", css)


def requested(browser) -> list[str]:
    """Addresses that the page asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def test_pick_and_ask(browser, finished: RunDir, address: str) -> None:
    """Vanilla knows the person, the model that forgot says what the oracle says; nothing comes from elsewhere."""
    pictures = {item.images[0].key for item in finished.splits.evaluation["forget_vqa"]}
    wait_for(browser, ".thumb", len(pictures))
    click(browser, ".thumb")
    wait_for(browser, ".suggestion", 6)
    click(browser, ".ask")
    vanilla, unlearned, oracle = (card.text for card in wait_for(browser, ".answer", 3))
    [truth, *_] = [element.text.partition(": ")[2] for element in wait_for(browser, ".truth", 3)]
    assert vanilla == truth != unlearned == oracle
    for role in ("vanilla", "unlearned", "oracle"):
        [card] = wait_for(browser, f".reply-{role}")
        shares = [float(share) for share in re.findall(r": ([\d.]+) %", card.text)]
        assert len(shares) > 2
        assert sum(shares) == pytest.approx(100, abs=0.5)
    wait_for(browser, ".quiet", 1, "In memory: vanilla, forgetful, oracle")
    assert [url for url in requested(browser) if not url.startswith((address, "data:", "blob:"))] == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_drop_and_ask(browser, tmp_path: Path) -> None:
    """A picture from outside the run; then something that is none."""
    picture = tmp_path / "mine.png"
    Image.new("RGB", (64, 48), "orange").save(picture)
    wait_for(browser, ".q-uploader")
    browser.execute_script(DROP, picture.name, base64.b64encode(picture.read_bytes()).decode())
    wait_for(browser, ".caption", 1, "mine.png")
    [field] = wait_for(browser, ".question input")
    field.send_keys("Who is this?\n")
    assert all(answer.text for answer in wait_for(browser, ".answer", 3))
    browser.execute_script(DROP, "text.png", base64.b64encode(b"no picture").decode())
    wait_for(browser, ".q-notification", 1, "text.png: not decodable")
    wait_for(browser, ".caption", 1, "mine.png")


def test_words_alone_and_a_wrong_question(browser) -> None:
    from selenium.webdriver.common.keys import Keys

    [field] = wait_for(browser, ".question input")
    click(browser, ".ask")
    wait_for(browser, ".problem", 1, "the question is empty")
    field.send_keys("Where does Ada <image> live?\n")
    wait_for(browser, ".problem", 1, "<image>")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys("Where does Ada live?\n")
    assert all(answer.text for answer in wait_for(browser, ".answer", 3))
    assert not browser.find_elements("css selector", ".problem")


def test_only_this_machine(address: str) -> None:
    """Another name for this machine is refused, and no other address of it is listened to."""
    host, _, port = address.removeprefix("http://").partition(":")
    assert host == HOST
    for name, status in (("evil.example", 400), (f"localhost:{port}", 200)):
        with closing(HTTPConnection(host, int(port))) as connection:
            connection.request("GET", "/", headers={"Host": name})
            assert connection.getresponse().status == status
    with socket.socket() as other, pytest.raises(OSError):
        other.connect(("127.0.0.2", int(port)))


def test_port_in_use(address: str, finished: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    port = address.rpartition(":")[2]
    with pytest.raises(SystemExit):
        cli.main(["compare", str(finished.path), "--port", port])
    assert re.search(rf"--port {port}: cannot be used \(.*\); choose another", capsys.readouterr().err)
