"""What a stranger's template may do: what it needs, within bounds, and nothing to what is ours."""

from dataclasses import replace

import pytest
from chat.hearing import CLOCK

from edgellm.chat.messages import Message
from edgellm.chat.templating.template import ChatTemplate
from edgellm.errors import BadRequest

HELLO = (Message("system", "Be brief."), Message("user", "Hi"))
SHOWS = "{% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}"


def render(source):
    return ChatTemplate(source).render(HELLO)


def grown(expression):
    return (
        "{% set ns = namespace(a='a') %}{% for i in range(99) %}{% set ns.a = "
        + expression + " %}{% endfor %}"
    )  # fmt: skip


NESTED = "{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3


# Two that are equal, and no part of either is a part of the other: 2 ** 22 comparisons.
TWINS = (
    "{% set ns = namespace(a=[0], b=[0]) %}{% for i in range(22) %}{% set ns.a = [ns.a, ns.a] %}"
    "{% set ns.b = [ns.b, ns.b] %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (NESTED, "steps"),
        ("{% for i in range(9999) %}{% for j in range(9999) if false %}{% endfor %}{% endfor %}",
         "steps"),
        ("{% macro f(n) %}{% if n %}{{ f(n - 1) ~ f(n - 1) }}{% endif %}{% endmacro %}{{ f(50) }}",
         "steps"),
        ("{% for i in range(9) recursive %}{{ loop(range(9)) }}{% endfor %}", "recursion"),
        (grown("ns.a ~ ns.a"), "`~`"),
        (grown("ns.a|replace('a', 'aaaa')"), "`replace`"),
        (grown("ns.a.replace('a', 'aaaa')"), "`replace`"),
        (grown("'%s%s' % (ns.a, ns.a)"), "`%`"),
        (grown("'{0}{0}'.format(ns.a)"), "`format`"),
        (grown("[ns.a, ns.a]") + "{{ ns.a }}", "too many others"),
        (grown("[ns.a, ns.a]") + "{{ ns.a|tojson }}", "too many others"),
        (grown("[ns.a, ns.a]") + "{{ ns.a == [ns.a] }}", "too many others"),
        (grown("[ns.a, ns.a]") + "{{ [ns.a].index([ns.a]) }}", "too many others"),
        (grown("[ns.a, ns.a]") + "{{ (1,).count(ns.a) }}", "too many others"),
        (TWINS + "{{ [ns.a].index(ns.b) }}", "too many others"),
        (TWINS + "{{ [ns.a].count(ns.b) }}", "too many others"),
        (TWINS + "{{ (ns.a,).index(ns.b) }}", "too many others"),
        ("{% set l = ['x' * 999999] %}{% for i in range(9999) %}{{ l.count('y') }}{% endfor %}",
         "steps"),
        (grown("[ns.a, ns.a]") + "{{ ns.a|upper }}", "too many others"),
        (grown("[ns.a, ns.a]") + "{{ ns.a|format }}", "too many others"),
        (grown("{'a': ns.a, 'b': ns.a}") + "{{ ns.a|string }}", "too many others"),
        ("{% set ns = namespace(a='a') %}{% for i in range(99) %}{% set x %}{{ ns.a }}{{ ns.a }}"
         "{% endset %}{% set ns.a = x %}{% endfor %}", "more than"),
        (f"{{% for i in range(99999) %}}{'y' * 9999}{{% endfor %}}", "`text`"),
        ("{% set ns = namespace(a=[]) %}{% for i in range(9999) %}{% set ns.a = [ns.a, 'x' * 99999"
         " ~ i] %}{% endfor %}", "more than"),
        ("{% set s = 'x' * 9999999 %}{% for i in range(99999) %}{% set y = s[1:] %}{% endfor %}",
         "more than"),
        ("{% set s = 'x' * 9999999 %}{% for i in range(99999) %}{% if s == s[1:] %}{% endif %}"
         "{% endfor %}", "more than"),
        ("{% set l = [] %}{% set _ = l.append(l) %}{{ l }}", "too many others"),
        ("{% set l = [1] %}{% for i in l %}{% set _ = l.append(i) %}{% endfor %}", "steps"),
        ("{% set l = [] %}{% for i in range(99999) %}{% set _ = l.append(i) %}{% endfor %}"
         "{% for i in range(99999) %}{% set _ = l.pop(0) %}{% endfor %}", "steps"),
        (grown("[ns.a, ns.a]") + "{{ ns.a is eq([ns.a]) }}", "too many others"),
        (grown("[ns.a, ns.a]") + "{{ [ns.a]|select('in', [ns.a])|list }}", "too many others"),
        ("{{ 'x'.center(10**9) }}", "`center`"),
        ("{{ 'x'|center(10**9) }}", "`center`"),
        ("{{ '%1000000000d' % 5 }}", "`%`"),
        ("{{ '%*d' % (1000000000, 5) }}", "`%`"),
        ("{{ '{:1000000000}'.format(5) }}", "`format`"),
        ("{{ '{:{}}'.format(5, 1000000000) }}", "`format`"),
        ("{{ '{:>{w}}'.format('x', w='200000000') }}", "`format`"),
        ("{{ '{0:>{1[w]}}'.format('x', {'w': 200000000}) }}", "`format`"),
        ("{{ '{:>{w}}'.format('x', w=200000000.0) }}", "`format`"),
        ("{{ '{a:>{b}}'.format_map({'a': 'x', 'b': 200000000}) }}", "`format`"),
        ("{{ ('a'.encode() * 200000000)|length }}", "encode.*unsafe"),
        ("{{ ('a'|attr('encode'))()|length }}", "encode.*unsafe"),
        ("{{ (1).to_bytes(200000000, 'big')|length }}", "to_bytes.*unsafe"),
        ("{{ (0.5)['as_integer_ratio']() }}", "as_integer_ratio.*unsafe"),
        ("{{ 1|round(4000000, 'ceil') }}", "`round`"),
        ("{{ 1|round(precision=-4000000) }}", "`round`"),
        ("{{ ('f' * 9999)|int(base=16) }}", "39996 bits"),
        ("{{ ('a' * 99999).rsplit(sep='ab' ~ 'a' * 29999) }}", "steps"),
        ("{% for i in range(9999) %}{{ ('a' * 999999).rfind('ab' ~ 'a' * 99999) }}{% endfor %}",
         "steps"),
        ("{{ {'a': 1}|tojson(indent=10**9) }}", "`tojson`"),
        ("{{ [1, 2]|tojson(separators=('x' * 9999999, ':')) }}", "`tojson`"),
        ("{% set ns = namespace(a=range(99999)|list) %}{% for i in range(300) %}"
         "{% set ns.a = [ns.a] %}{% endfor %}{{ ns.a|tojson(indent=9)|length }}", "`text`"),
        ("{{ ('x ' * 9999999).split() }}", "`split`"),
        ("{{ ([['x' * 999] * 999] * 999)|join }}", "too many others|too much"),
        ("{{ [1]|batch(10**9, 'x')|list }}", "`batch`"),
        ("{{ ('a' * 9999).translate({97: 'b' * 9999}) }}", "`translate`"),
        ("{{ 'a' * 10**10 }}", r"`\*`"),
        ("{{ 10**10 * 'a' }}", r"`\*`"),
        ("{{ 10 ** 99999 }}", r"`\*\*`"),
        ("{% set s = namespace(x='aaaa') %}{% for i in range(99) %}{% set s.x = s.x + s.x %}"
         "{% endfor %}", r"`\+`"),
    ],
)  # fmt: skip
def test_a_template_that_works_without_end_is_stopped(source, words):
    with pytest.raises(BadRequest, match=words):
        render(source)


def test_what_templates_do_with_texts_and_lists_still_works():
    source = (
        "{% set ns = namespace(l=[], s='') %}{% for m in messages %}"
        "{% set ns.l = ns.l + [m.content] %}{% set ns.s = ns.s ~ m.content ~ loop.index %}"
        "{% endfor %}{{ ns.l|join('+') }} {{ ns.s }}"
        " {{ ns.l[1:] }} {{ '%s-%03d' % ('x', 7) }} {{ '{}/{:>3}'.format('y', 5) }}"
        " {{ ', '.join(ns.l|map('upper')) }} {{ messages|map(attribute='role')|list|tojson }}"
        " {{ 'a,b'.split(',')|last }} {{ 'x'|indent(2, true) }} {{ [1, 2]|sum }} {{ (1, 2)[0] }}"
        " {{ 2.345|round(2) }} {{ {'k': [1]}|tojson(indent=1) }}"
        " {{ [1, [2]].index([2]) }} {{ (1, 2, 1).count(1) }}"
        " {{ 'b' in 'abc' and 1 < 2 < 3 and 'x' not in ['y'] }} {{ {'k': [1]}['k'] }}"
    )
    told = [Message("user", "a"), Message("assistant", "b")]
    expected = (
        "a+b a1b2 ['b'] x-007 y/  5 A, B [\"user\", \"assistant\"] b   x 3 1 2.35"
        " {\n \"k\": [\n  1\n ]\n} 1 2 True [1]"
    )  # fmt: skip
    assert ChatTemplate(source).render(told) == expected


def test_the_longest_conversation_is_far_below_the_bound_of_steps():
    source = (
        "{% for m in messages %}{% for i in range(10) %}{{ m.content.strip() }}{% endfor %}"
        "{% if loop.last %}{{ loop.length }}{% endif %}{% endfor %}"
    )
    template = ChatTemplate(source)
    for _ in range(3):  # each rendering counts from zero
        assert template.render([Message("user", "")] * 4096) == "4096"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ raise_exception.__globals__ }}",
        "{{ messages|attr('__class__') }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ messages.append(1) }}",
        "{{ range(10**9) | list }}",
    ],
)
def test_a_template_cannot_leave_the_sandbox(source):
    try:
        text = render(source)
    except BadRequest:
        return
    assert "class" not in text
    assert "globals" not in text


@pytest.mark.parametrize(
    "change",
    ["messages.append(1)", "messages[0].pop('role')", "tools.pop()", "given.append(1)",
     "tools[0].function.parameters.required.append('y')", "[1].insert(0, 1)", "[1].clear()"],
)  # fmt: skip
def test_what_a_template_is_given_it_cannot_change(change):
    tool, given = replace(CLOCK, parameters={"type": "object", "required": ["x"]}), [1]
    changes = "{% if given is defined %}{% set _ = " + change + " %}{% endif %}"
    template = ChatTemplate(SHOWS + "<tool_call>" + changes)
    with pytest.raises(BadRequest, match="unsafe"):
        template.render(HELLO, tools=(tool,), variables={"given": given})
    assert (tool.parameters["required"], given) == (["x"], [1])
