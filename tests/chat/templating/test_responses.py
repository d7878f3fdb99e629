from edgellm.chat.templating.responses import with_responses

USER = {"role": "user", "content": "x"}
CALL = {"function": {"name": "clock", "arguments": {}}}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}
ANSWER = {"role": "assistant", "content": "Noon."}


def result(content, **more):
    return {"role": "tool", "content": content, **more}


def test_results_and_the_answer_that_follows_are_in_the_message_that_called():
    told = with_responses([USER, CALLING, result("a", name="clock"), result("b"), ANSWER, USER])
    responses = [{"name": "clock", "response": "a"}, {"name": "", "response": "b"}]
    assert told == [USER, {**CALLING, "content": "Noon.", "tool_responses": responses}, USER]


def test_a_caller_with_text_of_its_own_keeps_it_and_the_answer_is_another_message():
    caller = {**CALLING, "content": "Let me look."}
    told = with_responses([USER, caller, result("a", name="clock"), ANSWER])
    responses = [{"name": "clock", "response": "a"}]
    assert told == [USER, {**caller, "tool_responses": responses}, ANSWER]


def test_a_call_after_a_result_is_a_message_of_its_own():
    told = with_responses([CALLING, result("a"), CALLING, result("b")])
    assert [len(one["tool_responses"]) for one in told] == [1, 1]


def test_json_is_given_as_what_it_says_and_without_a_name_the_id_is_told():
    ((one,),) = (
        m["tool_responses"] for m in with_responses([CALLING, result('{"t": 1}', tool_call_id="c")])
    )
    assert one == {"name": "c", "response": {"t": 1}}


def test_what_answers_nobody_stays_and_nothing_given_is_changed():
    talk = [USER, result("a"), ANSWER, CALLING, result("b")]
    told = with_responses(talk)
    assert told[:3] == talk[:3]
    assert "tool_responses" not in CALLING
