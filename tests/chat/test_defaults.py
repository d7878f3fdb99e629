import pytest

from edgellm.chat.defaults import Defaults
from edgellm.chat.messages import GenerateParams, Message, SamplingParams

ASK = Message("user", "Hi")


def test_what_a_request_says_goes_before_also_where_it_says_the_usual():
    defaults = Defaults({"temperature": 0.2, "top_p": 0.5, "top_k": 7})
    said = GenerateParams(SamplingParams(top_p=0.95), said=("top_p",), max_tokens=3)

    params = defaults.sampled(said)

    assert params.sampling == SamplingParams(temperature=0.2, top_p=0.95, top_k=7)
    assert params.max_tokens == 3


def test_without_any_a_request_is_as_it_came():
    params = GenerateParams()
    assert Defaults().sampled(params) is params


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_system_message_is_for_conversations_that_have_none(role):
    defaults = Defaults(system="Be brief.")
    own = (Message(role, "Be long."), ASK)

    assert defaults.introduced((ASK,)) == (Message("system", "Be brief."), ASK)
    assert defaults.introduced(own) == own
    assert Defaults().introduced((ASK,)) == (ASK,)
