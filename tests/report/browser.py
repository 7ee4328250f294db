"""A headless Chromium, driven over a pipe by its own protocol: nothing to install, no port."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
NO_WEBGL = ("--disable-gpu", "--disable-3d-apis")
BOX = """(() => {{
  const box = document.querySelector({}).getBoundingClientRect();
  return {{ x: box.x + scrollX, y: box.y + scrollY, width: box.width, height: box.height }};
}})()"""
SILENT = (
    "--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip
LOUD = ("error", "warning", "assert")
PATIENCE = 60.0  # seconds until an answer or a state of the page must be there


class Browser:
    """One tab of one browser, with everything that the page asked for or complained of."""

    def __init__(self, profile, flags):
        page_reads, self._write = os.pipe()
        self._read, page_writes = os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (page_reads, page_writes)]
        as_three_and_four = f'exec "$0" "$@" 3<&{ends[0]} 4>&{ends[1]}'
        self._process = subprocess.Popen(
            ["bash", "-c", as_three_and_four, CHROMIUM, *SILENT, f"--user-data-dir={profile}",
             *flags, "about:blank"],
            pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for end in (page_reads, page_writes, *ends):
            os.close(end)
        self._buffer, self._number, self._session = b"", 0, None
        self.requests, self.complaints, self.loaded = [], [], False
        targets = self.call("Target.getTargets")["targetInfos"]
        (target,) = [one for one in targets if one["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self):
        self._process.terminate()
        self._process.wait(10)
        os.close(self._read)
        os.close(self._write)

    def call(self, method, **params):
        """Send a command and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _next(self, patience=PATIENCE):
        end = time.monotonic() + patience
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            data = os.read(self._read, 1 << 20)
            assert data, "the browser has ended"
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        event = json.loads(text)
        self._note(event)
        return event

    def _note(self, event):
        method, params = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in (
            "error",
            "warning",
            "assert",
        ):
            self.complaints.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in LOUD:
            self.complaints.append(params["entry"]["text"])
        elif method == "Page.loadEventFired":
            self.loaded = True

    def open(self, address):
        """Load a page; seconds until its load event."""
        self.requests, self.complaints, self.loaded = [], [], False
        start = time.monotonic()
        self.call("Page.navigate", url=address)
        while not self.loaded:
            self._next()
        return time.monotonic() - start

    def run(self, script):
        """The value of an expression in the page."""
        done = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, script, patience=PATIENCE):
        """Wait until an expression in the page is true."""
        end = time.monotonic() + patience
        while not self.run(script):
            assert time.monotonic() < end, f"never true: {script}; {self.complaints}"
            time.sleep(0.05)

    def key(self, name, code):
        """Press a key."""
        text = {"text": "\r"} if name == "Enter" else {}
        self.call(
            "Input.dispatchKeyEvent", type="keyDown", key=name, windowsVirtualKeyCode=code, **text
        )
        self.call("Input.dispatchKeyEvent", type="keyUp", key=name, windowsVirtualKeyCode=code)

    def resize(self, width, height, scale=1):
        """Take the size of another screen."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=scale, mobile=width < 500)  # fmt: skip

    def picture(self, path=None, selector=None, whole=False):
        """A PNG of the window, of an element, or of the whole page."""
        options = {"format": "png"}
        if selector or whole:
            box = self.run(BOX.format(json.dumps(selector or "html")))
            options |= {"clip": {**box, "scale": 1}, "captureBeyondViewport": True}
        data = base64.b64decode(self.call("Page.captureScreenshot", **options)["data"])
        if path:
            path.write_bytes(data)
        return data


@contextmanager
def browser(profile, flags=WEBGL):
    """Start a browser with a profile of its own and end it afterwards."""
    tab = Browser(profile, flags)
    try:
        yield tab
    finally:
        tab.close()
