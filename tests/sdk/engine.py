"""An engine that does what the last message of a chat tells it to. Prints its port; ends with its standard input."""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ASKED = {"n": 0, "gone": 0}
TOOL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


class Engine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.whole(200, ASKED)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        word = "embed" if self.path == "/v1/embeddings" else last(body)
        ASKED["n"] += 1
        if word == "embed":
            data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
            self.whole(200, {"object": "list", "model": body["model"], "data": data, "usage": USAGE})
        elif word == "wrong":
            self.error(400, "this is wrong", "invalid_request_error")
        elif word == "busy":
            self.error(429, "too many requests", "rate_limit_error")
        elif word == "broken":
            self.error(500, "it broke", "server_error")
        elif word == "slow":
            time.sleep(5)
            self.whole(200, completion(body, {"role": "assistant", "content": "late"}))
        elif body.get("stream"):
            self.stream(body, word)
        else:
            self.whole(200, completion(body, message(word)))

    def error(self, status, text, kind):
        self.whole(status, {"error": {"message": text, "type": kind, "param": None, "code": None}})

    def whole(self, status, value):
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def stream(self, body, word):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for delta in deltas(word):
                self.event(chunk(body, [{"index": 0, "delta": delta, "finish_reason": None}]))
                time.sleep(0.02 if word == "endless" else 0)
            self.event(chunk(body, [{"index": 0, "delta": {}, "finish_reason": "stop"}]))
            if body.get("stream_options", {}).get("include_usage"):
                self.event(chunk(body, []) | {"usage": USAGE})
            self.piece("data: [DONE]\n\n")
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            ASKED["gone"] += 1
            self.close_connection = True

    def event(self, value):
        self.piece(f"data: {json.dumps(value)}\n\n")

    def piece(self, text):
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def last(body):
    messages = body.get("messages") or [{"content": body.get("prompt") or body.get("input") or ""}]
    content = messages[-1]["content"]
    return content if isinstance(content, str) else content[0]["text"]


def deltas(word):
    if word == "tool":
        first = dict(TOOL, index=0, function={"name": "weather", "arguments": ""})
        yield {"role": "assistant", "tool_calls": [first]}
        for part in ('{"city"', ': "Oslo"}'):
            yield {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}
        return
    words = (f"{n} " for n in range(3000)) if word == "endless" else ["Hello", " there"]
    for text in words:
        yield {"content": text, "x_unknown": {"kept": True}}


def message(word):
    if word == "tool":
        return {"role": "assistant", "content": None, "tool_calls": [TOOL]}
    text = '{"answer": 42}' if word == "json" else "Hello there"
    return {"role": "assistant", "content": text, "reasoning": "kept"}


def completion(body, answer):
    choices = [{"index": n, "message": answer, "finish_reason": "stop", "logprobs": None} for n in range(body.get("n") or 1)]
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": choices, "usage": USAGE}


def chunk(body, choices):
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": body["model"], "choices": choices}


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()
