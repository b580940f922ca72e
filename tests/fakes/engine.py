"""An OpenAI-compatible engine that says what a test tells it to, in the test's own loop."""

import asyncio
import json

from aiohttp import web

METRICS = """llamacpp:prompt_tokens_total 100
llamacpp:prompt_seconds_total 0.5
llamacpp:tokens_predicted_total 100
llamacpp:tokens_predicted_seconds_total 1
llamacpp:requests_processing 0
llamacpp:requests_deferred 0
"""


class ScriptedEngine:
    """`script` is called with each chat's body and the open response, and writes what it likes.

    `bodies` are the chats that came, probes included; `break_first` connections are cut before a byte.
    """

    def __init__(self, script=None):
        self.bodies = []
        self.break_first = 0
        self.script = script or say_words("one", "two", "three")
        self.url = ""

    async def start(self):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        for path, text in (
            ("/metrics", METRICS),
            ("/slots", json.dumps([{"n_ctx": 512, "is_processing": False}] * 4)),
            ("/props", json.dumps({"total_slots": 4})),
            ("/v1/models", json.dumps({"data": [{"id": "engine-name"}]})),
        ):
            app.router.add_get(path, self._say(text))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def close(self):
        await self._runner.cleanup()

    def _say(self, text):
        async def handler(_request):
            return web.Response(text=text)

        return handler

    async def _chat(self, request):
        body = await request.json()
        if self.break_first and body.get("max_tokens") != 4:
            self.break_first -= 1
            request.transport.abort()
            return web.Response()
        self.bodies.append(body)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await self.script(body, response)
        return response


def chunk(text=None, usage=None, **more):
    choices = [] if usage else [{"index": 0, "delta": {"content": text}}]
    value = {"object": "chat.completion.chunk", "choices": choices, **more}
    if usage:
        value["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return f"data: {json.dumps(value)}\n\n".encode()


def say_words(*words, usage=(12, 3)):
    async def script(_body, response):
        await response.write(chunk(None))
        for word in words:
            await response.write(chunk(word + " "))
        if usage:
            await response.write(chunk(usage=usage))
        await response.write(b"data: [DONE]\n\n")

    return script


class Held:
    """A script that says one word, then waits until it is let go on; `gone` when its client left."""

    def __init__(self, words=1):
        self.words = words
        self.said = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, body, response):
        if body.get("max_tokens") == 4:  # a probe
            await say_words("x")(body, response)
            return
        await response.write(chunk(None))
        for _ in range(self.words):
            await response.write(chunk("word "))
        self.said.set()
        await self.go.wait()
        await response.write(chunk("end"))
        await response.write(chunk(usage=(12, self.words + 1)))
        await response.write(b"data: [DONE]\n\n")
