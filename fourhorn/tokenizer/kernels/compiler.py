"""From Python to machine code: the small part of Python that kernels are written in, translated to LLVM.

Section 2.2's fast path. Every value is a 64-bit signed integer, so a kernel has no types to infer, and all kernels
together are one module that is optimized once: a second of work where a general compiler takes half a minute. There
are assignments, `if`, `while`, `for … in range(…)`, arithmetic, comparisons, calls, and functions that return several
numbers. Division is left out. Shifts by 64 or more are undefined, and `>>` keeps the sign. Instructions of the machine
are Python functions that write LLVM (`intrinsics.py`). Anything else raises `TypeError` with file and line.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import ir

from fourhorn.tokenizer.kernels.functions import Function

I1, I64 = ir.IntType(1), ir.IntType(64)
BINARY = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.BitAnd: "and_",
    ast.BitOr: "or_",
    ast.BitXor: "xor",
    ast.LShift: "shl",
    ast.RShift: "ashr",
}
COMPARE = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}


def module(kernels: Iterable[Function]) -> ir.Module:
    """Kernels, and what they call, as one module of LLVM."""
    whole = Module()
    for kernel in kernels:
        whole.function(kernel)
    while whole.waiting:
        function, code = whole.waiting.pop()
        Body(whole, function, code).write()
    return whole.module


class Module:
    """The functions that are declared so far, and those whose bodies are still to be written."""

    def __init__(self) -> None:
        self.module = ir.Module("kernels")
        self.declared: dict[Function, ir.Function] = {}
        self.waiting: list[tuple[Function, ir.Function]] = []

    def function(self, function: Function) -> ir.Function:
        """Declare a function at its first mention."""
        if function not in self.declared:
            n_results = results_of(tree_of(function))
            result = I64 if n_results == 1 else ir.LiteralStructType([I64] * n_results)
            name = function.name if function.exported else f"{function.name}.{len(self.declared)}"
            code = ir.Function(self.module, ir.FunctionType(result, [I64] * function.n_arguments), name)
            code.attributes.add("nounwind")
            if not function.exported:
                code.linkage = "internal"
                if function.inline is not None:
                    code.attributes.add("alwaysinline" if function.inline else "noinline")
            self.declared[function] = code
            self.waiting.append((function, code))
        return self.declared[function]


def tree_of(function: Function) -> ast.FunctionDef:
    """The syntax of a function."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function.python))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    return tree


def results_of(tree: ast.FunctionDef) -> int:
    """How many numbers a function returns; one that returns nothing returns a zero."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
            return len(node.value.elts)
    return 1


class Body:
    """Writes the body of one function."""

    def __init__(self, whole: Module, function: Function, code: ir.Function) -> None:
        self.whole, self.python, self.code = whole, function.python, code
        self.tree = tree_of(function)
        self.entry = ir.IRBuilder(code.append_basic_block("entry"))  # where variables get their place
        self.builder = ir.IRBuilder(code.append_basic_block("body"))
        self.variables: dict[str, Any] = {}
        self.loops: list[tuple[ir.Block, ir.Block]] = []  # where `continue` and `break` go
        for argument, value in zip(self.tree.args.args, code.args):
            self.assign(argument.arg, value)

    def write(self) -> None:
        """Write all statements and what ends the function."""
        self.statements(self.tree.body)
        if not self.builder.block.is_terminated:
            if isinstance(self.code.function_type.return_type, ir.IntType):
                self.builder.ret(I64(0))
            else:
                self.builder.unreachable()
        self.entry.branch(self.code.basic_blocks[1])

    def refuse(self, node: ast.AST) -> TypeError:
        """What to raise for Python that is no part of the language of kernels."""
        line = self.python.__code__.co_firstlineno + getattr(node, "lineno", 1) - 1
        return TypeError(
            f"{self.python.__code__.co_filename}:{line}: {ast.unparse(node)} cannot be compiled."
        )

    # ----------------------------------------------------------------------------------------------- statements

    def statements(self, nodes: list[ast.stmt]) -> None:
        """Write statements up to the first one that leaves the block."""
        for node in nodes:
            if self.builder.block.is_terminated:
                return
            method: Callable[[Any], None] | None = getattr(self, f"do_{type(node).__name__}", None)
            if method is None:
                raise self.refuse(node)
            method(node)

    def assign(self, name: str, value: Any) -> None:
        """Set a variable."""
        if name not in self.variables:
            self.variables[name] = self.entry.alloca(I64, name=name)
        self.builder.store(value, self.variables[name])

    def do_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.values(node.value)

    def do_Assign(self, node: ast.Assign) -> None:
        values = self.values(node.value)
        for target in node.targets:
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            if len(names) != len(values) or not all(isinstance(name, ast.Name) for name in names):
                raise self.refuse(node)
            for name, value in zip(names, values):
                self.assign(name.id, value)  # type: ignore[attr-defined]

    def do_AugAssign(self, node: ast.AugAssign) -> None:
        if not isinstance(node.target, ast.Name):
            raise self.refuse(node)
        left = ast.Name(node.target.id, ast.Load())
        self.assign(node.target.id, self.value(ast.BinOp(left, node.op, node.value)))

    def do_Return(self, node: ast.Return) -> None:
        values = self.values(node.value) if node.value else [I64(0)]
        if len(values) == 1:
            self.builder.ret(values[0])
            return
        packed = ir.Constant(self.code.function_type.return_type, ir.Undefined)
        for i, value in enumerate(values):
            packed = self.builder.insert_value(packed, value, i)
        self.builder.ret(packed)

    def do_If(self, node: ast.If) -> None:
        yes, no, after = (self.code.append_basic_block() for _ in range(3))
        self.builder.cbranch(self.condition(node.test), yes, no)
        reached = False
        for block, body in ((yes, node.body), (no, node.orelse)):
            self.builder.position_at_end(block)
            self.statements(body)
            if not self.builder.block.is_terminated:
                self.builder.branch(after)
                reached = True
        self.builder.position_at_end(after)
        if not reached:
            self.builder.unreachable()

    def do_While(self, node: ast.While) -> None:
        self.loop(lambda: self.condition(node.test), lambda: self.statements(node.body))

    def do_For(self, node: ast.For) -> None:
        call = node.iter
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range"):
            raise self.refuse(node)
        if not isinstance(node.target, ast.Name) or node.orelse:
            raise self.refuse(node)
        name = node.target.id
        values = [self.value(argument) for argument in call.args]
        start, end = values[:2] if len(values) > 1 else (I64(0), values[0])
        step = values[2] if len(values) > 2 else I64(1)
        if not isinstance(step, ir.Constant):
            raise self.refuse(node)
        counter = self.entry.alloca(I64)
        self.builder.store(start, counter)

        def goes_on() -> Any:
            return self.builder.icmp_signed(
                "<" if step.constant > 0 else ">", self.builder.load(counter), end
            )

        def body() -> None:
            self.assign(name, self.builder.load(counter))
            self.statements(node.body)

        def advance() -> None:
            self.builder.store(self.builder.add(self.builder.load(counter), step), counter)

        self.loop(goes_on, body, advance)

    def loop(
        self, goes_on: Callable[[], Any], body: Callable[[], None], advance: Callable[[], None] = lambda: None
    ) -> None:
        """`while goes_on(): body(); advance()`."""
        test, inside, then, after = (self.code.append_basic_block() for _ in range(4))
        self.builder.branch(test)
        self.builder.position_at_end(test)
        self.builder.cbranch(goes_on(), inside, after)
        self.builder.position_at_end(inside)
        self.loops.append((then, after))
        body()
        self.loops.pop()
        if not self.builder.block.is_terminated:
            self.builder.branch(then)
        self.builder.position_at_end(then)
        advance()
        self.builder.branch(test)
        self.builder.position_at_end(after)

    def do_Break(self, node: ast.Break) -> None:
        self.builder.branch(self.loops[-1][1])

    def do_Continue(self, node: ast.Continue) -> None:
        self.builder.branch(self.loops[-1][0])

    # ---------------------------------------------------------------------------------------------- expressions

    def value(self, node: ast.expr) -> Any:
        """The number that an expression has."""
        values = self.values(node)
        if len(values) != 1:
            raise self.refuse(node)
        return values[0]

    def values(self, node: ast.expr) -> list[Any]:
        """The numbers that an expression has: several for a tuple and for some calls."""
        match node:
            case ast.Tuple():
                return [self.value(item) for item in node.elts]
            case ast.Constant(value=int() as number):
                return [I64(int(number))]
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as number)):
                return [I64(-number)]
            case ast.Name() if node.id in self.variables:
                return [self.builder.load(self.variables[node.id])]
            case ast.Name() if isinstance(self.python.__globals__.get(node.id), int):
                return [I64(self.python.__globals__[node.id])]
            case ast.BinOp() if type(node.op) in BINARY:
                left, right = self.value(node.left), self.value(node.right)
                return [getattr(self.builder, BINARY[type(node.op)])(left, right)]
            case ast.UnaryOp(op=ast.Invert()):
                return [self.builder.not_(self.value(node.operand))]
            case ast.UnaryOp(op=ast.USub()):
                return [self.builder.neg(self.value(node.operand))]
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                return [self.builder.zext(self.condition(node), I64)]
            case ast.IfExp():
                return [self.choice(self.condition(node.test), node.body, node.orelse, self.value, I64)]
            case ast.Call(func=ast.Name(id=name)):
                return self.call(node, name)
        raise self.refuse(node)

    def call(self, node: ast.Call, name: str) -> list[Any]:
        """Call an instruction or another function."""
        if name in ("min", "max") and len(node.args) == 2:
            left, right = (self.value(argument) for argument in node.args)
            smaller = self.builder.icmp_signed("<" if name == "min" else ">", left, right)
            return [self.builder.select(smaller, left, right)]
        function = self.python.__globals__.get(name)
        if not isinstance(function, Function) or len(node.args) != function.n_arguments:
            raise self.refuse(node)
        arguments = [self.value(argument) for argument in node.args]
        if function.instruction:
            result = function.python(self.builder, *arguments)
            if result is None:
                return [I64(0)]
            return result if isinstance(result, list) else [result]
        code = self.whole.function(function)
        result = self.builder.call(code, arguments)
        kind = code.function_type.return_type
        if isinstance(kind, ir.IntType):
            return [result]
        return [self.builder.extract_value(result, i) for i in range(len(kind.elements))]

    def condition(self, node: ast.expr) -> Any:
        """Whether an expression is true, as a bit."""
        match node:
            case ast.Constant(value=bool() as truth):
                return I1(int(truth))
            case ast.Compare(ops=[operator]) if type(operator) in COMPARE:
                left, right = self.value(node.left), self.value(node.comparators[0])
                return self.builder.icmp_signed(COMPARE[type(operator)], left, right)
            case ast.UnaryOp(op=ast.Not()):
                return self.builder.not_(self.condition(node.operand))
            case ast.BoolOp(values=[first, *rest]):
                both = isinstance(node.op, ast.And)
                left = self.condition(first)
                if not rest:
                    return left
                others = ast.BoolOp(node.op, rest)
                constant = ast.Constant(not both)
                yes, no = (others, constant) if both else (constant, others)
                return self.choice(left, yes, no, self.condition, I1)
            case ast.Compare():
                raise self.refuse(node)
        return self.builder.icmp_signed("!=", self.value(node), I64(0))

    def choice(self, test: Any, yes: ast.expr, no: ast.expr, write: Callable[[Any], Any], kind: Any) -> Any:
        """One of two expressions; only that one is worked out."""
        blocks = [self.code.append_basic_block() for _ in range(3)]
        self.builder.cbranch(test, blocks[0], blocks[1])
        found = []
        for block, node in zip(blocks, (yes, no)):
            self.builder.position_at_end(block)
            found.append((write(node), self.builder.block))
            self.builder.branch(blocks[2])
        self.builder.position_at_end(blocks[2])
        chosen = self.builder.phi(kind)
        for value, block in found:
            chosen.add_incoming(value, block)
        return chosen
