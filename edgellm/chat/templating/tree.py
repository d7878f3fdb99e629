"""What is written into a template's tree, so that Jinja asks the sandbox where it asks nobody.

Each call is one of BoundedEnvironment's (sandbox.py). A round of a loop takes as many steps as its
body has work for, since what is written there without a call is counted nowhere else. Pure.
"""

from typing import Any

from jinja2 import nodes  # noqa: TID253 - whoever renders imports this module, and nobody before
from jinja2.visitor import NodeTransformer  # noqa: TID253

_NODES_A_STEP = 16
_OUTPUT = 8  # nodes: what is written out is made a text of
_APART = (nodes.For, nodes.Macro, nodes.CallBlock, nodes.Block)  # whose rounds are counted as such
_MACRO = 4  # steps: its arguments, its text


def counted(template: nodes.Template) -> nodes.Template:
    visited: nodes.Template = _Counted().visit(template)
    return visited


class _Counted(NodeTransformer):
    def visit_For(self, loop: nodes.For) -> nodes.For:  # noqa: N802 - jinja2 looks for this name
        n_steps = _n_steps(loop.body)
        n_steps_to_test = _n_steps([loop.test]) if loop.test else 0
        self.generic_visit(loop)
        loop.body.insert(0, _round(n_steps, loop.lineno))
        if loop.test:  # it is asked in rounds that the body never sees
            loop.test = nodes.And(_call("round", nodes.Const(n_steps_to_test)), loop.test)
        return loop

    def visit_Macro(self, work: Any) -> Any:  # noqa: N802
        n_steps = _n_steps(work.body) + _MACRO
        self.generic_visit(work)
        work.body.insert(0, _round(n_steps, work.lineno))
        return work

    visit_CallBlock = visit_Block = visit_Macro  # noqa: N815

    def visit_Concat(self, concat: nodes.Concat) -> nodes.Call:  # noqa: N802
        self.generic_visit(concat)
        return _call("joined", *concat.nodes)

    def visit_Compare(self, compare: nodes.Compare) -> nodes.Compare:  # noqa: N802
        self.generic_visit(compare)
        compare.expr = _compared(compare.expr)
        for operand in compare.ops:
            assert isinstance(operand, nodes.Operand)
            operand.expr = _compared(operand.expr)
        return compare

    def visit_Getitem(self, item: nodes.Getitem) -> nodes.Expr:  # noqa: N802
        self.generic_visit(item)
        if item.ctx != "load":
            return item
        if isinstance(item.arg, nodes.Slice):
            return _call("kept", item)
        item.arg = _keyed(item.arg)
        return item

    def visit_List(self, several: nodes.List) -> nodes.Call:  # noqa: N802
        self.generic_visit(several)
        return _call("kept", several)

    def visit_Dict(self, several: nodes.Dict) -> nodes.Call:  # noqa: N802
        self.generic_visit(several)
        for pair in several.items:
            pair.key = _keyed(pair.key)
        return _call("kept", several)

    def visit_Tuple(self, several: nodes.Tuple) -> nodes.Expr:  # noqa: N802
        self.generic_visit(several)
        return _call("kept", several) if several.ctx == "load" else several


def _n_steps(body: list[nodes.Node]) -> int:
    n_nodes, waiting = 0, [*body]
    while waiting:
        node = waiting.pop()
        n_nodes += 1
        if isinstance(node, nodes.Output):
            n_nodes += _OUTPUT * sum(not isinstance(n, nodes.TemplateData) for n in node.nodes)
        if not isinstance(node, _APART):
            waiting += node.iter_child_nodes()
    return 1 + n_nodes // _NODES_A_STEP


def _round(n_steps: int, lineno: int) -> nodes.ExprStmt:
    return nodes.ExprStmt(_call("round", nodes.Const(n_steps)), lineno=lineno)


def _compared(side: nodes.Expr) -> nodes.Expr:
    return side if isinstance(side, nodes.Const) else _call("compared", side)


def _keyed(key: nodes.Expr) -> nodes.Expr:
    is_short = isinstance(key, nodes.Const) and isinstance(key.value, str)
    return key if is_short else _call("keyed", key)


def _call(name: str, *arguments: nodes.Expr) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), [*arguments], [], None, None)
