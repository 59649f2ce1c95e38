"""The messages of the Open Inference Protocol's gRPC service, made from a table when this is imported.

Names, numbers and types are those of `open_inference_grpc.proto` (kserve/open-inference-protocol,
Apache-2.0) and, for what Triton adds to it, of its `grpc_service.proto` and `model_config.proto`.
Enumerations are written as the numbers that they are on the wire; fields that nothing here fills are left
out, as a reader does not miss them. The messages live in a pool of their own: other modules may bring the
same names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE: Final = "inference"
SERVICE: Final = f"{PACKAGE}.GRPCInferenceService"

# A message, then its fields: name, number, type. `*` repeats, `{}` maps from text, `|` is one of several.
TABLE: Final = """
ServerLiveRequest
ServerLiveResponse: live 1 bool
ServerReadyRequest
ServerReadyResponse: ready 1 bool
ModelReadyRequest: name 1 string, version 2 string
ModelReadyResponse: ready 1 bool
ServerMetadataRequest
ServerMetadataResponse: name 1 string, version 2 string, extensions 3 *string
ModelMetadataRequest: name 1 string, version 2 string
ModelMetadataResponse.TensorMetadata: name 1 string, datatype 2 string, shape 3 *int64
ModelMetadataResponse: name 1 string, versions 2 *string, platform 3 string,
    inputs 4 *ModelMetadataResponse.TensorMetadata, outputs 5 *ModelMetadataResponse.TensorMetadata
InferParameter: bool_param 1 |bool, int64_param 2 |int64, string_param 3 |string, double_param 4 |double,
    uint64_param 5 |uint64
InferTensorContents: bool_contents 1 *bool, int_contents 2 *int32, int64_contents 3 *int64,
    uint_contents 4 *uint32, uint64_contents 5 *uint64, fp32_contents 6 *float, fp64_contents 7 *double,
    bytes_contents 8 *bytes
ModelInferRequest.InferInputTensor: name 1 string, datatype 2 string, shape 3 *int64,
    parameters 4 {}InferParameter, contents 5 InferTensorContents
ModelInferRequest.InferRequestedOutputTensor: name 1 string, parameters 2 {}InferParameter
ModelInferRequest: model_name 1 string, model_version 2 string, id 3 string, parameters 4 {}InferParameter,
    inputs 5 *ModelInferRequest.InferInputTensor, outputs 6 *ModelInferRequest.InferRequestedOutputTensor,
    raw_input_contents 7 *bytes
ModelInferResponse.InferOutputTensor: name 1 string, datatype 2 string, shape 3 *int64,
    parameters 4 {}InferParameter, contents 5 InferTensorContents
ModelInferResponse: model_name 1 string, model_version 2 string, id 3 string, parameters 4 {}InferParameter,
    outputs 5 *ModelInferResponse.InferOutputTensor, raw_output_contents 6 *bytes
ModelStreamInferResponse: error_message 1 string, infer_response 2 ModelInferResponse
ModelConfigRequest: name 1 string, version 2 string
ModelInput: name 1 string, data_type 2 int32, dims 4 *int64
ModelOutput: name 1 string, data_type 2 int32, dims 3 *int64
ModelVersionPolicy.Latest: num_versions 1 uint32
ModelVersionPolicy: latest 1 ModelVersionPolicy.Latest
ModelDynamicBatching
ModelConfig: name 1 string, platform 2 string, version_policy 3 ModelVersionPolicy, max_batch_size 4 int32,
    input 5 *ModelInput, output 6 *ModelOutput, dynamic_batching 11 ModelDynamicBatching, backend 17 string
ModelConfigResponse: config 1 ModelConfig
ModelStatisticsRequest: name 1 string, version 2 string
StatisticDuration: count 1 uint64, ns 2 uint64
InferStatistics: success 1 StatisticDuration, fail 2 StatisticDuration, queue 3 StatisticDuration,
    compute_input 4 StatisticDuration, compute_infer 5 StatisticDuration, compute_output 6 StatisticDuration
ModelStatistics: name 1 string, version 2 string, last_inference 3 uint64, inference_count 4 uint64,
    execution_count 5 uint64, inference_stats 6 InferStatistics
ModelStatisticsResponse: model_stats 1 *ModelStatistics
RepositoryIndexRequest: repository_name 1 string, ready 2 bool
RepositoryIndexResponse.ModelIndex: name 1 string, version 2 string, state 3 string, reason 4 string
RepositoryIndexResponse: models 1 *RepositoryIndexResponse.ModelIndex
ModelRepositoryParameter: bool_param 1 |bool, int64_param 2 |int64, string_param 3 |string,
    bytes_param 4 |bytes
RepositoryModelLoadRequest: repository_name 1 string, model_name 2 string,
    parameters 3 {}ModelRepositoryParameter
RepositoryModelLoadResponse: model_name 1 string, isLoaded 2 bool
RepositoryModelUnloadRequest: repository_name 1 string, model_name 2 string,
    parameters 3 {}ModelRepositoryParameter
RepositoryModelUnloadResponse: model_name 1 string, isUnloaded 2 bool
"""
# `DataType` of model_config.proto.
DATA_TYPES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "TYPE_BOOL": 1, "TYPE_UINT8": 2, "TYPE_UINT16": 3, "TYPE_UINT32": 4, "TYPE_UINT64": 5,
        "TYPE_INT8": 6, "TYPE_INT16": 7, "TYPE_INT32": 8, "TYPE_INT64": 9,
        "TYPE_FP16": 10, "TYPE_FP32": 11, "TYPE_FP64": 12, "TYPE_STRING": 13, "TYPE_BF16": 14,
    }
)  # fmt: skip
Field: Final = descriptor_pb2.FieldDescriptorProto
ENTRY: Final = "Entry"


def _lines() -> Iterator[tuple[str, list[str]]]:
    for line in TABLE.replace("\n    ", " ").strip().splitlines():
        name, _, fields = line.partition(":")
        yield name, [field.strip() for field in fields.split(",") if field.strip()]


def _file() -> Any:
    found = descriptor_pb2.FileDescriptorProto(
        name="lambent/open_inference.proto", package=PACKAGE, syntax="proto3"
    )
    made: dict[str, Any] = {}
    for name, fields in _lines():
        outer, _, inner = name.rpartition(".")
        if outer and outer not in made:  # its own line comes later
            made[outer] = found.message_type.add(name=outer)
        if name not in made:
            made[name] = (
                made[outer].nested_type.add(name=inner) if outer else found.message_type.add(name=name)
            )
        for field in fields:
            _add(made[name], name, *field.split())
    return found


def _add(message: Any, path: str, name: str, number: str, kind: str) -> None:
    field = message.field.add(name=name, number=int(number), label=Field.LABEL_OPTIONAL)
    if kind.startswith("{}"):
        entry = message.nested_type.add(name="".join(map(str.capitalize, name.split("_"))) + ENTRY)
        entry.options.map_entry = True
        _add(entry, path, "key", "1", "string")
        _add(entry, path, "value", "2", kind[2:])
        kind = f"*{path}.{entry.name}"
    if kind.startswith("*"):
        field.label = Field.LABEL_REPEATED
        kind = kind[1:]
    if kind.startswith("|"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
        kind = kind[1:]
    if kind[0].islower():
        field.type = getattr(Field, f"TYPE_{kind.upper()}")
    else:
        field.type = Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"


def _messages() -> Mapping[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    return MappingProxyType(
        {
            name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
            for name, _ in _lines()
        }
    )


# Classes by their names, with a dot in those of one inside another.
MESSAGES: Final = _messages()
