"""A call of `weather` and one of `clock`, as each format's models write them.

They are what the models' own chat templates write for past calls, or what llama.cpp's parsers of
the same formats expect.
"""

TWO_CALLS = {
    "hermes": (
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome", "days": 2}}\n</tool_call>\n'
        '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'
    ),
    "generic": (
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome", "days": 2}}\n</tool_call>\n'
        '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'
    ),
    "qwen-coder": (
        "<tool_call>\n<function=weather>\n<parameter=city>\nRome\n</parameter>\n"
        "<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>\n"
        "<tool_call>\n<function=clock>\n</function>\n</tool_call>"
    ),
    "glm": (
        "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>"
        "<tool_call>clock</tool_call>"
    ),
    "seed-oss": (
        "<seed:tool_call>\n<function=weather>\n<parameter=city>Rome</parameter>\n"
        "<parameter=days>2</parameter>\n</function>\n</seed:tool_call>\n"
        "<seed:tool_call>\n<function=clock>\n</function>\n</seed:tool_call>"
    ),
    "minimax": (
        '<minimax:tool_call>\n<invoke name="weather">\n<parameter name="city">Rome</parameter>\n'
        '<parameter name="days">2</parameter>\n</invoke>\n<invoke name="clock">\n</invoke>\n'
        "</minimax:tool_call>"
    ),
    "minimax-m3": (
        ']<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name="weather">]<]minimax[>[<city>Rome'
        "]<]minimax[>[</city>]<]minimax[>[<days>2]<]minimax[>[</days>]<]minimax[>[</invoke>\n"
        ']<]minimax[>[<invoke name="clock">]<]minimax[>[</invoke>\n]<]minimax[>[</tool_call>'
    ),
    "deepseek-v3.2": (
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="weather">\n'
        '<｜DSML｜parameter name="city" string="true">Rome</｜DSML｜parameter>\n'
        '<｜DSML｜parameter name="days" string="false">2</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
        '<｜DSML｜invoke name="clock">\n</｜DSML｜invoke>\n</｜DSML｜function_calls>'
    ),
    "deepseek-v4": (
        '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="weather">\n'
        '<｜DSML｜parameter name="city" string="true">Rome</｜DSML｜parameter>\n'
        '<｜DSML｜parameter name="days" string="false">2</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
        '<｜DSML｜invoke name="clock">\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>'
    ),
    "deepseek": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n"
        '{"city": "Rome", "days": 2}\n```<｜tool▁call▁end｜>\n'
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>clock\n```json\n{}\n```<｜tool▁call▁end｜>"
        "<｜tool▁calls▁end｜>"
    ),
    "deepseek-v3.1": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>"
        '{"city": "Rome", "days": 2}<｜tool▁call▁end｜>'
        "<｜tool▁call▁begin｜>clock<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    ),
    "kimi": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0"
        '<|tool_call_argument_begin|>{"city": "Rome", "days": 2}<|tool_call_end|>'
        "<|tool_call_begin|>functions.clock:1<|tool_call_argument_begin|>{}<|tool_call_end|>"
        "<|tool_calls_section_end|>"
    ),
    "kimi-k3": (
        '<|open|>tools<|sep|><|open|>call tool="weather" index="1"<|sep|>'
        '<|open|>argument key="city" type="string"<|sep|>Rome<|close|>argument<|sep|>'
        '<|open|>argument key="days" type="number"<|sep|>2<|close|>argument<|sep|>'
        '<|close|>call<|sep|><|open|>call tool="clock" index="2"<|sep|><|close|>call<|sep|>'
        "<|close|>tools<|sep|>"
    ),
    "solar": (
        "<|tool_calls|><|tool_call:begin|>a1b2c3d4e5<|tool_call:name|>weather<|tool_call:args|>"
        '{"city": "Rome", "days": 2}<|tool_call:end|><|tool_call:begin|>a1b2c3d4e6'
        "<|tool_call:name|>clock<|tool_call:args|>{}<|tool_call:end|><|calls|>"
    ),
    "mistral": (
        '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Rome", "days": 2}, '
        '"id": "abcdefghi"}, {"name": "clock", "arguments": {}, "id": "abcdefgh2"}]'
    ),
    "mistral-args": (
        '[TOOL_CALLS]weather[ARGS]{"city": "Rome", "days": 2}[TOOL_CALLS]clock[CALL_ID]abc[ARGS]{}'
    ),
    "llama-3": (
        '{"name": "weather", "parameters": {"city": "Rome", "days": 2}}; '
        '{"type": "function", "name": "clock", "parameters": {}}'
    ),
    "command-r": (
        '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "weather", "parameters": '
        '{"city": "Rome", "days": 2}},\n    {"tool_call_id": "1", "tool_name": "clock", '
        '"parameters": {}}\n]<|END_ACTION|>'
    ),
    "lfm2": ("<|tool_call_start|>[weather(city='Rome', days=2), clock()]<|tool_call_end|>"),
    "olmo-3": ("<function_calls>\nweather(city='Rome', days=2)\nclock()\n</function_calls>"),
    "nemotron": (
        '<TOOLCALL>[{"name": "weather", "arguments": {"city": "Rome", "days": 2}}, '
        '{"name": "clock", "arguments": {}}]</TOOLCALL>'
    ),
    "phi-4": (
        '<|tool_call|>[{"name": "weather", "arguments": {"city": "Rome", "days": 2}}, '
        '{"name": "clock", "arguments": {}}]<|/tool_call|>'
    ),
    "functionary": (
        '<function=weather>{"city": "Rome", "days": 2}</function><function=clock>{}</function>'
    ),
    "granite-3": (
        '<|tool_call|>[{"name": "weather", "arguments": {"city": "Rome", "days": 2}}, '
        '{"name": "clock", "arguments": {}}]'
    ),
    "hunyuan": (
        '<tool_calls>[{"name": "weather", "arguments": {"city": "Rome", "days": 2}, "id": "x"}, '
        '{"name": "clock", "arguments": {}}]</tool_calls>'
    ),
    "apertus": (
        '<|tools_prefix|>[{"weather": {"city": "Rome", "days": 2}}, {"clock": {}}]<|tools_suffix|>'
    ),
    "hy3": (
        "<tool_calls:opensource>\n<tool_call:opensource>weather<tool_sep:opensource>\n"
        "<arg_key:opensource>city</arg_key:opensource>\n"
        "<arg_value:opensource>Rome</arg_value:opensource>\n"
        "<arg_key:opensource>days</arg_key:opensource>\n"
        "<arg_value:opensource>2</arg_value:opensource>\n</tool_call:opensource>\n"
        "<tool_call:opensource>clock<tool_sep:opensource>\n</tool_call:opensource>\n"
        "</tool_calls:opensource>"
    ),
    "minicpm-5": (
        '<function name="weather"><param name="city">Rome</param><param name="days">2</param>'
        '</function>\n<function name="clock"></function>'
    ),
    "functiongemma": (
        "<start_function_call>call:weather{city:<escape>Rome<escape>,days:2}<end_function_call>"
        "<start_function_call>call:clock{}<end_function_call>"
    ),
    "gemma-4": (
        '<|tool_call>call:weather{city:<|"|>Rome<|"|>,days:2}<tool_call|>'
        "<|tool_call>call:clock{}<tool_call|>"
    ),
}
ONE_CALL = {
    "functionary-3.2": 'weather\n{"city": "Rome", "days": 2}',
    "gigachat": ('<|function_call|>{"name": "weather", "arguments": {"city": "Rome", "days": 2}}'),
    "gigachat-3": (
        "<|message_sep|>\n\nfunction call<|role_sep|>\n"
        '{"name": "weather", "arguments": {"city": "Rome", "days": 2}}'
    ),
    "harmony": (
        "<|channel|>commentary to=functions.weather <|constrain|>json<|message|>"
        '{"city": "Rome", "days": 2}<|call|>'
    ),
}
