"""The package `anthropic` against `onebit serve`: python anthropic_client.py http://127.0.0.1:PORT

Served are `m`, which says REPLY to everything, and `caller`, which calls the tool `f`.
"""

import sys

import anthropic

REPLY = "I do hear you"
client = anthropic.Anthropic(base_url=sys.argv[1], api_key="none", max_retries=0)
hello = [{"role": "user", "content": "Hello"}]
ask = {"model": "m", "max_tokens": 50, "messages": hello}
# Greedy, by the other way to ask for it.
ask["extra_body"] = {"temperature": 0}

message = client.messages.create(**ask, system="Be kind.")
assert message.content[0].text == REPLY, message
assert message.stop_reason == "end_turn" and message.usage.output_tokens > 0
stopped = client.messages.create(**ask, stop_sequences=[" you"])
assert stopped.content[0].text == "I do hear" and stopped.stop_reason == "stop_sequence", stopped
assert stopped.stop_sequence == " you"
with client.messages.stream(**ask) as stream:
    assert "".join(stream.text_stream) == REPLY
    assert stream.get_final_message().stop_reason == "end_turn"

count = client.messages.count_tokens(model="m", messages=hello)
assert count.input_tokens == message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0) or count.input_tokens > 0

tools = [{"name": "f", "description": "Does it.", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}]
call = {**ask, "model": "caller", "tools": tools}
called = client.messages.create(**call)
use = called.content[-1]
assert called.stop_reason == "tool_use" and use.name == "f" and use.input == {"a": 1}, called
with client.messages.stream(**call) as stream:
    assert stream.get_final_message().content[-1].input == {"a": 1}
result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "2"}]}
client.messages.create(**{**call, "messages": [*hello, {"role": "assistant", "content": called.content}, result]})

try:
    client.messages.create(**{**ask, "model": "nobody"})
    raise SystemExit("an unknown model was served")
except anthropic.NotFoundError as e:
    assert e.body["error"]["type"] == "not_found_error", e.body
try:
    client.messages.create(**ask, thinking={"type": "enabled", "budget_tokens": 1024})
    raise SystemExit("thinking was accepted")
except anthropic.BadRequestError as e:
    assert "thinking" in str(e), e
