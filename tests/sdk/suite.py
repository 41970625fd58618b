"""The openai package for Python against the gateway: `suite.py <gateway> <engine>`, both as `http://host:port`."""

import json
import sys
import time
import urllib.request

import openai

GATEWAY, ENGINE = sys.argv[1:]


def client(**settings):
    return openai.OpenAI(base_url=f"{GATEWAY}/v1", **{"api_key": "unused", "max_retries": 0, "timeout": 20, **settings})


def ask(word, model="small", client=client(), **more):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": word}], **more)


def engine(field):
    return json.load(urllib.request.urlopen(f"{ENGINE}/state"))[field]


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


def chat():
    answer = ask("hello", n=2, logprobs=True)
    assert answer.choices[1].message.content == "Hello there"
    assert answer.choices[0].message.reasoning == "kept"
    assert answer.usage.total_tokens == 7
    assert ask("hello", model="auto").model in ("small", "large")


def stream():
    chunks = list(ask("hello", stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "Hello there", text
    assert chunks[0].choices[0].delta.x_unknown == {"kept": True}
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 2


def tools():
    offered = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    call = ask("tool", tools=offered).choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"city": "Oslo"}
    parts = [chunk.choices[0].delta.tool_calls for chunk in ask("tool", tools=offered, stream=True)]
    arguments = "".join(part[0].function.arguments for part in parts if part)
    assert json.loads(arguments) == {"city": "Oslo"}


def structured_output():
    schema = {"name": "answer", "schema": {"type": "object", "properties": {"answer": {"type": "integer"}}}}
    answer = ask("json", response_format={"type": "json_schema", "json_schema": schema})
    assert json.loads(answer.choices[0].message.content) == {"answer": 42}


def images():
    content = [{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    answer = client().chat.completions.create(model="small", messages=[{"role": "user", "content": content}])
    assert answer.choices[0].message.content == "Hello there"


def embeddings_and_models():
    assert client().embeddings.create(model="small", input="x", encoding_format="float").data[0].embedding == [0.5, 0.25]
    assert [model.id for model in client().models.list()] == ["auto", "small", "large"]
    assert client().models.retrieve("small").id == "small"


def abort():
    before = engine("gone")
    with ask("endless", stream=True) as answer:
        next(iter(answer))
    deadline = time.monotonic() + 10
    while engine("gone") == before:
        assert time.monotonic() < deadline, "the engine was not told"
        time.sleep(0.01)


def errors():
    assert raises(openai.NotFoundError, lambda: ask("hello", model="nobody")).code == "model_not_found"
    wrong = raises(openai.BadRequestError, lambda: ask("wrong"))
    assert wrong.body["message"] == "this is wrong" and wrong.request_id
    assert raises(openai.RateLimitError, lambda: ask("busy")).response.headers["retry-after"]
    assert raises(openai.InternalServerError, lambda: ask("broken")).status_code == 500
    header = {"x-routerwise-deadline": "soon"}
    assert "x-routerwise-deadline" in raises(openai.BadRequestError, lambda: ask("hello", extra_headers=header)).message


def retries():
    before = engine("n")
    raises(openai.InternalServerError, lambda: ask("broken", client=client(max_retries=1)))
    assert engine("n") - before >= 2


def timeouts():
    started = time.monotonic()
    raises(openai.APITimeoutError, lambda: ask("slow", client=client(timeout=0.3)))
    assert time.monotonic() - started < 4
    late = raises(openai.APIStatusError, lambda: ask("slow", extra_headers={"x-routerwise-deadline": "200ms"}))
    assert (late.status_code, late.code) == (504, "deadline"), late.body


def raw_headers():
    raw = client().chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": "hello"}], extra_headers={"x-request-id": "mine"}
    )
    assert raw.headers["x-routerwise-model"] in ("small", "large") and raw.headers["x-routerwise-reason"]
    assert raw.headers["x-request-id"] == "mine" == raw.parse()._request_id


for test in (chat, stream, tools, structured_output, images, embeddings_and_models, abort, errors, retries, timeouts, raw_headers):
    test()
    print(f"python {openai.__version__}: {test.__name__} ok", flush=True)
