"""A headless Chromium for tests of pages, spoken to over a pipe by its DevTools protocol; no library is needed for that."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking --no-first-run"
    " --disable-component-update --disable-extensions --remote-debugging-pipe --hide-scrollbars"
)
WAIT_SECONDS = 60  # for what a page is to become; it never takes that long but on a machine that does much else
UNTIL = """new Promise((done, failed) => {{
  const end = Date.now() + {milliseconds};
  const look = () => {{ const found = ({condition}); if (found) done(found); else if (Date.now() > end) failed(new Error("never came")); else setTimeout(look, 20); }};
  look();
}})"""


class Browser:
    """One page in a browser of its own."""

    def __init__(self, width: int = 1280, height: int = 800) -> None:
        self._home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_browser, from_browser = os.pipe(), os.pipe()
        assert PROGRAM is not None
        # The protocol is spoken on the file descriptors 3 and 4.
        shell = f'exec "$0" "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}'
        size = f"--window-size={width},{height}"
        command = [
            "bash",
            "-c",
            shell,
            PROGRAM,
            *OPTIONS.split(),
            size,
            f"--user-data-dir={self._home.name}",
            "about:blank",
        ]
        self._process = subprocess.Popen(
            command, pass_fds=(to_browser[0], from_browser[1]), stderr=subprocess.DEVNULL, start_new_session=True
        )
        os.close(to_browser[0])
        os.close(from_browser[1])
        self._to, self._from = (
            os.fdopen(to_browser[1], "wb", buffering=0),
            os.fdopen(from_browser[0], "rb", buffering=0),
        )
        self._count, self._rest, self._session = 0, b"", ""
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(info["targetId"] for info in targets if info["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.problems: list[str] = []
        self.call("Runtime.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._to.close()
        self._from.close()
        self._process.kill()
        self._process.wait()
        self._home.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the browser answers to a call of its protocol. Errors of the page meanwhile are kept in `problems`."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._next())
            if answer.get("method") == "Runtime.exceptionThrown":
                self.problems.append(json.dumps(answer["params"]["exceptionDetails"]))
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _next(self) -> bytes:
        while b"\0" not in self._rest:
            answers, _, _ = select.select([self._from], [], [], 2 * WAIT_SECONDS)
            more = self._from.read(1 << 16) if answers else b""
            if not more:
                raise RuntimeError("the browser has ended, or does not answer")
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return message

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def value(self, script: str) -> Any:
        """What JavaScript in the page comes to; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, condition: str) -> Any:
        """Waits until a JavaScript expression is true; its value."""
        return self.value(UNTIL.format(condition=condition, milliseconds=1000 * WAIT_SECONDS))

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
