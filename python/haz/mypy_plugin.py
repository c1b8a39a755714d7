"""A plugin for mypy, which by itself ignores what a decorator makes of a class.

With ``plugins = ["haz.mypy_plugin"]`` under ``[tool.mypy]`` in pyproject.toml mypy knows

- of a class with ``@haz.remote`` that ``Class.remote(...)`` takes what the constructor takes, and
  refs of it, and returns an ``ActorHandle[Class]``;
- of an ``ActorHandle[Class]`` which methods it has, what they take, and what their refs give.
"""

from __future__ import annotations

from collections.abc import Callable

from mypy.errorcodes import ATTR_DEFINED
from mypy.expandtype import expand_type_by_instance
from mypy.maptype import map_instance_to_supertype
from mypy.nodes import (
    ARG_STAR,
    ARG_STAR2,
    MDEF,
    CallExpr,
    Decorator,
    Expression,
    FuncDef,
    IntExpr,
    OverloadedFuncDef,
    RefExpr,
    StrExpr,
    SymbolTableNode,
    TypeInfo,
    Var,
)
from mypy.plugin import AttributeContext, ClassDefContext, Plugin
from mypy.typeops import bind_self
from mypy.types import (
    AnyType,
    CallableType,
    Instance,
    NoneType,
    Parameters,
    ProperType,
    Type,
    TypeOfAny,
    UnionType,
    get_proper_type,
)

__all__ = ["HazPlugin", "plugin"]

_HANDLE = "haz._core.actor.ActorHandle"
_ACTOR_CLASS = "haz._core.actor.ActorClass"
_REF = "haz._core.refs.ObjectRef"
_STREAM = "haz._core.generator.ObjectRefGenerator"

_GENERATORS = {
    f"typing.{name}" for name in ("Generator", "Iterator", "AsyncGenerator", "AsyncIterator")
}


def plugin(_version: str) -> type[Plugin]:
    """What mypy asks for."""
    return HazPlugin


class HazPlugin(Plugin):
    """See the module."""

    def get_class_decorator_hook(self, fullname: str) -> Callable[[ClassDefContext], None] | None:
        return _mark if fullname == "haz._core.remote.remote" else None

    def get_class_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        name = fullname.rpartition(".")[2]
        return _ATTRIBUTES.get(name)

    def get_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        owner, _, name = fullname.rpartition(".")
        if owner != _HANDLE or name in ("_actor_id", "_ray_actor_id"):
            return None
        return lambda context: _method_of_handle(context, name)


# ---- Class.remote ------------------------------------------------------------------------------


def _mark(context: ClassDefContext) -> None:
    """Let a decorated class have the attributes ``remote`` and ``options``, with types for later.

    The constructor may not be known yet: that of a dataclass is made by a later decorator.
    """
    info = context.cls.info
    info.metadata["haz"] = {}
    for name in _ATTRIBUTES:
        variable = Var(name, AnyType(TypeOfAny.special_form))
        variable.info = info
        variable._fullname = f"{info.fullname}.{name}"
        variable.is_classvar = True
        variable.is_initialized_in_class = True
        info.names[name] = SymbolTableNode(MDEF, variable, plugin_generated=True)


def _constructor_of(context: AttributeContext) -> CallableType | None:
    """The constructor of the class whose attribute is looked at, if that is an actor class."""
    owner = get_proper_type(context.type)
    if not isinstance(owner, CallableType) or not owner.is_type_obj():
        return None
    return owner if "haz" in owner.type_object().metadata else None


def _remote_of_class(context: AttributeContext) -> Type:
    constructor = _constructor_of(context)
    if constructor is None:
        return context.default_attr_type
    ref = _class(context, _REF)
    takes = [
        argument
        if kind in (ARG_STAR, ARG_STAR2)
        else UnionType.make_union([argument, Instance(ref, [argument])])
        for argument, kind in zip(constructor.arg_types, constructor.arg_kinds, strict=True)
    ]
    handle = Instance(_class(context, _HANDLE), [constructor.ret_type])
    function = context.api.named_generic_type("builtins.function", [])
    return constructor.copy_modified(arg_types=takes, ret_type=handle, fallback=function, name=None)


def _options_of_class(context: AttributeContext) -> Type:
    constructor = _constructor_of(context)
    if constructor is None:
        return context.default_attr_type
    actor_class = Instance(
        _class(context, _ACTOR_CLASS), [_parameters(constructor), constructor.ret_type]
    )
    options = actor_class.type.names["options"].node
    kind = get_proper_type(options.type) if isinstance(options, FuncDef) else None
    assert isinstance(kind, CallableType)
    return bind_self(kind, actor_class).copy_modified(ret_type=actor_class)


_ATTRIBUTES: dict[str, Callable[[AttributeContext], Type]] = {
    "remote": _remote_of_class,
    "options": _options_of_class,
}


def _parameters(function: CallableType) -> Parameters:
    return Parameters(
        function.arg_types, function.arg_kinds, function.arg_names, variables=function.variables
    )


# ---- handle.method -----------------------------------------------------------------------------


def _method_of_handle(context: AttributeContext, name: str) -> Type:
    """The type of an attribute of a handle: ActorMethod with the parameters of the method."""
    default = get_proper_type(context.default_attr_type)
    handle = get_proper_type(context.type)
    if not isinstance(default, Instance) or not isinstance(handle, Instance) or not handle.args:
        return context.default_attr_type
    actor = get_proper_type(handle.args[0])
    if not isinstance(actor, Instance) or name.startswith("__"):
        return context.default_attr_type
    symbol = actor.type.get(name)
    if symbol is None or not _is_method(symbol.node):
        told = f'actor class "{actor.type.name}" has no method "{name}"'
        context.api.fail(told, context.context, code=ATTR_DEFINED)
        return AnyType(TypeOfAny.from_error)
    function = _bound(symbol.node, actor)
    if function is None:
        return context.default_attr_type
    result = _result(context, symbol.node, get_proper_type(function.ret_type))
    return Instance(default.type, [_parameters(function), result])


def _is_method(node: object) -> bool:
    if isinstance(node, Decorator):
        return not node.var.is_property
    if isinstance(node, OverloadedFuncDef):
        return not node.is_property
    return isinstance(node, FuncDef)


def _bound(node: object, actor: Instance) -> CallableType | None:
    """The type of a method of `actor` without its first parameter; None if it is not known."""
    if isinstance(node, Decorator):
        kind, function = node.var.type, node.func
    elif isinstance(node, FuncDef):
        kind, function = node.type, node
    else:
        return None
    proper = get_proper_type(kind)
    if not isinstance(proper, CallableType):
        return None
    expanded = expand_type_by_instance(proper, map_instance_to_supertype(actor, function.info))
    assert isinstance(expanded, CallableType)
    if function.is_static:
        return expanded
    return bind_self(expanded, actor, is_classmethod=function.is_class)


def _result(context: AttributeContext, node: object, returned: ProperType) -> Type:
    """What ``.remote()`` of the method gives."""
    any_type = AnyType(TypeOfAny.special_form)
    num_returns = _num_returns(node)
    if isinstance(returned, Instance):
        fullname = returned.type.fullname
        if fullname == "typing.Coroutine":
            returned = get_proper_type(returned.args[2])
        elif fullname in _GENERATORS and num_returns in (None, "streaming"):
            return Instance(_class(context, _STREAM), [returned.args[0]])
    if num_returns in (None, 1):
        return Instance(_class(context, _REF), [returned])
    if num_returns == 0:
        return NoneType()
    if isinstance(num_returns, int):
        ref = Instance(_class(context, _REF), [any_type])
        return context.api.named_generic_type("builtins.list", [ref])
    return any_type


def _class(context: AttributeContext, fullname: str) -> TypeInfo:
    """A class of haz by its name; mypy looks up only what the checked module has imported."""
    module, _, name = fullname.rpartition(".")
    found = context.api.modules[module].names[name].node  # type: ignore[attr-defined]
    assert isinstance(found, TypeInfo)
    return found


def _num_returns(node: object) -> int | str | None:
    """What ``@haz.method(num_returns=...)`` says; an empty text if that can't be known."""
    for decorator in node.original_decorators if isinstance(node, Decorator) else ():
        if isinstance(decorator, CallExpr) and _is_haz_method(decorator.callee):
            for name, value in zip(decorator.arg_names, decorator.args, strict=True):
                if name == "num_returns":
                    return value.value if isinstance(value, (IntExpr, StrExpr)) else ""
    return None


def _is_haz_method(callee: Expression) -> bool:
    return isinstance(callee, RefExpr) and callee.fullname == "haz._core.api.method"
