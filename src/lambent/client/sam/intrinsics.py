"""What CloudFormation's intrinsic functions come to, from the template alone.

`load` reads a template with each short form, such as `!Sub`, as its long one, `{"Fn::Sub": ...}`. A
`Resolver` works out what can be known without AWS; what cannot, such as another stack's export, raises
`Unresolved`.
Source: AWS CloudFormation User Guide, "Intrinsic function reference" and "Pseudo parameters reference".
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import yaml

from lambent.client.errors import BundleError

DEPTH_MAX: Final = 64
VALUES_MAX: Final = 500_000  # YAML's references make a short text into more than any machine holds
NO_VALUE: Final = "AWS::NoValue"
CONDITIONAL: Final = frozenset({"Fn::And", "Fn::Equals", "Fn::Not", "Fn::Or", "Condition"})
TEXT_TAG: Final = "tag:yaml.org,2002:str"
PLAIN_TAGS: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "null"))
ODD: Final = (AttributeError, TypeError, ValueError)  # what PyYAML makes of a value that its tag does not fit
_PLACE: Final = re.compile(r"\$\{(!?)([^}]*)\}")


class Unresolved(Exception):
    """What only AWS knows, or what the template does not say. Its text names it."""


def load(text: str) -> dict[str, Any]:
    """A template as plain values. Raises `BundleError` for what is no YAML mapping."""
    try:
        read = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError, *ODD) as error:
        raise BundleError(f"the template is not YAML: {error}") from error
    if not isinstance(read, dict):
        raise BundleError("the template is not a mapping with Resources")
    return read


class _Loader(yaml.SafeLoader):
    """YAML with the short forms of the intrinsic functions.

    Keys are texts, for `ON` may be a variable's name, and so are dates.
    """

    yaml_implicit_resolvers: ClassVar[Any] = {  # type: ignore[misc]  # PyYAML reads it from the class
        first: [(tag, pattern) for tag, pattern in each if tag != "tag:yaml.org,2002:timestamp"]
        for first, each in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001,FBT002 - as it is called
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag in PLAIN_TAGS:
                key.tag = TEXT_TAG
        return super().construct_mapping(node, deep=deep)


def _long_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    match node:
        case yaml.ScalarNode():
            value = loader.construct_scalar(node)
            if suffix == "GetAtt":
                return {name: str(value).split(".", 1)}
            return {name: value}
        case yaml.SequenceNode():
            return {name: loader.construct_sequence(node, deep=True)}
        case yaml.MappingNode():
            return {name: loader.construct_mapping(node, deep=True)}
    raise yaml.YAMLError(f"!{suffix} has no value")


_Loader.add_multi_constructor("!", _long_form)


def as_text(value: Any) -> Any:
    """A number or a truth as CloudFormation writes it where a text is meant; anything else as it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def unknown(name: str) -> str:
    """A name that nothing has."""
    raise Unresolved(f"!Ref {name}")


class Resolver:
    """Works out values of one template. `known` are the parameters and pseudo parameters by name.

    `references` answers `Ref` of a resource, `attributes` `Fn::GetAtt`: `Unresolved` where they cannot.
    """

    def __init__(
        self,
        *,
        known: Mapping[str, Any],
        references: Callable[[str], str] = unknown,
        attributes: Callable[[str, str], str],
        mappings: Mapping[str, Any],
        conditions: Mapping[str, Any],
    ) -> None:
        self._known: Final = known
        self._references: Final = references
        self._attributes: Final = attributes
        self._mappings: Final = mappings
        self._conditions: Final = conditions
        self._depth = self._values = 0
        self._functions: Final[Mapping[str, Callable[[Any], Any]]] = {
            "Ref": self._ref,
            "Fn::Sub": self._sub,
            "Fn::GetAtt": self._get_att,
            "Fn::Join": self._join,
            "Fn::Select": self._select,
            "Fn::Split": self._split,
            "Fn::Base64": lambda value: base64.b64encode(str(self.resolve(value)).encode()).decode(),
            "Fn::FindInMap": self._find_in_map,
            "Fn::If": self._if,
            "Fn::Equals": self._equals,
            "Fn::Not": lambda value: not self._true(self._sequence(value, 1)[0]),
            "Fn::And": lambda value: all(map(self._true, self._sequence(value))),
            "Fn::Or": lambda value: any(map(self._true, self._sequence(value))),
            "Fn::Length": lambda value: len(self._sequence(self.resolve(value))),
            "Fn::ToJsonString": lambda value: json.dumps(self.resolve(value), separators=(",", ":")),
            "Condition": lambda value: self.holds(str(value)),
        }

    def resolve(self, value: Any) -> Any:
        """`value` with every function in it worked out. Raises `Unresolved`."""
        with self._deeper():
            return self._resolve(value)

    def holds(self, condition: str) -> bool:
        """Whether a named condition of the template is true. Raises `Unresolved`."""
        if condition not in self._conditions:
            raise Unresolved(f"the condition {condition}, which the template does not have")
        return self._true(self._conditions[condition])

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        self._depth += 1
        self._values += 1
        try:
            if self._depth > DEPTH_MAX:
                raise Unresolved(f"what is nested deeper than {DEPTH_MAX} levels or refers to itself")
            if self._values > VALUES_MAX:
                raise Unresolved(f"more than {VALUES_MAX} values")
            yield
        finally:
            self._depth -= 1

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, list):
            return [one for one in map(self.resolve, value) if one is not None]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(name, argument)] = value.items()
            # Outside a condition, `Condition` is an ordinary key, as in an IAM statement.
            if name in self._functions and not (name == "Condition" and not isinstance(argument, str)):
                return self._functions[name](argument)
            if isinstance(name, str) and name.startswith("Fn::"):
                raise Unresolved(name)
        resolved = {key: self.resolve(one) for key, one in value.items()}
        return {key: one for key, one in resolved.items() if one is not None}

    def _ref(self, name: Any) -> Any:
        if name == NO_VALUE:
            return None
        if name in self._known:
            return self._known[name]
        with self._deeper():  # a name may refer to others, and to itself
            return self._references(str(name))

    def _sub(self, value: Any) -> str:
        text, extra = value if isinstance(value, list) and len(value) == 2 else (value, {})
        if not isinstance(text, str) or not isinstance(extra, dict):
            raise Unresolved(f"!Sub of {value!r}")

        def put(found: re.Match[str]) -> str:
            literal, name = found.groups()
            if literal:
                return f"${{{name}}}"
            if name in extra:
                return str(as_text(self.resolve(extra[name])))
            resource, dot, attribute = name.partition(".")
            if dot and attribute != "Alias":
                return self._attributes(resource, attribute)
            return str(as_text(self._ref(name)))

        return _PLACE.sub(put, text)

    def _get_att(self, value: Any) -> str:
        path = value.split(".", 1) if isinstance(value, str) else self._sequence(value, 2)
        if len(path) != 2:
            raise Unresolved(f"!GetAtt of {value!r}")
        return self._attributes(str(path[0]), str(self.resolve(path[1])))

    def _join(self, value: Any) -> str:
        between, parts = self._sequence(value, 2)
        return str(between).join(map(str, self._sequence(self.resolve(parts))))

    def _select(self, value: Any) -> Any:
        index, parts = self._sequence(value, 2)
        listed = self._sequence(self.resolve(parts))
        try:
            return self.resolve(listed[int(self.resolve(index))])
        except (IndexError, TypeError, ValueError) as error:
            raise Unresolved(f"!Select of {value!r}") from error

    def _split(self, value: Any) -> list[str]:
        between, text = self._sequence(value, 2)
        return str(self.resolve(text)).split(str(between))

    def _find_in_map(self, value: Any) -> Any:
        path = [as_text(self.resolve(one)) for one in self._sequence(value)[:3]]
        more = value[3] if len(value) == 4 else None
        found: Any = self._mappings
        for key in path:
            # YAML may have read a key as a number.
            there = {as_text(one): each for one, each in found.items()} if isinstance(found, dict) else {}
            if key not in there:
                if isinstance(more, dict) and "DefaultValue" in more:
                    return self.resolve(more["DefaultValue"])
                raise Unresolved("!FindInMap " + ".".join(path))
            found = there[key]
        return self.resolve(found)

    def _if(self, value: Any) -> Any:
        condition, then, otherwise = self._sequence(value, 3)
        return self.resolve(then if self.holds(str(condition)) else otherwise)

    def _equals(self, value: Any) -> bool:
        one, other = (self.resolve(each) for each in self._sequence(value, 2))
        return str(one) == str(other)

    def _true(self, condition: Any) -> bool:
        if not isinstance(condition, dict) or len(condition) != 1 or not CONDITIONAL & condition.keys():
            raise Unresolved(f"the condition {condition!r}")
        return bool(self.resolve(condition))

    @staticmethod
    def _sequence(value: Any, count: int | None = None) -> Sequence[Any]:
        if not isinstance(value, list) or count not in (None, len(value)):
            raise Unresolved(f"an intrinsic function of {value!r}")
        return value
