"""A SAM template as what Lambent can make of it: functions, layers, queues, and a list of what it leaves out.

Source: AWS Serverless Application Model, "SAM resource and property reference" and "Globals section".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from lambent.client.errors import BundleError
from lambent.client.sam import handling
from lambent.client.sam.intrinsics import Resolver, Unresolved, as_text, load
from lambent.client.sam.parameters import values_of
from lambent.client.sam.queues import attribute_texts
from lambent.client.sam.schedules import SCHEDULES, left_out, timers_of
from lambent.client.sam.stack import (
    Function,
    Ignored,
    Layer,
    LayerProperties,
    Properties,
    Queue,
    Stack,
)
from lambent.core.errors import InvalidSpec
from lambent.wire.typed import from_texts

P = TypeVar("P", bound=msgspec.Struct)

TEMPLATE_BYTES_MAX: Final = 1_000_000  # CloudFormation's own, for a template in a bucket
FUNCTION: Final = "AWS::Serverless::Function"
LAYER: Final = "AWS::Serverless::LayerVersion"
QUEUE: Final = "AWS::SQS::Queue"
OF_QUEUES: Final = frozenset({
    "ContentBasedDeduplication", "DeduplicationScope", "DelaySeconds", "FifoQueue", "FifoThroughputLimit",
    "KmsMasterKeyId", "MaximumMessageSize", "MessageRetentionPeriod", "ReceiveMessageWaitTimeSeconds",
    "RedriveAllowPolicy", "RedrivePolicy", "SqsManagedSseEnabled", "VisibilityTimeout",
})  # fmt: skip
PSEUDO: Final[Mapping[str, str]] = {
    "AWS::AccountId": "000000000000",
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::StackName": "lambent",
    "AWS::URLSuffix": "amazonaws.com",
}
SECTIONS: Final = frozenset({
    "AWSTemplateFormatVersion", "Conditions", "Description", "Globals", "Mappings", "Metadata", "Parameters",
    "Resources", "Transform",
})  # fmt: skip
EVENTS: Final = frozenset({"Api", "HttpApi", "SQS", *SCHEDULES})
# These say nothing that would change how a function runs here.
NEEDLESS: Final = frozenset({"Architectures", "LicenseInfo", "RetentionPolicy", "Role"})
WHY: Final[Mapping[str, str]] = {
    "CodeSigningConfigArn": "code is not signed",
    "DeploymentPreference": "try a revision on part of the traffic with `lambent deploy --canary`",
    "Outputs": "nothing here reads a stack's outputs",
    "Policies": "there is no IAM: a key's role and its project decide",
    "PermissionsBoundary": "there is no IAM: a key's role and its project decide",
    "SnapStart": "every function is forked from a loaded template",
    "Tracing": "traces are W3C's, and always on",
    "VpcConfig": "functions use this machine's network",
}


def read(file: Path, parameters: Mapping[str, str] | None = None) -> Stack:
    """What `file` describes. `parameters` go before its own defaults.

    Raises `BundleError` for what is no SAM template, and for a function of it that cannot be known.
    """
    try:
        if file.stat().st_size > TEMPLATE_BYTES_MAX:
            raise BundleError(f"{file} is over the limit of {TEMPLATE_BYTES_MAX} bytes for a template")
        template = load(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"cannot read {file}: {error}") from error
    return _Reading(file, template, dict(parameters or {})).stack()


class _Reading:
    def __init__(self, file: Path, template: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
        self._file: Final = file
        self._template: Final = template
        self._resources: Final = self._section("Resources")
        self._ignored: Final[list[Ignored]] = []
        self._resolver: Final = Resolver(
            known={**PSEUDO, **values_of(self._section("Parameters"), parameters, file)},
            references=self._reference,
            attributes=self._attribute,
            mappings=self._section("Mappings"),
            conditions=self._section("Conditions"),
        )

    def stack(self) -> Stack:
        functions: list[Function] = []
        layers: list[Layer] = []
        queues: list[Queue] = []
        for logical_id in self._resources:
            match self._wanted(logical_id):
                case None:
                    continue
                case "AWS::Serverless::Function":
                    functions.append(self._function(logical_id))
                case "AWS::Serverless::LayerVersion":
                    layers.append(self._layer(logical_id))
                case "AWS::SQS::Queue":
                    queues.append(self._queue(logical_id))
                case kind:
                    why = f"{kind} is no function, layer or queue"
                    self._ignored.append(Ignored(logical_id, why))
        if not functions:
            raise BundleError(f"{self._file} has no {FUNCTION} to deploy")
        self._check_names(functions)
        for name in sorted(self._template.keys() - SECTIONS):
            self._ignored.append(
                Ignored(name, WHY.get(name, "it is no part of a template that means something here"))
            )
        return Stack(tuple(functions), tuple(layers), tuple(self._ignored), tuple(queues))

    def _function(self, logical_id: str) -> Function:
        told = self._told(logical_id, _merged(self._globals("Function"), self._properties(logical_id)))
        properties = self._as(Properties, logical_id, told)
        if properties.package_type != "Zip":
            raise BundleError(f"{self._file}: {logical_id} is a container image; only code is deployed")
        for name, event in properties.events.items():
            if event.type not in EVENTS:
                why = WHY.get(event.type, "nothing here sends such events")
                self._ignored.append(Ignored(f"{logical_id}.Events.{name}", f"{event.type}: {why}"))
            self._ignored.extend(left_out(f"{logical_id}.Events.{name}", event))
        if properties.dead_letter_queue and properties.dead_letter_queue.type != "SQS":
            why = "only queues get what failed for good; it is kept in any case: see `lambent dlq`"
            self._ignored.append(Ignored(f"{logical_id}.DeadLetterQueue", why))
        self._checked_timers(logical_id, properties)
        code = None if properties.inline_code else self._path(logical_id, properties.code_uri or ".")
        function = Function(logical_id, properties, code)
        self._ignored.extend(handling.left_out(function))
        return function

    def _check_names(self, functions: Sequence[Function]) -> None:
        names = Counter(function.name for function in functions)
        if twice := [name for name, count in names.items() if count > 1]:
            raise BundleError(f"{self._file}: more than one function is called {twice[0]!r}")

    def _checked_timers(self, logical_id: str, properties: Properties) -> None:
        try:
            timers_of(Function(logical_id, properties, None))
        except (InvalidSpec, msgspec.ValidationError) as error:
            raise BundleError(f"{self._file}: an event of {logical_id} is not right: {error}") from error

    def _layer(self, logical_id: str) -> Layer:
        told = self._told(logical_id, _merged(self._globals("LayerVersion"), self._properties(logical_id)))
        properties = self._as(LayerProperties, logical_id, told)
        return Layer(logical_id, properties, self._path(logical_id, properties.content_uri))

    def _queue(self, logical_id: str) -> Queue:
        told: dict[str, Any] = {}
        tags: dict[str, str] = {}
        for name, value in self._properties(logical_id).items():
            where = f"{logical_id}.{name}"
            if name == "Tags":
                listed = self._resolved(where, value)
                tags = {str(one["Key"]): str(one["Value"]) for one in listed}
            elif name in OF_QUEUES:
                told[name] = self._resolved(where, value)
            elif name != "QueueName":
                self._ignored.append(Ignored(where, "Lambent has nothing like it"))
        if told.get("FifoQueue") in (False, "false"):  # AWS's API takes it only where it is true
            del told["FifoQueue"]
        told = {name: one for name, one in told.items() if one is not None}
        return Queue(name=self._queue_name(logical_id), attributes=attribute_texts(told), tags=tags)

    def _queue_name(self, logical_id: str) -> str:
        properties = self._properties(logical_id)
        name = self._resolved(f"{logical_id}.QueueName", properties.get("QueueName"))
        suffix = ".fifo" if properties.get("FifoQueue") in (True, "true") else ""
        return str(name) if name else logical_id + suffix

    def _wanted(self, logical_id: str) -> str | None:
        """The type of a resource, `None` where its condition does not hold."""
        resource = self._resources[logical_id]
        if not isinstance(resource, dict) or not isinstance(resource.get("Type"), str):
            raise BundleError(f"{self._file}: {logical_id} has no Type")
        condition = resource.get("Condition")
        if condition is not None and not isinstance(condition, str):
            raise BundleError(f"{self._file}: the Condition of {logical_id} is no name of a condition")
        if condition is not None and not self._resolved(f"{logical_id}.Condition", {"Condition": condition}):
            return None
        return str(resource["Type"])

    def _told(self, logical_id: str, properties: Mapping[str, Any]) -> dict[str, Any]:
        """The properties that mean something here, worked out; the others are noted."""
        kinds = {FUNCTION: Properties, LAYER: LayerProperties}
        kind = kinds[self._resources[logical_id]["Type"]]
        meant = set(kind.__struct_encode_fields__)
        for name in sorted(properties.keys() - meant - NEEDLESS):
            why = WHY.get(name, "Lambent has nothing like it")
            self._ignored.append(Ignored(f"{logical_id}.{name}", why))
        told = {
            name: self._resolved(f"{logical_id}.{name}", value)
            for name, value in properties.items()
            if name in meant
        }
        return {name: value for name, value in told.items() if value is not None}

    def _as(self, kind: type[P], logical_id: str, told: Mapping[str, Any]) -> P:
        try:
            return from_texts(_texts(told, kind), kind)
        except msgspec.ValidationError as error:
            raise BundleError(f"{self._file}: {logical_id} is not right: {error}") from error

    def _resolved(self, where: str, value: Any) -> Any:
        try:
            return self._resolver.resolve(value)
        except Unresolved as error:
            raise BundleError(f"{self._file}: {where} needs {error}, which is not known here") from error

    def _path(self, logical_id: str, uri: Any) -> Path:
        if "://" in str(uri):
            raise BundleError(f"{self._file}: {logical_id} has its code at {uri}; it has to be a path")
        path = self._file.resolve().parent / str(uri)
        if not path.exists():
            raise BundleError(f"{self._file}: {logical_id} has its code at {path}, which is not there")
        return path

    def _properties(self, logical_id: str) -> dict[str, Any]:
        properties = self._resources[logical_id].get("Properties") or {}
        if not isinstance(properties, dict):
            raise BundleError(f"{self._file}: the Properties of {logical_id} are no mapping")
        return properties

    def _globals(self, kind: str) -> dict[str, Any]:
        properties = self._section("Globals").get(kind) or {}
        return properties if isinstance(properties, dict) else {}

    def _section(self, name: str) -> dict[str, Any]:
        section = self._template.get(name) or {}
        if not isinstance(section, dict):
            raise BundleError(f"{self._file}: {name} is no mapping")
        return section

    def _reference(self, name: str) -> str:
        """What `!Ref` makes of a resource, or of a function's alias. Raises `Unresolved`."""
        if name not in self._resources:
            return self._alias(name)
        logical_id, resource = name, self._resources[name]
        if isinstance(resource, dict) and resource.get("Type") == LAYER:
            return f"layer:{logical_id}"
        if isinstance(resource, dict) and resource.get("Type") == QUEUE:
            # As AWS writes it: the server goes by the last part of a queue's URL alone.
            host = f"sqs.{PSEUDO['AWS::Region']}.{PSEUDO['AWS::URLSuffix']}"
            return f"https://{host}/{PSEUDO['AWS::AccountId']}/{self._queue_name(logical_id)}"
        named = self._properties(logical_id).get("FunctionName") if isinstance(resource, dict) else None
        return as_text(self._resolver.resolve(named)) if named else logical_id

    def _alias(self, name: str) -> str:
        """`Function.Alias` or `FunctionAliasNAME`, which SAM makes of `AutoPublishAlias`."""
        for logical_id, resource in self._resources.items():
            if (
                name.startswith(logical_id)
                and isinstance(resource, dict)
                and resource.get("Type") == FUNCTION
            ):
                told = _merged(self._globals("Function"), self._properties(logical_id))
                alias = as_text(self._resolver.resolve(told.get("AutoPublishAlias")))
                if alias and name in (f"{logical_id}.Alias", f"{logical_id}Alias{alias}"):
                    return f"{self._attribute(logical_id, 'Arn')}:{alias}"
        raise Unresolved(f"!Ref {name}")

    def _attribute(self, logical_id: str, attribute: str) -> str:
        resource = self._resources.get(logical_id)
        if attribute == "Arn" and isinstance(resource, dict) and resource.get("Type") == FUNCTION:
            region, account = PSEUDO["AWS::Region"], PSEUDO["AWS::AccountId"]
            return f"arn:aws:lambda:{region}:{account}:function:{self._reference(logical_id)}"
        if isinstance(resource, dict) and resource.get("Type") == QUEUE:
            name = self._queue_name(logical_id)
            told = {
                "Arn": f"arn:aws:sqs:{PSEUDO['AWS::Region']}:{PSEUDO['AWS::AccountId']}:{name}",
                "QueueName": name,
                "QueueUrl": self._reference(logical_id),
            }
            if attribute in told:
                return told[attribute]
        raise Unresolved(f"!GetAtt {logical_id}.{attribute}")


def _texts(told: Mapping[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    """What a template writes as a number or a truth where a text is meant, as CloudFormation takes it."""
    texts = {field.encode_name for field in msgspec.structs.fields(kind) if field.type is str}
    said = {name: as_text(value) if name in texts else value for name, value in told.items()}
    if isinstance(said.get("Tags"), dict):
        said["Tags"] = _text_values(said["Tags"])
    environment = said.get("Environment")
    if isinstance(environment, dict) and isinstance(environment.get("Variables"), dict):
        said["Environment"] = {**environment, "Variables": _text_values(environment["Variables"])}
    return said


def _text_values(values: Mapping[Any, Any]) -> dict[Any, Any]:
    return {as_text(name): as_text(value) for name, value in values.items()}


def _merged(above: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """As SAM merges globals: mappings key by key, lists one after the other, anything else replaced."""
    merged = dict(above)
    for name, value in own.items():
        before = merged.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[name] = _merged(before, value)
        elif isinstance(before, list) and isinstance(value, list):
            merged[name] = [*before, *value]
        else:
            merged[name] = value
    return merged
