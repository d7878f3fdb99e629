import json

from chat.hearing import BY_NAME, hear, heard_every_way


def test_gemmas_values_become_json():
    text = (
        '<|tool_call>call:note{text:<|"|>a "b"\n<|"|>,tags:[<|"|>x<|"|>,<|"|>y<|"|>],'
        'where:{room:<|"|>hall<|"|>},loud:true,any:null}<tool_call|>'
    )
    (_, _, arguments) = heard_every_way(BY_NAME["gemma-4"], text)[2][0]
    assert json.loads(arguments) == {
        "text": 'a "b"\n', "tags": ["x", "y"], "where": {"room": "hall"}, "loud": True, "any": None,
    }  # fmt: skip


def test_gemmas_values_may_be_jsons():
    text = (
        '<|tool_call>call:note{"text":"Rome, Italy","tags":["a,b","c:d"],'
        'any:{<|"|>a:b<|"|>:[-1.5e3,null]}}<tool_call|>'
    )
    ((_, _, arguments),) = heard_every_way(BY_NAME["gemma-4"], text)[2]
    expected = {"text": "Rome, Italy", "tags": ["a,b", "c:d"], "any": {"a:b": [-1.5e3, None]}}
    assert json.loads(arguments) == expected


def test_gemmas_values_may_be_deep_but_not_without_end():
    begin = "<|tool_call>call:note{any:"
    deep = "[" * 60 + "]" * 60
    assert hear(BY_NAME["gemma-4"], [f"{begin}{deep}}}<tool_call|>"])[:3] == (
        "", "", [("id1", "note", f'{{"any": {deep}}}')],
    )  # fmt: skip
    for value in ("[", "{a:"):
        text, _, ((_, _, arguments),), _ = hear(BY_NAME["gemma-4"], [begin + value * 5000])
        assert arguments.count(value[0]) + text.count(value[0]) - (value == "{a:") == 5000


def test_what_breaks_off_inside_gemmas_values_goes_on_as_text():
    text = '<|tool_call>call:note{"text" : 1 , "tags" or so'
    heard = heard_every_way(BY_NAME["gemma-4"], text)
    assert heard == (', "tags" or so', "", [("id1", "note", '{"text": 1')], "tool_calls")


def test_what_json_has_only_as_escapes_is_told_as_them():
    text = '<|tool_call>call:note{"\\ud800":"a\nb"}<tool_call|>'
    ((_, _, arguments),) = heard_every_way(BY_NAME["gemma-4"], text)[2]
    assert arguments == '{"\\ud800": "a\\nb"}'
