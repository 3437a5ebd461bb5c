#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A headless Chromium, driven over a pipe (Chrome DevTools Protocol): opens a page, runs scripts in it, takes pictures.

    browser.py shot URL FILE.png [--size WxH] [--scheme dark|light] [--phone] [--seconds S] [--script JS]
"""
import argparse
import base64
import json
import os
import select
import subprocess
import tempfile
import time

CHROMIUM = os.environ.get("CHROMIUM", "chromium-headless-shell")


class Browser:
    def __init__(self):
        self.profile = tempfile.TemporaryDirectory(prefix="spillway-browser-")
        to_browser, self.write_end = os.pipe()
        self.read_end, from_browser = os.pipe()
        # The protocol's pipe is at descriptors 3 and 4. As root there is no sandbox; the network is the test's own.
        command = ["bash", "-c", f'exec 3<&{to_browser} 4>&{from_browser}; exec "$0" "$@"', CHROMIUM,
                   "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                   "--no-first-run", "--disable-background-networking", "--disable-component-update",
                   f"--user-data-dir={self.profile.name}", "about:blank"]
        self.process = subprocess.Popen(command, pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.number = 0
        self.session = None
        self.pending = b""
        self.complaints = []  # what the page's console said, what it threw, what it could not load
        self.requests = []    # URLs
        self.wire_bytes = 0   # that came over the network
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in "Page", "Runtime", "Network", "Log":
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.write_end)
        os.close(self.read_end)
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        try:
            self.profile.cleanup()
        except OSError:
            pass  # a helper process of the browser was still writing: it lies in /tmp

    def _heed(self, message):
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            detail = params["exceptionDetails"]
            self.complaints.append(detail.get("exception", {}).get("description", detail["text"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"] + " " + params["entry"].get("url", ""))
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Network.loadingFinished":
            self.wire_bytes += params["encodedDataLength"]

    def _read(self, deadline):
        while b"\0" not in self.pending:
            ready, _, _ = select.select([self.read_end], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser does not answer")
            got = os.read(self.read_end, 1 << 20)
            if not got:
                raise EOFError("the browser has ended")
            self.pending += got
        message, self.pending = self.pending.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        self.number += 1
        request = {"id": self.number, "method": method, "params": params}
        if self.session:
            request["sessionId"] = self.session
        os.write(self.write_end, json.dumps(request).encode() + b"\0")
        deadline = time.monotonic() + 60
        while True:
            message = self._read(deadline)
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self._heed(message)

    def look(self, width=1440, height=900, scheme="light", phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url):
        self.call("Page.navigate", url=url)

    def run(self, script):
        """The value of an expression in the page; a promise's, when it has one."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"].get("exception", {}).get("description", "a script threw"))
        return result["result"].get("value")

    def until(self, script, seconds=30):
        deadline = time.monotonic() + seconds
        while not self.run(f"!!({script})"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not in {seconds} s: {script}: " + "; ".join(self.complaints))
            time.sleep(0.05)

    def picture(self, path, whole=False):
        params = {"format": "png"}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            params |= {"captureBeyondViewport": True, "clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}
        with open(path, "wb") as out:
            out.write(base64.b64decode(self.call("Page.captureScreenshot", **params)["data"]))


def main():
    parser = argparse.ArgumentParser(description="takes a picture of a page")
    parser.add_argument("verb", choices=["shot"])
    parser.add_argument("url")
    parser.add_argument("file")
    parser.add_argument("--size", default="1440x900")
    parser.add_argument("--scheme", default="light", choices=["dark", "light"])
    parser.add_argument("--phone", action="store_true")
    parser.add_argument("--whole", action="store_true", help="to the page's end")
    parser.add_argument("--seconds", type=float, default=3, help="to wait before")
    parser.add_argument("--script", help="to run before")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    with Browser() as browser:
        browser.look(width, height, arguments.scheme, arguments.phone)
        browser.open(arguments.url)
        time.sleep(arguments.seconds)
        if arguments.script:
            browser.run(arguments.script)
            time.sleep(1.5)
        browser.picture(arguments.file, arguments.whole)
        for complaint in browser.complaints:
            print(complaint)


if __name__ == "__main__":
    main()
