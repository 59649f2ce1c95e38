"""An App declares functions, models and jobs in one file; what it declares is deployed together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, overload

import msgspec

from lambent.core.errors import InvalidSpec
from lambent.core.naming import kebab
from lambent.core.settings import with_settings
from lambent.core.spec import DeploymentSpec, Interface, Kind, Setting, checked

if TYPE_CHECKING:
    from lambent.core.gating import Accept, Judges
    from lambent.wire.api import DeployReply

T = TypeVar("T", bound=Callable[..., object])

WORKER: Final = "lambent.worker"  # only a worker, or its template, has imported it


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """What a decorator said of one object. `attribute` is the object's name in its module, of a command none.

    `train` is the name of the job deployment that makes the model, empty where there is none.
    """

    name: str
    kind: Kind
    attribute: str
    settings: dict[str, Setting] = {}
    train: str = ""
    app: str = ""
    interface: Interface = Interface.EVENT


class Decorator(Protocol):
    """What `@app.function(...)` returns: gives back the object that it decorates."""

    def __call__(self, target: T, /) -> T: ...


class App:
    """A group of deployments that live in one file and go together."""

    def __init__(self, name: str) -> None:
        """Name the app. Raises `InvalidSpec` where the name cannot be part of a deployment's name."""
        checked(DeploymentSpec(name=name, kind=Kind.FUNCTION))
        self.name: Final = name
        self._file: Final = _file_of_caller()
        self._declared: Final[dict[str, tuple[Declared, Callable[..., object]]]] = {}

    @property
    def declarations(self) -> list[Declared]:
        """What was declared so far, in order. Raises `InvalidSpec` where `train` names no job of this app."""
        jobs = sorted(one.attribute for one, _ in self._declared.values() if one.kind is Kind.JOB)
        for one, _ in self._declared.values():
            if one.train and one.train not in jobs:
                known = ", ".join(jobs) or "none"
                raise InvalidSpec(
                    f"{one.attribute} has train={one.train!r}, no job of this app; jobs: {known}"
                )
        return [self._resolved(one) for one, _ in self._declared.values()]

    @overload
    def function(self, target: T, /) -> T: ...
    @overload
    def function(
        self,
        target: None = None,
        /,
        *,
        name: str = "",
        env: Mapping[str, str] | None = None,
        schema: Mapping[str, object] | str = "",
        **settings: Setting,
    ) -> Decorator: ...
    def function(
        self,
        target: Callable[..., object] | None = None,
        /,
        *,
        name: str = "",
        env: Mapping[str, str] | None = None,
        schema: Mapping[str, object] | str = "",
        **settings: Setting,
    ) -> object:
        """Declare `handler(event, context)`, sync or async. Settings are those of `lambent deploy --set`.

        `schema` is a JSON Schema of the event, for agents, in place of what its type hint tells. Raises
        `InvalidSpec` for an unknown setting or one out of its range.
        """
        if schema:
            settings = {**settings, "schema": _written(schema)}
        return self._decorator(Kind.FUNCTION, name, _flat(settings, env), "", target)

    @overload
    def model(self, target: T, /) -> T: ...
    @overload
    def model(
        self,
        target: None = None,
        /,
        *,
        train: str | Callable[..., object] = "",
        accept: str | Accept = "",
        evaluate: Callable[..., object] | None = None,
        name: str = "",
        env: Mapping[str, str] | None = None,
        **settings: Setting,
    ) -> Decorator: ...
    def model(
        self,
        target: Callable[..., object] | None = None,
        /,
        *,
        train: str | Callable[..., object] = "",
        accept: str | Accept = "",
        evaluate: Callable[..., object] | None = None,
        name: str = "",
        env: Mapping[str, str] | None = None,
        **settings: Setting,
    ) -> object:
        """Declare a class with `load(self, model)` and `predict(self, inputs)`.

        `train` is the job in this app that makes a model when there is none, or its Python name; by name it
        may be declared later. A model that it makes serves only if `accept` says so: words such as
        `"accuracy >= 0.97 and better(accuracy)"`, or a function of its metrics, and of the champion's where
        it takes two. `evaluate(model, run)` tells these metrics, of an instance of this class that has loaded
        the new model, and then of one that has loaded the champion; without it they are what the job
        reported. Raises `InvalidSpec` as `function` does.
        """
        judges = None
        if accept or evaluate:
            from lambent.core.gating import Judges, setting  # few have a gate

            settings = {**settings, "accept": setting(accept)}
            judges = Judges(None if isinstance(accept, str) else accept, evaluate)
        job = train if isinstance(train, str) else _attribute(train)
        return self._decorator(Kind.MODEL, name, _flat(settings, env), job, target, judges=judges)

    @overload
    def asgi(self, target: T, /) -> T: ...
    @overload
    def asgi(
        self,
        target: None = None,
        /,
        *,
        name: str = "",
        env: Mapping[str, str] | None = None,
        **settings: Setting,
    ) -> Decorator: ...
    def asgi(
        self,
        target: Callable[..., object] | None = None,
        /,
        *,
        name: str = "",
        env: Mapping[str, str] | None = None,
        **settings: Setting,
    ) -> object:
        """Declare a function without parameters that returns an ASGI application, such as a FastAPI app.

        It answers every method and path under its URL, and WebSockets. Raises `InvalidSpec` as `function`.
        """
        return self._decorator(Kind.FUNCTION, name, _flat(settings, env), "", target, Interface.ASGI)

    @overload
    def websocket(self, target: T, /) -> T: ...
    @overload
    def websocket(
        self,
        target: None = None,
        /,
        *,
        name: str = "",
        env: Mapping[str, str] | None = None,
        **settings: Setting,
    ) -> Decorator: ...
    def websocket(
        self,
        target: Callable[..., object] | None = None,
        /,
        *,
        name: str = "",
        env: Mapping[str, str] | None = None,
        **settings: Setting,
    ) -> object:
        """Declare `async def chat(socket)`, run once for each WebSocket that is opened under its URL.

        `socket` has `receive`, `send`, `close`, and can be iterated over. Raises `InvalidSpec` as `function`.
        """
        return self._decorator(Kind.FUNCTION, name, _flat(settings, env), "", target, Interface.WEBSOCKET)

    @overload
    def job(self, target: T, /) -> T: ...
    @overload
    def job(
        self,
        target: None = None,
        /,
        *,
        name: str = "",
        env: Mapping[str, str] | None = None,
        **settings: Setting,
    ) -> Decorator: ...
    def job(
        self,
        target: Callable[..., object] | None = None,
        /,
        *,
        name: str = "",
        env: Mapping[str, str] | None = None,
        **settings: Setting,
    ) -> object:
        """Declare `job(run)`, deployed as `<app>-<job>`. Raises `InvalidSpec` as `function` does."""
        return self._decorator(Kind.JOB, name, _flat(settings, env), "", target)

    def command(
        self, name: str, command: str, /, *, env: Mapping[str, str] | None = None, **settings: Setting
    ) -> None:
        """Declare a program that serves HTTP on $PORT: a shell runs it in the folder that is deployed.

        Of a file alone only the modules that it imports go along: deploy the folder, with a `lambent.toml`.
        Raises `InvalidSpec` as `function` does.
        """
        said = {**_flat(settings, env), "command": command}
        with_settings(DeploymentSpec(name=name, kind=Kind.FUNCTION), said)
        declared = Declared(name=name, kind=Kind.FUNCTION, attribute="", settings=said, app=self.name)
        self._add(lambda: None, declared)

    def deploy(self) -> DeployReply:
        """Deploy the file that this app is defined in, on the server that `Client()` finds.

        Does nothing where the file is being imported by a worker, so that a file may end in `app.deploy()`.
        Raises what `Client.deploy` raises, and `InvalidSpec` where the app is in no file.
        """
        from lambent.client.client import Client
        from lambent.wire.api import DeployReply

        if WORKER in sys.modules:
            return DeployReply((), ())
        if self._file is None:
            raise InvalidSpec(
                f"app {self.name!r} is not defined in a file: write it to one, then deploy that"
            )
        return Client().deploy(self._file)

    def _decorator(
        self,
        kind: Kind,
        name: str,
        settings: dict[str, Setting],
        train: str,
        target: Callable[..., object] | None,
        interface: Interface = Interface.EVENT,
        judges: Judges | None = None,
    ) -> object:
        # Checked before the object is seen, so that the error points at the decorator's own line.
        with_settings(DeploymentSpec(name=name or self.name, kind=kind), settings)

        def declare(found: T) -> T:
            attribute = _attribute(found)
            named = name or (f"{self.name}-{kebab(attribute)}" if kind is Kind.JOB else kebab(attribute))
            checked(DeploymentSpec(name=named, kind=kind))
            if judges is not None:
                found.__lambent_gate__ = judges  # type: ignore[attr-defined]  # our mark on their object
            self._add(
                found,
                Declared(
                    name=named,
                    kind=kind,
                    attribute=attribute,
                    settings=settings,
                    train=train,
                    app=self.name,
                    interface=interface,
                ),
            )
            return found

        return declare if target is None else declare(target)

    def _add(self, target: Callable[..., object], declared: Declared) -> None:
        for other, _ in self._declared.values():
            # The same object declared again is a notebook's cell run twice: the later one holds.
            if other.name == declared.name and other.attribute != declared.attribute:
                both = f"{other.attribute or 'a command'} and {declared.attribute or 'a command'}"
                raise InvalidSpec(f"{both} are both named {declared.name!r}: give one of them name=")
        self._declared[declared.attribute or f"the command {declared.name}"] = declared, target
        # Every mark anew: a job may be declared after the models that it trains.
        for one, marked in self._declared.values():
            marked.__lambent__ = self._resolved(one)  # type: ignore[attr-defined]  # our mark on their object

    def _resolved(self, declared: Declared) -> Declared:
        """`declared` with `train` as a deployment's name: the job's, or what it will be without name=."""
        if not declared.train:
            return declared
        job = self._declared.get(declared.train)
        train = job[0].name if job else f"{self.name}-{kebab(declared.train)}"
        return msgspec.structs.replace(declared, train=train)


def _flat(settings: Mapping[str, Setting], env: Mapping[str, str] | None) -> dict[str, Setting]:
    return {**settings, **{f"env.{key}": value for key, value in (env or {}).items()}}


def _written(schema: Mapping[str, object] | str) -> str:
    try:
        return schema if isinstance(schema, str) else msgspec.json.encode(schema).decode()
    except (TypeError, ValueError) as error:
        raise InvalidSpec(f"schema is no JSON: {error}") from error


def _attribute(target: Callable[..., object]) -> str:
    attribute = str(getattr(target, "__qualname__", ""))
    if not (attribute.isidentifier() and attribute.isascii()):
        what = attribute or repr(target)
        raise InvalidSpec(f"{what} cannot be deployed: declare a function or class at its file's top level")
    return attribute


def _file_of_caller() -> Path | None:
    # Two frames up is the module that wrote App(...). `inspect` would cost 10 ms for the same answer.
    name = sys._getframe(2).f_globals.get("__file__")  # noqa: SLF001  # the documented way to one frame
    return Path(name).resolve() if isinstance(name, str) else None
