// The openai package for Node against the gateway: `suite.mjs <folder with node_modules> <gateway> <engine>`.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, gateway, engine] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${folder}/x.js`));
const { default: OpenAI } = await import(pathToFileURL(require.resolve("openai")));

const client = (settings = {}) =>
  new OpenAI({ baseURL: `${gateway}/v1`, apiKey: "unused", maxRetries: 0, timeout: 20_000, ...settings });
const ask = (word, more = {}, options = {}, by = client()) =>
  by.chat.completions.create({ model: "small", messages: [{ role: "user", content: word }], ...more }, options);
const state = async (field) => (await (await fetch(`${engine}/state`)).json())[field];

const tests = {
  async chat() {
    const answer = await ask("hello", { n: 2, logprobs: true });
    assert.equal(answer.choices[1].message.content, "Hello there");
    assert.equal(answer.choices[0].message.reasoning, "kept");
    assert.equal(answer.usage.total_tokens, 7);
  },
  async stream() {
    const chunks = [];
    for await (const chunk of await ask("hello", { stream: true, stream_options: { include_usage: true } })) chunks.push(chunk);
    assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), "Hello there");
    assert.deepEqual(chunks[0].choices[0].delta.x_unknown, { kept: true });
    assert.deepEqual(chunks.at(-1).choices, []);
    assert.equal(chunks.at(-1).usage.completion_tokens, 2);
  },
  async tools() {
    const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object" } } }];
    const call = (await ask("tool", { tools })).choices[0].message.tool_calls[0];
    assert.deepEqual(JSON.parse(call.function.arguments), { city: "Oslo" });
    const runner = client().chat.completions.stream({ model: "small", tools, messages: [{ role: "user", content: "tool" }] });
    const whole = await runner.finalChatCompletion();
    assert.deepEqual(JSON.parse(whole.choices[0].message.tool_calls[0].function.arguments), { city: "Oslo" });
  },
  async structuredOutput() {
    const schema = { name: "answer", schema: { type: "object", properties: { answer: { type: "integer" } } } };
    const answer = await ask("json", { response_format: { type: "json_schema", json_schema: schema } });
    assert.deepEqual(JSON.parse(answer.choices[0].message.content), { answer: 42 });
  },
  async models() {
    const ids = [];
    for await (const model of client().models.list()) ids.push(model.id);
    assert.deepEqual(ids, ["auto", "small", "large"]);
  },
  async abort() {
    const before = await state("gone");
    const stream = await ask("endless", { stream: true });
    for await (const _ of stream) break;
    stream.controller.abort();
    const deadline = Date.now() + 10_000;
    while ((await state("gone")) === before) {
      assert.ok(Date.now() < deadline, "the engine was not told");
      await new Promise((done) => setTimeout(done, 10));
    }
  },
  async errors() {
    await assert.rejects(ask("hello", { model: "nobody" }), (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found");
    await assert.rejects(ask("wrong"), (error) => error instanceof OpenAI.BadRequestError && error.error.message === "this is wrong" && Boolean(error.requestID));
    await assert.rejects(ask("busy"), (error) => error instanceof OpenAI.RateLimitError && error.headers.has("retry-after"));
    await assert.rejects(ask("broken"), OpenAI.InternalServerError);
  },
  async retries() {
    const before = await state("n");
    await assert.rejects(ask("broken", {}, { maxRetries: 1 }), OpenAI.InternalServerError);
    assert.ok((await state("n")) - before >= 2);
  },
  async timeouts() {
    await assert.rejects(ask("slow", {}, { timeout: 300 }), OpenAI.APIConnectionTimeoutError);
    const late = ask("slow", {}, { headers: { "x-routerwise-deadline": "200ms" } });
    await assert.rejects(late, (error) => error.status === 504 && error.code === "deadline");
  },
  async rawHeaders() {
    const { data, response } = await ask("hello", { model: "auto" }, { headers: { "x-request-id": "mine" } }).withResponse();
    assert.ok(["small", "large"].includes(response.headers.get("x-routerwise-model")));
    assert.equal(response.headers.get("x-request-id"), "mine");
    assert.equal(data._request_id, "mine");
  },
};

for (const [name, test] of Object.entries(tests)) {
  await test();
  console.log(`node ${process.version}: ${name} ok`);
}
process.exit(0);
