"""The page in a real headless browser: it streams, stops, shows probabilities, and runs no script but its own."""

import asyncio
import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from fourhorn.serving.limits import LOOPBACK, Limits

aiohttp = pytest.importorskip("aiohttp")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--window-size=1100,900",
]
HOSTILE = [
    "<script>boom()</script>",
    "<img src=x onerror=boom()>",
    "<svg onload=boom()>",
    "<svg><script>boom()</script></svg>",
    "<iframe srcdoc='<script>parent.boom()</script>'>",
    "<iframe src=javascript:parent.boom()>",
    "<a href=javascript:boom()>x</a>",
    "<body onload=boom()>",
    "<input autofocus onfocus=boom()>",
    "<details open ontoggle=boom()>",
    "<video><source onerror=boom()>",
    "<math><mtext></mtext><script>boom()</script>",
    "<style>@import 'javascript:boom()'</style>",
    "<link rel=stylesheet href=javascript:boom()>",
    "<meta http-equiv=refresh content='0;url=javascript:boom()'>",
    "<object data=javascript:boom()>",
    "<embed src=javascript:boom()>",
    "<form action=javascript:boom()><button>x</button></form>",
    "<marquee onstart=boom()>",
    "<select autofocus onfocus=boom()>",
    "</textarea><script>boom()</script>",
    "</script><script>boom()</script>",
    "</style><script>boom()</script>",
    "</title><script>boom()</script>",
    "<!--><script>boom()</script>-->",
    "<![CDATA[<script>boom()</script>]]>",
    "<x onpointerenter=boom() style=position:fixed;inset:0>",
    "<template><script>boom()</script></template>",
    "'-boom()-'",
    '"-boom()-"',
    "\\';boom();//",
    "${boom()}",
    "{{constructor.constructor('boom()')()}}",
    "javascript:boom()",
    "data:text/html,<script>boom()</script>",
    "\u2028boom()\u2029",
    "<scr\0ipt>boom()</scr\0ipt>",
    "&lt;script&gt;boom()&lt;/script&gt;",
    "%3Cscript%3Eboom()%3C/script%3E",
    "\u202e<script>boom()</script>\u202c",
]


class Browser:
    """Just enough of the Chrome DevTools protocol."""

    def __init__(self, socket) -> None:
        self.socket, self.number, self.errors = socket, 0, []

    async def call(self, method, **parameters):
        self.number += 1
        await self.socket.send_str(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads((await self.socket.receive(timeout=60)).data)
            self.note(message)
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]

    def note(self, message) -> None:
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(
                message["params"]["exceptionDetails"].get("exception", {}).get("description", "?")
            )
        if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.errors.append(message["params"]["entry"]["text"])
        if message.get("method") == "Runtime.consoleAPICalled" and message["params"]["type"] == "error":
            self.errors.append(str(message["params"]["args"]))

    async def run(self, expression):
        answer = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression, seconds=60):
        end = time.monotonic() + seconds
        while not await self.run(expression):
            assert time.monotonic() < end, (
                f"{expression} did not come true: {await self.run('document.body.innerText')}"
            )
            await asyncio.sleep(0.05)

    async def go(self, url):
        await self.call("Page.navigate", url="about:blank")
        await self.call("Page.navigate", url=url)
        await self.until(
            "document.readyState === 'complete' && typeof panes === 'object' && panes.length > 0"
        )

    async def picture(self, path, *, width=1100, height=900, dark=False, phone=False):
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=features)
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )
        data = await self.call("Page.captureScreenshot", format="png")
        Path(path).write_bytes(base64.b64decode(data["data"]))


def drive(steps):
    """Run `await steps(browser)` in a fresh browser."""

    async def main():
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                note = Path(profile) / "DevToolsActivePort"
                end = time.monotonic() + 60
                while not note.exists() or not note.read_text().strip():
                    assert time.monotonic() < end, "the browser did not start"
                    await asyncio.sleep(0.05)
                port = note.read_text().split("\n")[0]
                async with aiohttp.ClientSession() as session:
                    async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                        pages = [page for page in await answer.json() if page["type"] == "page"]
                    address = pages[0]["webSocketDebuggerUrl"]
                    async with session.ws_connect(address, max_msg_size=1 << 26) as socket:
                        browser = Browser(socket)
                        for domain in ("Page", "Runtime", "Log"):
                            await browser.call(f"{domain}.enable")
                        await steps(browser)
                        return browser
            finally:
                process.kill()
                process.wait()

    return asyncio.run(main())


def test_the_page_writes_on_shows_probabilities_branches_compares_and_stops(start):
    pictures = os.environ.get("FOURHORN_PICTURES")

    async def steps(browser):
        await browser.go(server.url)
        await browser.run("""$("prompt").value = "the four unicorns"; panes[0].seed.value = 7;
            panes[0].knobs.length.value = 40; $("go").click()""")
        await browser.until("running === null && panes[0].version()")
        n_tokens = await browser.run("document.querySelectorAll('.token').length")
        assert n_tokens > 5
        assert await browser.run("$('status').textContent.includes('per second')")
        whole = await browser.run("panes[0].whole()")
        assert whole.startswith("the four unicorns")
        assert await browser.run("panes[0].text.textContent.startsWith(panes[0].whole())")

        await browser.run("document.querySelectorAll('.token')[3].click()")
        assert await browser.run("document.querySelectorAll('.pop button').length") >= 8
        shares = await browser.run("panes[0].version().tokens[3].alternatives.map(a => Math.exp(a[1]))")
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 1.0001
        if pictures:
            await browser.picture(f"{pictures}/alternatives.png")

        kept = await browser.run("panes[0].whole(3)")
        await browser.run("[...document.querySelectorAll('.pop button:not(:disabled)')].at(-1).click()")
        await browser.until("running === null && panes[0].versions.length === 2")
        assert (await browser.run("panes[0].whole()")).startswith(kept)

        await browser.run("panes[0].seed.value = ''; panes[0].again.click()")
        await browser.until("running === null && panes[0].versions.length === 3")
        assert await browser.run("panes[0].count.textContent") == "3 of 3"
        await browser.run("panes[0].previous.click()")
        assert await browser.run("panes[0].count.textContent") == "2 of 3"

        before = await browser.run("panes[0].version().tokens.length")
        await browser.run("panes[0].more.click()")
        await browser.until(f"running === null && panes[0].version().tokens.length > {before}")

        await browser.run("$('compare').click()")
        assert await browser.run("panes.map(p => p.model.value).join()") == "tiny,<b>other</b>"
        # Without a seed a pane may end with its first token.
        await browser.run("panes.forEach(p => p.seed.value = 7); $('go').click()")
        await browser.until("running === null && panes[1].version()?.tokens.length > 0")
        if pictures:
            await browser.picture(f"{pictures}/compare.png")
            await browser.picture(f"{pictures}/compare-dark.png", dark=True)
            await browser.picture(f"{pictures}/phone.png", width=390, height=844, phone=True)

        await browser.run("panes.forEach(p => p.knobs.length.value = 1024)")
        await browser.run(
            "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', ctrlKey: true, bubbles: true}))"
        )
        await browser.until("running !== null && panes[0].version().tokens.length > 2")
        await browser.run(
            "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape', bubbles: true}))"
        )
        await browser.until("running === null")
        assert await browser.run("$('status').textContent") == "Stopped."

        address = await browser.run("link()")
        texts = await browser.run("panes[0].settings()")
        await browser.go(address)
        assert await browser.run("$('prompt').value") == "the four unicorns"
        assert await browser.run("panes.length") == 2
        assert await browser.run("panes[0].settings()") == texts

    with start(("tiny", "<b>other</b>"), n_ctx=1024, n_layer=4) as server:
        browser = drive(steps)
        end = time.monotonic() + 10
        while server.engine.n_running and time.monotonic() < end:
            time.sleep(0.05)
        assert server.engine.n_running == 0  # stopping in the page stopped the model
    assert browser.errors == []


@pytest.mark.parametrize("where", ["prompt", "completion", "model"])
def test_hostile_text_stays_text(start, where):
    names = tuple(HOSTILE) if where == "model" else ("tiny",)

    async def steps(browser):
        await browser.call("Runtime.addBinding", name="boom")
        ran = []
        note = browser.note
        browser.note = lambda message: (
            (note(message), ran.append(1)) if "bindingCalled" in str(message.get("method")) else note(message)
        )
        await browser.go(server.url)
        if where == "model":
            assert await browser.run("[...panes[0].model.options].map(o => o.value)") == HOSTILE
            assert await browser.run("[...panes[0].model.options].map(o => o.textContent)") == HOSTILE
        for text in HOSTILE:
            quoted = json.dumps(text)
            if where == "prompt":
                state = {"prompt": text, "compare": False, "panes": []}
                data = base64.urlsafe_b64encode(json.dumps(state).encode()).decode().rstrip("=")
                await browser.run(
                    f"location.hash = {json.dumps(data)}; readLink(); panes[0].add($('prompt').value, [])"
                )
                shown = await browser.run("panes[0].text.textContent")
                assert shown == text
            elif where == "completion":
                await browser.run(f"""panes[0].add({quoted}, []);
                    {{ const t = {{text: {quoted}, name: {quoted}, logprob: -1, alternatives: [[{quoted}, -1]]}};
                    panes[0].version().tokens.push(t); panes[0].append(t, 0); panes[0].open(0, panes[0].text.lastChild);
                    say({quoted}, true); }}""")
                assert await browser.run("panes[0].text.lastChild.textContent") == text
        await browser.go(f"{server.url}/#{quote(HOSTILE[0])}")
        assert (
            await browser.run("document.querySelectorAll('iframe, object, embed, svg, img, form').length")
            == 0
        )
        assert await browser.run("document.scripts.length") == 1
        assert ran == []

    with start(names, limits=Limits(hosts=LOOPBACK)) as server:
        drive(steps)


def test_no_script_but_the_pages_own_may_run(server):
    async def steps(browser):
        await browser.go(server.url)
        await browser.run("""{ const s = document.createElement("script"); s.textContent = "window.ran = 1";
            document.body.append(s); const b = document.createElement("b"); b.innerHTML = "<img src=x onerror='ran=1'>";
            document.body.append(b); }""")
        await asyncio.sleep(0.3)
        assert await browser.run("typeof window.ran") == "undefined"

    assert any("Content Security Policy" in error for error in drive(steps).errors)
