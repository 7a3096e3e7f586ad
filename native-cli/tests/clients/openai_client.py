"""The package `openai` against `onebit serve`: python openai_client.py http://127.0.0.1:PORT

Served are `m`, which says REPLY to everything, and `caller`, which calls the tool `f`.
"""

import json
import sys
import typing

import openai
import pydantic

REPLY = "I do hear you"
client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0)
hello = [{"role": "user", "content": "Hello"}]

models = [model.id for model in client.models.list()]
assert models == ["m", "caller"], models
assert client.models.retrieve("m").id == "m"

# A chat, whole and streamed.
chat = client.chat.completions.create(model="m", messages=hello, temperature=0, n=2)
assert [c.message.content for c in chat.choices] == [REPLY, REPLY], chat
assert chat.choices[0].finish_reason == "stop"
assert chat.usage.total_tokens == chat.usage.prompt_tokens + chat.usage.completion_tokens
stream = client.chat.completions.create(
    model="m", messages=hello, temperature=0, stream=True, stream_options={"include_usage": True}
)
text, usage = "", None
for chunk in stream:
    text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    usage = chunk.usage or usage
assert text == REPLY and usage.completion_tokens > 0, (text, usage)
with client.chat.completions.stream(model="m", messages=hello, temperature=0) as events:
    for event in events:
        pass
    assert events.get_final_completion().choices[0].message.content == REPLY

# Probabilities.
scored = client.chat.completions.create(
    model="m", messages=hello, temperature=0, logprobs=True, top_logprobs=2
)
tokens = scored.choices[0].logprobs.content
assert tokens[0].token == "I do" and len(tokens[0].top_logprobs) == 2, tokens
assert tokens[0].logprob == tokens[0].top_logprobs[0].logprob

# Tools: called, streamed, and their results told.
tool = {"name": "f", "description": "Does it.", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
tools = [{"type": "function", "function": tool}]
called = client.chat.completions.create(model="caller", messages=hello, temperature=0, tools=tools)
message = called.choices[0].message
assert called.choices[0].finish_reason == "tool_calls", called
assert json.loads(message.tool_calls[0].function.arguments) == {"a": 1}
result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "2"}
client.chat.completions.create(model="caller", messages=[*hello, message, result], temperature=0, tools=tools)
# Strict, as the package makes tools of classes: what the model would say, and what it would not.
class F(pydantic.BaseModel):
    """Does it."""
    a: int
class G(pydantic.BaseModel):
    """Does it."""
    a: typing.Literal["x", "y"]
for kind in [F, G]:
    strict = openai.pydantic_function_tool(kind, name="f")
    assert strict["function"]["strict"] is True, strict
    parsed = client.chat.completions.parse(model="caller", messages=hello, temperature=0, tools=[strict])
    calls = parsed.choices[0].message.tool_calls
    # The only call that the model knows is not one of the second's.
    assert calls[0].function.parsed_arguments == F(a=1) if kind is F else not calls, parsed
with client.chat.completions.stream(model="caller", messages=hello, temperature=0, tools=tools) as events:
    for event in events:
        pass
    final = events.get_final_completion().choices[0].message
    assert final.tool_calls[0].function.name == "f", final

# Texts.
completion = client.completions.create(model="m", prompt=["Hi!", "Ho!"], temperature=0, max_tokens=8)
assert [c.text for c in completion.choices] == [REPLY, REPLY], completion
echoed = client.completions.create(model="m", prompt="Hi!", echo=True, logprobs=1, max_tokens=0)
assert echoed.choices[0].text == "Hi!" and echoed.choices[0].logprobs.token_logprobs[0] is None
text = "".join(c.choices[0].text for c in client.completions.create(model="m", prompt="Hi!", temperature=0, stream=True) if c.choices)
assert text == REPLY, text

# Responses.
response = client.responses.create(model="m", input="Hello", instructions="Be kind.", temperature=0)
assert response.output_text == REPLY and response.status == "completed", response
kinds = []
for event in client.responses.create(model="m", input="Hello", temperature=0, stream=True):
    kinds.append(event.type)
assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds
flat = [{"type": "function", **tool}]
first = client.responses.create(model="caller", input=hello, temperature=0, tools=flat)
call = first.output[-1]
assert call.type == "function_call" and json.loads(call.arguments) == {"a": 1}, first
follow = [*hello, call, {"type": "function_call_output", "call_id": call.call_id, "output": "2"}]
client.responses.create(model="caller", input=follow, temperature=0, tools=flat)

# Embeddings: the package asks for base64 by itself.
vectors = client.embeddings.create(model="m", input=["a", "b"])
assert len(vectors.data) == 2 and len(vectors.data[0].embedding) == 128
assert abs(sum(x * x for x in vectors.data[0].embedding) - 1) < 1e-3

# Errors arrive as the package's own.
try:
    client.chat.completions.create(model="nobody", messages=hello)
    raise SystemExit("an unknown model was served")
except openai.NotFoundError as e:
    assert e.code == "model_not_found", e
try:
    client.chat.completions.create(model="m", messages=hello, temperature=9)
    raise SystemExit("a temperature of 9 was accepted")
except openai.BadRequestError as e:
    assert e.param == "temperature", e
