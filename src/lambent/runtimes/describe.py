"""The describe runtime: imports user code and says what it declares, in a process that may be lost."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Final, Protocol, TypeGuard, runtime_checkable

import msgspec

from lambent.core.errors import InvalidSpec
from lambent.core.naming import kebab
from lambent.core.spec import Interface, Kind, Setting
from lambent.core.tensors import Signature, Tensor
from lambent.runtimes import endpoint_handler, payload
from lambent.runtimes.base import Line, Loading, Reply, Request
from lambent.runtimes.bundle_imports import installed_imports
from lambent.runtimes.entry import import_module
from lambent.runtimes.faults import Fault
from lambent.runtimes.hints import schema_text
from lambent.runtimes.model import SKILLS
from lambent.wire.api import Declaration
from lambent.wire.model_archive import WHOLE
from lambent.wire.oneshot import DescribeCall, Description
from lambent.wire.process import RevisionPlan
from lambent.wire.torchserve import MANIFEST

HANDLERS: Final = ("handler", "lambda_handler")
MARK: Final = "__lambent__"
NAMES_SHOWN_MAX: Final = 20


class Declared(Protocol):
    """What a decorator of `lambent.App` leaves on an object, as `__lambent__`."""

    name: str
    kind: Kind
    attribute: str
    settings: dict[str, Setting]
    train: str
    app: str
    interface: Interface


@runtime_checkable
class Group(Protocol):
    """A `lambent.App`, known by its shape: the client's own code is not imported here."""

    name: str

    @property
    def declarations(self) -> Sequence[Declared]: ...


class Describer:
    """Describes files of one bundle."""

    def __init__(self, code_dir: str) -> None:
        self._code_dir: Final = code_dir

    def __call__(self, request: Request, line: Line, /) -> Reply:
        """Describe one target. Raises `Fault`, `InvalidSpec`, and whatever the file raises when imported."""
        path, _, attribute = payload.asked(request.body, DescribeCall).target.partition(":")
        if path == WHOLE:
            return Reply(msgspec.json.encode(_archive(Path(self._code_dir))))
        if (path, attribute) == (endpoint_handler.FILE, endpoint_handler.NAME):
            endpoint_handler.check_requirements(self._code_dir)
        module = import_module(_module_name(path, self._code_dir), self._code_dir)
        named = _Named(module, path)
        found = named.one(attribute) if attribute else named.everything()
        declarations = [named.signed(one) for one in found]
        imports = installed_imports(Path(self._code_dir), Path(self._code_dir, path))
        return Reply(msgspec.json.encode(Description(tuple(declarations), imports)))


def load(plan: RevisionPlan, _: Loading) -> Describer:
    """Nothing to load: the target comes with the call."""
    return Describer(plan.code_dir)


def _archive(folder: Path) -> Description:
    """The model of an archive of another platform's, by what that platform requires in one."""
    if (folder / MANIFEST).is_file():
        from lambent.runtimes.torchserve import layout

        return layout.described(folder)
    from lambent.runtimes.sagemaker.layout import described

    return described(folder, os.environ)


class _Named(msgspec.Struct, frozen=True):
    """What an imported module offers; `path` is the file's name for messages."""

    module: ModuleType
    path: str

    def everything(self) -> Sequence[Declaration]:
        """All that the file's apps declare; without an app, its one handler."""
        groups = self._groups()
        if groups:
            found = [self._declared(each) for group in groups for each in group.declarations]
            if not found:
                raise _missing(f"the app in {self.path} declares nothing: decorate a function or a class")
            return found
        handlers = [name for name in HANDLERS if inspect.isroutine(vars(self.module).get(name))]
        if len(handlers) == 1:
            return [self._plain(handlers[0], Kind.FUNCTION)]
        which = "both handler and lambda_handler" if handlers else "no lambent.App, handler or lambda_handler"
        raise _missing(f"{self.path} has {which}{self._offer()}")

    def one(self, attribute: str) -> Sequence[Declaration]:
        """The object that is asked for; a model comes with the job that trains it."""
        found: object = self.module
        for name in attribute.split("."):
            if not hasattr(found, name):
                raise _missing(f"{self.path} has no {attribute!r}{self._hint(attribute)}")
            found = getattr(found, name)
        if _is_group(found):
            return [self._declared(each) for each in found.declarations]
        mark: Declared | None = vars(found).get(MARK) if hasattr(found, "__dict__") else None
        if mark is not None:
            return [self._declared(mark), *self._training(mark)]
        if _is_model(found) or endpoint_handler.is_one(found, attribute):
            return [self._plain(attribute, Kind.MODEL)]
        if is_application(found):
            return [self._plain(attribute, Kind.FUNCTION, Interface.ASGI)]
        if callable(found) and not inspect.isclass(found):
            return [self._plain(attribute, Kind.FUNCTION)]
        call = " or __call__(self, data)" if attribute == endpoint_handler.NAME else ""
        what = (
            f"a class without predict(self, inputs), {', '.join(SKILLS)}{call}"
            if inspect.isclass(found)
            else _an(type(found).__name__)
        )
        raise _missing(f"{self.path}:{attribute} is {what}; deploy a function, a model class or an App")

    def signed(self, one: Declaration) -> Declaration:
        """With what its code says that it takes: tensors, or an event. Raises `InvalidSpec`."""
        if one.kind is Kind.JOB or one.interface is not Interface.EVENT or not one.entrypoint:
            return one
        found: object = self.module
        for name in one.entrypoint.partition(":")[2].split("."):
            found = getattr(found, name, None)
        if one.kind is Kind.FUNCTION:
            return msgspec.structs.replace(one, schema=schema_text(found))
        signature = Signature(_tensors(found, "inputs"), _tensors(found, "outputs"))
        return msgspec.structs.replace(one, signature=signature)

    def _declared(self, declared: Declared) -> Declaration:
        return Declaration(
            name=declared.name,
            kind=Kind(declared.kind),
            entrypoint=f"{self.module.__name__}:{declared.attribute}" if declared.attribute else "",
            settings=dict(declared.settings),
            train=declared.train,
            app=declared.app,
            interface=Interface(declared.interface),
            skills=self._skills(declared.attribute, declared.kind),
        )

    def _plain(self, attribute: str, kind: Kind, interface: Interface = Interface.EVENT) -> Declaration:
        name = kebab(attribute.rpartition(".")[2])
        entrypoint = f"{self.module.__name__}:{attribute}"
        return Declaration(
            name=name,
            kind=kind,
            entrypoint=entrypoint,
            interface=interface,
            skills=self._skills(attribute, kind),
        )

    def _skills(self, attribute: str, kind: str) -> tuple[str, ...]:
        """The methods of a model beside `predict`."""
        found: object = self.module
        for name in attribute.split("."):
            found = getattr(found, name, None)
        there = [name for name in SKILLS if callable(getattr(found, name, None))]
        return tuple(there) if kind == Kind.MODEL else ()

    def _training(self, model: Declared) -> Sequence[Declaration]:
        everything = [each for group in self._groups() for each in group.declarations]
        return [self._declared(each) for each in everything if model.train and each.name == model.train]

    def _groups(self) -> Sequence[Group]:
        groups = {id(value): value for value in vars(self.module).values() if _is_group(value)}
        return [*groups.values()]

    def _hint(self, attribute: str) -> str:
        close = difflib.get_close_matches(attribute, _public(self.module, lambda _: True), n=1)
        return f"; did you mean {close[0]!r}?" if close else self._offer()

    def _offer(self) -> str:
        there = _public(self.module, _is_deployable)[:NAMES_SHOWN_MAX]
        file = f"{self.path}:{there[0]}" if there else ""
        return (
            f"; it defines {', '.join(there)}: name one, as in {file}"
            if there
            else "; it defines nothing to deploy"
        )


def _tensors(found: object, attribute: str) -> tuple[Tensor, ...]:
    """What an attribute declares. One without a `Tensor` means something else to its class."""
    listed = getattr(found, attribute, None)
    if not isinstance(listed, list | tuple) or not any(isinstance(one, Tensor) for one in listed):
        return ()
    names = [one.name for one in listed if isinstance(one, Tensor)]
    if len({*names}) != len(listed):
        raise InvalidSpec(f"{attribute} are tensors, each of its own name; these are {', '.join(names)}")
    return tuple(listed)


def _is_group(value: object) -> TypeGuard[Group]:
    return type(value).__module__.startswith("lambent.") and isinstance(value, Group)


def _public(module: ModuleType, wanted: Callable[[object], bool]) -> list[str]:
    """Names that the module itself defines, in its order."""
    mine: Iterable[tuple[str, object]] = vars(module).items()
    return [
        name
        for name, value in mine
        if not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
        and wanted(value)
    ]


def is_application(value: object) -> bool:
    """Whether it is called as ASGI 3 applications are: async, with scope, receive and send."""
    call = value if inspect.isroutine(value) else type(value).__call__ if callable(value) else None
    if inspect.isclass(value) or not inspect.iscoroutinefunction(call):
        return False
    names = [name for name in inspect.signature(call).parameters if name != "self"]
    return names[:3] == ["scope", "receive", "send"]


def _is_deployable(value: object) -> bool:
    return inspect.isroutine(value) or _is_model(value)


def _is_model(value: object) -> bool:
    methods = ("predict", *SKILLS)
    return endpoint_handler.is_one(value) or (
        inspect.isclass(value) and any(callable(getattr(value, name, None)) for name in methods)
    )


def _module_name(path: str, code_dir: str) -> str:
    file = PurePosixPath(path)
    if file.is_absolute() or ".." in file.parts or file.suffix != ".py" or not Path(code_dir, path).is_file():
        raise Fault("Runtime.ImportModuleError", f"there is no Python file {path!r} in what was deployed")
    parts = file.with_suffix("").parts
    if any("." in part for part in parts):
        raise Fault(
            "Runtime.ImportModuleError", f"{path!r} cannot be imported: rename it without the inner dot"
        )
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def _missing(message: str) -> Fault:
    return Fault("Runtime.HandlerNotFound", message)


def _an(noun: str) -> str:
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"
