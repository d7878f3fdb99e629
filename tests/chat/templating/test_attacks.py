"""Work that CPython does within one call, which nobody can break off: it is refused before.

Each of these would take seconds to years, or gigabytes, were it done.
"""

import pytest

from edgellm.chat.templating.allowance import MAX_STEPS, Allowance, Exceeded, bounded
from edgellm.chat.templating.sandbox import MAX_SOURCE, environment

OTHERS, KEY, STEPS, AT_ONCE = "too many others", "for a key", "steps", "steps looks at more than"
FEW_STEPS = MAX_STEPS // 10  # a tenth of the time, and of the work that is let through
COLLIDING = 2**61 - 1  # CPython's hash of it, and of all that it divides, is 0


def many(body, n=99999):
    return f"{{% for i in range({n}) %}}{body}{{% endfor %}}"


def grown(*expressions, n=99):
    """`ns.a` is twice in itself, `n` times over; so is `ns.b`, which has no part in common."""
    steps = "".join(f"{{% set ns.{name} = {one} %}}" for name, one in expressions)
    return "{% set ns = namespace(a=(0,), b=(0,)) %}" + many(steps, n)


NESTED = grown(("a", "(ns.a, ns.a)"))
DEEP = many("{% set ns.a = ((((((((((ns.a,),),),),),),),),),) %}", 9999)
DEEP = "{% set ns = namespace(a=()) %}" + DEEP
TWINS = grown(("a", "[ns.a, ns.a]"), ("b", "[ns.b, ns.b]"))
VARARGS = (
    "{% macro f() %}{% set ns.a = varargs %}{% endmacro %}{% set ns = namespace(a=1) %}"
    + many("{{ f(ns.a, ns.a) }}", 99)
)  # fmt: skip
COLLISIONS = "{% set l = [] %}" + many(f"{{% set _ = l.append(i * {COLLIDING}) %}}", 9999)


def refused(source):
    """In which words, and after how many steps."""
    with bounded(Allowance(FEW_STEPS)) as allowance, pytest.raises((Exceeded, TypeError)) as raised:
        environment().from_string(source).render(messages=[])
    return str(raised.value), allowance.n_steps


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (NESTED + "{{ {ns.a: 1} }}", KEY),
        (NESTED + "{{ {}[ns.a] }}", KEY),
        (NESTED + "{{ {}[ns.a].b }}", KEY),
        (NESTED + "{{ {}.get(ns.a) }}", KEY),
        (NESTED + "{% set m = namespace([[ns.a, 1]]) %}", KEY),
        (NESTED + "{{ dict([[ns.a, 1]]) }}", OTHERS),
        (NESTED + "{{ ns.a in {} }}", OTHERS),
        (NESTED + "{{ [ns.a]|unique|list }}", KEY),
        (NESTED + "{{ [{'a': ns.a}]|groupby('a') }}", OTHERS),
        (NESTED + "{{ [{}]|map(attribute=ns.a)|list }}", OTHERS),
        (NESTED + "{{ [{}]|map(attribute=(1, 2))|list }}", KEY),
        (NESTED + "{{ ns.a is filter }}", OTHERS),
        (NESTED + "{{ ns.a is test }}", OTHERS),
        (NESTED + "{{ ns.a is upper }}", OTHERS),
        (NESTED + "{{ 1|attr(ns.a) }}", OTHERS),
        (NESTED + "{{ raise_exception(ns.a) }}", OTHERS),
        (NESTED + "{{ {'a': ns.a}.values() }}", OTHERS),
        (VARARGS + "{{ {ns.a: 1} }}", KEY),
        (DEEP + "{{ {ns.a: 1} }}", KEY),
        (DEEP + "{{ ns.a in {} }}", OTHERS),
        (TWINS + "{{ {'a': ns.a}.items() == {'a': ns.b}.items() }}", OTHERS),
        (TWINS + "{{ ns.b in {'a': ns.a}.values() }}", OTHERS),
        (TWINS + "{% for i in [ns.a, ns.b] %}{{ loop.changed(i) }}{% endfor %}", OTHERS),
        ("{{ ('a' * 999999).startswith(('a' * 99999 ~ 'b' ~ 'a',) * 99999) }}", OTHERS),
        ("{{ ([[1] * 9] * 9999)|sum(start=[])|length }}", AT_ONCE),
        (COLLISIONS + "{{ l|unique|list }}", KEY),
        (f"{{{{ {{{COLLIDING}: 1, {2 * COLLIDING}: 2}} }}}}", KEY),
    ],
)
def test_what_is_hashed_compared_or_written_out_is_counted_before(source, words):
    told, n_steps = refused(source)
    assert words in told
    assert n_steps < FEW_STEPS


@pytest.mark.parametrize(
    "body",
    [
        "{% if 1.5 in range(99999) %}{% endif %}",
        "{{ 1.5 in range(99999)|reverse }}",
        "{{ range(99999)|select('lt', -1)|first is defined }}",
        "{{ range(99999)|map('abs')|sum }}",
        "{% macro f() %}{{ varargs|length }}{% endmacro %}{{ f(*range(99999)) }}",
        "{% set x = 1 %}" * 9999,
        "{{ i }}" * 9999,
        "{% macro f() %}" + "{% set x = 1 %}" * 9999 + "{% endmacro %}{{ f() }}",
        "{{ ([0] * 9999) == ([0] * 9999) }}",
        "{{ range(9999)|sort }}",
    ],
    ids=range(10),
)
def test_each_element_and_each_statement_takes_its_part_of_a_step(body):
    told, _ = refused(many(body))
    assert f"more than {FEW_STEPS} steps" in told or "it makes more than" in told


def test_a_loop_is_not_looked_through_from_within():
    told, _ = refused("{% for j in range(9) %}{{ 'x' in loop }}{% endfor %}")
    assert "own loop" in told


@pytest.mark.parametrize(
    "macros",
    [
        "{% macro f(n) %}{% if n %}{{ f(n - 1) ~ f(n - 1) }}{% endif %}{% endmacro %}{{ f(50) }}",
        "{% macro g() %}" + "{{ caller() }}" * 9 + "{% endmacro %}{% macro f(n) %}{% if n %}"
        "{% call g() %}{{ f(n - 1) }}{% endcall %}{% endif %}{% endmacro %}{{ f(12) }}",
    ],
)
def test_a_macro_that_calls_itself_twice_is_called_less_often_than_steps_are_allowed(macros):
    calls = []
    made = environment()
    made.globals["called"] = lambda: calls.append(1) or ""
    source = macros.replace("{% if n %}", "{{ called() }}{% if n %}", 1)
    with (
        bounded(Allowance(FEW_STEPS)),
        pytest.raises(Exceeded, match=f"more than {FEW_STEPS} steps"),
    ):
        made.from_string(source).render()
    assert 1000 < len(calls) < FEW_STEPS // 5


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ '%999999999d' is odd }}", "not odd"),
        ("{{ '%*d' is divisibleby((999999999, 1)) }}", "not divisibleby"),
        ("{{ ['%999999999d']|select('even')|list }}", "not even"),
        ("{{ 'xxxxxxxx'|round(9, 'ceil') }}", "only a number"),
        ("{{ ('a' * 999999).strip('b' * 999999 ~ 'a') }}", AT_ONCE),
        ("{{ ('a' * 999999)|trim('b' * 999999 ~ 'a') }}", AT_ONCE),
        ("{{ ('a-' * 9999999)|title }}", AT_ONCE),
        ("{{ ('ä' * 9999999).translate({97: 'b'}) }}", AT_ONCE),
        ("{{ ('ab' * 999999)|sort }}", "one by one"),
        ("{{ ('ab' * 999999)|join }}", "one by one"),
        ("{{ ('ab' * 9999999)|list }}", "one by one"),
        ("{{ [1]|map(attribute='1.' * 99 ~ '0')|list }}", "path of 199 characters"),
        ("{% set ns = namespace(g=[1]) %}" + many("{% set ns.g = ns.g|map('abs') %}"),
         "wait for one another"),
        (many("{% set _ = 'x' * -99999999 %}", 9) + many("{% set _ = 'x' * 99999 %}"),
         "it makes more than"),
        ("{{ 1 }}" * (MAX_SOURCE // 7 + 1), "characters, more than"),
    ],
    ids=range(15),
)  # fmt: skip
def test_a_long_text_is_not_taken_apart_nor_a_short_one_made_long(source, words):
    told, n_steps = refused(source)
    assert words in told
    assert n_steps < FEW_STEPS


@pytest.mark.parametrize("name", ["striptags", "urlize", "wordcount", "wordwrap", "xmlattr"])
def test_what_is_made_for_pages_is_no_filter(name):
    import jinja2

    with pytest.raises(jinja2.TemplateAssertionError, match=name):
        environment().from_string(f"{{{{ 'x'|{name} }}}}")


@pytest.mark.parametrize("method", ["fromkeys([1])", "maketrans('a', 'b')", "encode()"])
def test_what_makes_keys_or_bytes_is_no_method(method):
    import jinja2

    owner = "{}" if "fromkeys" in method else "''"
    with (
        bounded(Allowance(FEW_STEPS)),
        pytest.raises(jinja2.exceptions.SecurityError, match="unsafe"),
    ):
        environment().from_string(f"{{{{ {owner}.{method} }}}}").render()
