"""Our types of AWS's requests and answers, held against the service model that botocore ships."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import botocore.session
import msgspec
import pytest

from lambent.wire.aws import beside_requests as beside
from lambent.wire.aws import function_requests as functions
from lambent.wire.aws import functions as answers
from lambent.wire.aws import layer_requests as layers
from lambent.wire.aws import mapping_requests as mappings

MODEL = botocore.session.get_session().get_service_model("lambda")
REQUESTS: dict[str, type[msgspec.Struct]] = {
    "CreateFunction": functions.CreateFunctionRequest,
    "UpdateFunctionConfiguration": functions.UpdateConfigurationRequest,
    "UpdateFunctionCode": functions.UpdateCodeRequest,
    "PublishVersion": functions.PublishVersionRequest,
    "CreateAlias": functions.CreateAliasRequest,
    "UpdateAlias": functions.UpdateAliasRequest,
    "CreateFunctionUrlConfig": beside.CreateUrlRequest,
    "UpdateFunctionUrlConfig": beside.UpdateUrlRequest,
    "PutFunctionConcurrency": beside.PutConcurrencyRequest,
    "PutProvisionedConcurrencyConfig": beside.PutProvisionedRequest,
    "PutFunctionEventInvokeConfig": beside.EventInvokeRequest,
    "TagResource": beside.TagRequest,
    "PutFunctionRecursionConfig": beside.RecursionConfig,
    "PutRuntimeManagementConfig": beside.RuntimeManagementRequest,
    "CreateEventSourceMapping": mappings.CreateMappingRequest,
    "UpdateEventSourceMapping": mappings.UpdateMappingRequest,
    "AddPermission": beside.AddPermissionRequest,
    "PublishLayerVersion": layers.PublishLayerRequest,
    "AddLayerVersionPermission": layers.LayerPermissionRequest,
}
ANSWERS: dict[str, type[msgspec.Struct]] = {
    "CreateFunction": answers.FunctionConfiguration,
    "GetFunction": answers.GetFunctionResponse,
    "ListFunctions": answers.ListFunctionsResponse,
    "ListVersionsByFunction": answers.ListVersionsResponse,
    "CreateAlias": functions.AliasConfiguration,
    "ListAliases": functions.ListAliasesResponse,
    "GetFunctionUrlConfig": beside.UrlConfig,
    "ListFunctionUrlConfigs": beside.ListUrlsResponse,
    "PutFunctionConcurrency": answers.Concurrency,
    "ListProvisionedConcurrencyConfigs": beside.ListProvisionedResponse,
    "ListFunctionEventInvokeConfigs": beside.ListEventInvokeResponse,
    "ListTags": beside.ListTagsResponse,
    "ListEventSourceMappings": mappings.ListMappingsResponse,
    "AddLayerVersionPermission": beside.StatementResponse,
    "GetPolicy": beside.PolicyResponse,
    "GetAccountSettings": beside.AccountSettings,
    "GetLayerVersion": layers.LayerVersion,
}
# Bounds that are checked where the value is used, in words of their own.
CHECKED_LATER = {"Runtime", "FunctionName"}


def differences(kind: type[msgspec.Struct], shape: Any, at: str) -> Iterator[str]:
    names = {member.serialization.get("name", name): name for name, member in shape.members.items()}
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        if field.encode_name not in names:
            yield f"{at} has no {field.encode_name}"
            continue
        name = names[field.encode_name]
        if field.required != (name in shape.required_members) and "Response" not in at:
            yield f"{at}.{name} is required by one alone"
        yield from of_type(hints[field.name], shape.members[name], f"{at}.{name}")


def of_type(hint: Any, shape: Any, at: str) -> Iterator[str]:
    if get_origin(hint) in (Union, types.UnionType):
        [hint] = [one for one in get_args(hint) if one is not type(None)]
    metas: Sequence[msgspec.Meta] = ()
    if get_origin(hint) is Annotated:
        hint, *metas = get_args(hint)
    name = at.rpartition(".")[2]
    if metas and name not in CHECKED_LATER:
        yield from of_bounds(metas, shape, at)
    if get_origin(hint) is Literal:
        # AWS's answers name the words of some in another order than its model: theirs is ours.
        if sorted(get_args(hint)) != sorted(shape.enum):
            yield f"{at} is one of {shape.enum}"
    elif isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield from differences(hint, shape, at)
    elif shape.type_name == "list":
        yield from of_type(get_args(hint)[0], shape.member, at)
    elif shape.type_name == "map":
        yield from of_type(get_args(hint)[1], shape.value, at)


def of_bounds(metas: Sequence[msgspec.Meta], shape: Any, at: str) -> Iterator[str]:
    for meta in metas:
        low = meta.ge if meta.ge is not None else meta.min_length
        high = meta.le if meta.le is not None else meta.max_length
        if high is not None and float(shape.metadata["max"]) != high:
            yield f"{at} is at most {shape.metadata['max']}, not {high}"
        if low is not None and float(shape.metadata["min"]) != low:
            yield f"{at} is at least {shape.metadata['min']}, not {low}"
        pattern = shape.metadata.get("pattern")
        if meta.pattern is not None and pattern not in (meta.pattern[4:-3], f"({meta.pattern[4:-3]})"):
            yield f"{at} matches {pattern}, not {meta.pattern[4:-3]}"


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_as_the_model_says(name: str) -> None:
    shape = MODEL.operation_model(name).input_shape
    assert not list(differences(REQUESTS[name], shape, name))


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_has_no_member_that_the_model_does_not_know(name: str) -> None:
    shape = MODEL.operation_model(name).output_shape
    found = [one for one in differences(ANSWERS[name], shape, name) if "required" not in one]
    assert not found
