"""A headless Chromium driven over the DevTools protocol: no driver, no further package."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
START_S, ANSWER_S = 60.0, 30.0
_COMPLAINTS = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled", "Audits.issueAdded")


class Browser:
    """One page of one browser, with a profile of its own; ``complaints`` are its errors and warnings."""

    def __init__(self, folder: Path) -> None:
        assert CHROMIUM is not None
        self.complaints: list[str] = []
        self._ids = itertools.count(1)
        self._opened = contextlib.ExitStack()
        command = [CHROMIUM, "--headless=new", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={folder}",
                   "--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking",
                   *(["--no-sandbox"] if os.geteuid() == 0 else []), "about:blank"]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self._socket = self._opened.enter_context(connect(_address(folder / "DevToolsActivePort"), max_size=2**26))
            for domain in ("Page", "Runtime", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self._opened.close()
            self._process.kill()
            self._process.wait(ANSWER_S)
            raise

    def call(self, method: str, **given: Any) -> Any:
        """One command of the protocol and its answer; events that come in between are looked through for complaints."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": given}))
        while True:
            said = json.loads(self._socket.recv(timeout=ANSWER_S))
            if said.get("method") in _COMPLAINTS:
                self._complain(said)
            if said.get("id") == number:
                assert "error" not in said, said
                return said["result"]

    def _complain(self, said: dict[str, Any]) -> None:
        what = said["params"]
        level = what.get("type") or what.get("entry", {}).get("level") or "error"
        if level in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(what)[:2000])

    def look(self, *, language: str = "en-US", scheme: str = "light", width: int = 1280, height: int = 900) -> None:
        """What the visitor's machine is like."""
        agent = self.call("Browser.getVersion")["userAgent"]
        self.call("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage=language)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def open(self, url: str) -> None:
        """Open a page; it says itself when it is ready."""
        self.call("Page.navigate", url=url)
        self.until("document.body?.dataset.ready === '1'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def until(self, true: str, seconds: float = ANSWER_S) -> None:
        """Wait until an expression is true in the page."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({true})"):
            assert time.monotonic() < end, (true, self.complaints, self.run("document.body?.innerText"))
            time.sleep(0.05)

    def type(self, where: str, text: str) -> None:
        """Put the focus there, and type."""
        self.run(f"document.querySelector({json.dumps(where)}).focus()")
        self.call("Input.insertText", text=text)

    def press(self, key: str, code: int) -> None:
        """One key, down and up."""
        text = {"text": "\r"} if key == "Enter" else {"text": " "} if key == " " else {}
        given = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", **given, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **given)

    def click(self, where: str) -> None:
        self.run(f"document.querySelector({json.dumps(where)}).click()")

    def close(self) -> None:
        self._opened.close()
        self._process.terminate()
        self._process.wait(ANSWER_S)


def _address(file: Path) -> str:
    """Where the only page of a browser that has just been started listens."""
    end = time.monotonic() + START_S
    while not (file.exists() and len(file.read_text().splitlines()) == 2):
        assert time.monotonic() < end, "the browser did not start"
        time.sleep(0.05)
    port = int(file.read_text().splitlines()[0])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=ANSWER_S) as answer:
        pages = [page for page in json.load(answer) if page["type"] == "page"]
    address: str = pages[0]["webSocketDebuggerUrl"]
    return address
